//! RDPKRU and WRPKRU (SDM 2).

use core::arch::asm;

use fpstate_arch::Pkru;

/// RDPKRU.
///
/// # Safety
/// 1. CR4.PKE is 1 (CPUID.(7,0):ECX\[4\]); otherwise #UD.
#[must_use]
pub unsafe fn rdpkru() -> Pkru {
    let bits;
    // SAFETY: 1: the caller's. The instruction wants ECX = 0, writes EDX:EAX and touches no memory.
    unsafe {
        asm!(
            "rdpkru",
            in("ecx") 0,
            out("eax") bits,
            out("edx") _,
            options(nostack, preserves_flags, nomem),
        );
    }
    Pkru::from_bits(bits)
}

/// WRPKRU.
///
/// # Safety
/// 1. CR4.PKE is 1; otherwise #UD.
/// 2. No user page that is accessed afterwards has a key to which `pkru` denies the access.
pub unsafe fn wrpkru(pkru: Pkru) {
    // SAFETY: 1, 2: the caller's. The instruction wants ECX = EDX = 0. Without `nomem`, so that no
    // access moves across it.
    unsafe {
        asm!(
            "wrpkru",
            in("ecx") 0,
            in("edx") 0,
            in("eax") pkru.bits(),
            options(nostack, preserves_flags),
        );
    }
}

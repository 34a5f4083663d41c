//! FXSAVE64, FXRSTOR64, FNINIT, FNSTCW, FILD, LDMXCSR and STMXCSR (SDM 2; SDM 1, 10.5).

use core::arch::asm;
use core::mem::MaybeUninit;

use fpstate_arch::Mxcsr;
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;

/// Where FXSAVE and FXRSTOR want byte 0 of their area: at a multiple of this.
pub const FXSAVE_ALIGNMENT: usize = 16;

/// FXSAVE64: x87, XMM0 to XMM15 and MXCSR to `area`.
///
/// # Safety
/// 1. 512 bytes from `area` on are valid for writes.
/// 2. `area` is a multiple of 16; otherwise #GP.
/// 3. CR0.TS and CR0.EM are 0 and CR4.OSFXSR is 1; otherwise #NM, or no XMM in the area.
#[inline]
pub unsafe fn fxsave64(area: *mut u8) {
    // SAFETY: 1 to 3: the caller's. The instruction writes at most bytes 0 to 511 and no register.
    unsafe {
        asm!("fxsave64 [{area}]", area = in(reg) area, options(nostack, preserves_flags));
    }
}

/// FXRSTOR64: x87, XMM0 to XMM15 and MXCSR from `area`.
///
/// # Safety
/// 1. 512 bytes from `area` on are valid for reads.
/// 2. `area` is a multiple of 16; otherwise #GP.
/// 3. CR0.TS and CR0.EM are 0 and CR4.OSFXSR is 1; otherwise #NM, or XMM unchanged.
/// 4. Bytes 27:24 have no bit outside MXCSR_MASK; otherwise #GP.
/// 5. No code depends on the registers that the instruction replaces and that a call preserves
///    (MXCSR, the x87 control word, an empty x87 stack): the program is compiled without them
///    (soft-float), or what it expects is put back before compiled code goes on.
#[inline]
pub unsafe fn fxrstor64(area: *const u8) {
    // SAFETY: 1 to 5: the caller's. The instruction reads at most bytes 0 to 511.
    unsafe {
        asm!("fxrstor64 [{area}]", area = in(reg) area, clobber_abi("sysv64"), options(nostack, readonly));
    }
}

/// FNSTCW: the x87 control word.
///
/// # Safety
/// 1. CR0.TS and CR0.EM are 0; otherwise #NM.
#[must_use]
#[inline]
pub unsafe fn fnstcw() -> u16 {
    let mut word = MaybeUninit::<u16>::uninit();
    // SAFETY: 1: the caller's. The instruction writes the two bytes of `word`.
    unsafe {
        asm!("fnstcw [{word}]", word = in(reg) word.as_mut_ptr(), options(nostack, preserves_flags));
    }
    // SAFETY: the instruction has written it.
    unsafe { word.assume_init() }
}

/// FNINIT: x87 control, status and tag word to the initial configuration.
///
/// # Safety
/// 1. CR0.TS and CR0.EM are 0; otherwise #NM.
/// 2. As [`fxrstor64`], 5, for the x87 registers.
#[inline]
pub unsafe fn fninit() {
    // SAFETY: 1, 2: the caller's. The instruction touches no memory.
    unsafe {
        asm!("fninit", clobber_abi("sysv64"), options(nostack, nomem));
    }
}

/// FNCLEX, EMMS, FILD of a zero: FIP, FDP and FOP become those of the FILD.
///
/// # Safety
/// As [`fninit`], 1 and 2.
#[inline]
pub unsafe fn overwrite_error_pointers() {
    static ZERO: u32 = 0;
    // SAFETY: 1, 2: the caller's. FNCLEX lets no pending exception stop the others, EMMS empties the
    // stack that FILD pushes on. FILD reads the four bytes of `ZERO`.
    unsafe {
        asm!(
            "fnclex",
            "emms",
            "fild dword ptr [{zero}]",
            zero = in(reg) &raw const ZERO,
            clobber_abi("sysv64"),
            options(nostack, readonly),
        );
    }
}

/// LDMXCSR.
///
/// # Safety
/// 1. `mxcsr` has no bit outside MXCSR_MASK; otherwise #GP.
/// 2. CR0.TS and CR0.EM are 0 and CR4.OSFXSR is 1; otherwise #NM or #UD.
/// 3. As [`fxrstor64`], 5: compiled floating-point code expects its own rounding and masks.
#[inline]
pub unsafe fn ldmxcsr(mxcsr: Mxcsr) {
    let bits = mxcsr.bits();
    // SAFETY: 1 to 3: the caller's. The instruction reads the four bytes of `bits`.
    unsafe {
        asm!("ldmxcsr [{bits}]", bits = in(reg) &raw const bits, options(nostack, readonly));
    }
}

/// STMXCSR.
///
/// # Safety
/// 1. CR0.TS and CR0.EM are 0 and CR4.OSFXSR is 1; otherwise #NM or #UD.
#[must_use]
#[inline]
pub unsafe fn stmxcsr() -> Mxcsr {
    let mut bits = MaybeUninit::<u32>::uninit();
    // SAFETY: 1: the caller's. The instruction writes the four bytes of `bits`.
    unsafe {
        asm!("stmxcsr [{bits}]", bits = in(reg) bits.as_mut_ptr(), options(nostack, preserves_flags));
    }
    // SAFETY: the instruction has written them.
    Mxcsr::from_bits(unsafe { bits.assume_init() })
}

/// The bits of MXCSR that this CPU has, from the image that FXSAVE64 writes (SDM 1, 11.6.6).
///
/// # Safety
/// 1. As [`fxsave64`], 3.
#[must_use]
#[inline]
pub unsafe fn mxcsr_mask() -> u32 {
    #[repr(C, align(16))]
    struct Image([u8; LEGACY_REGION_LEN]);
    let mut image = Image([0; LEGACY_REGION_LEN]);
    // SAFETY: 1, 2: `Image` has 512 bytes and is aligned to 16. 3: the caller's, 1.
    unsafe { fxsave64(image.0.as_mut_ptr()) };
    match fpstate_arch::LegacyRegion::from_bytes(&image.0).mxcsr_mask {
        0 => Mxcsr::DEFAULT_MASK,
        mask => mask,
    }
}

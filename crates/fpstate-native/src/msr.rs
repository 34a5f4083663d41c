//! RDMSR and WRMSR of IA32_XSS, IA32_XFD and IA32_XFD_ERR, and of no other register (SDM 4, table
//! 2-2; SDM 1, 13.3 and 13.14).

use core::arch::asm;

use fpstate_arch::ComponentSet;

/// A model-specific register that holds a state-component bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Msr {
    /// IA32_XSS, 0DA0H: the enabled supervisor components.
    Xss,
    /// IA32_XFD, 1C4H: the components disabled one by one.
    Xfd,
    /// IA32_XFD_ERR, 1C5H: the disabled components that the last #NM was about.
    XfdErr,
}

impl Msr {
    /// The register's number, for ECX.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Xss => 0xda0,
            Self::Xfd => 0x1c4,
            Self::XfdErr => 0x1c5,
        }
    }
}

/// RDMSR.
///
/// # Safety
/// 1. CPL is 0; otherwise #GP.
/// 2. The CPU has `msr`: CPUID.(0DH,1):EAX\[3\] for IA32_XSS, \[4\] for the other two; otherwise
///    #GP.
#[must_use]
pub unsafe fn rdmsr(msr: Msr) -> ComponentSet {
    let (low, high);
    // SAFETY: 1, 2: the caller's. Reading any of the three has no effect but on EDX:EAX.
    unsafe {
        asm!(
            "rdmsr",
            in("ecx") msr.number(),
            out("eax") low,
            out("edx") high,
            options(nostack, preserves_flags, nomem),
        );
    }
    ComponentSet::from_halves(low, high)
}

/// WRMSR.
///
/// # Safety
/// 1. As [`rdmsr`], 1 and 2.
/// 2. The CPU accepts `value`: its supervisor components for IA32_XSS, the components with
///    CPUID.(0DH,i):ECX\[2\] for the other two; otherwise #GP.
/// 3. For IA32_XFD: no code runs afterwards that was compiled for a component which `value`
///    disables; its instructions raise #NM.
pub unsafe fn wrmsr(msr: Msr, value: ComponentSet) {
    let (low, high) = value.halves();
    // SAFETY: 1 to 3: the caller's. The instruction writes the register alone. Without `nomem`, so
    // that no access to an area moves across it.
    unsafe {
        asm!(
            "wrmsr",
            in("ecx") msr.number(),
            in("eax") low,
            in("edx") high,
            options(nostack, preserves_flags),
        );
    }
}

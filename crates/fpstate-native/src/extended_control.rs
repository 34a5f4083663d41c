//! XGETBV and XSETBV (SDM 2; SDM 1, 13.3).

use core::arch::asm;

use fpstate_arch::{ComponentSet, Xcr0};

/// What XGETBV reads: its operand in ECX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XgetbvOperand {
    /// ECX = 0: XCR0.
    Xcr0,
    /// ECX = 1: XCR0 & XINUSE.
    InUse,
}

impl XgetbvOperand {
    const fn ecx(self) -> u32 {
        match self {
            Self::Xcr0 => 0,
            Self::InUse => 1,
        }
    }
}

/// XGETBV.
///
/// # Safety
/// 1. The CPU has XSAVE and CR4.OSXSAVE is 1; otherwise #UD.
/// 2. For [`XgetbvOperand::InUse`] CPUID.(0DH,1):EAX\[2\] is 1; otherwise #GP.
#[must_use]
#[inline]
pub unsafe fn xgetbv(operand: XgetbvOperand) -> ComponentSet {
    let (low, high);
    // SAFETY: 1, 2: the caller's. The instruction writes EDX:EAX and touches no memory. It is not
    // `pure`: its result changes with instructions the compiler knows nothing of.
    unsafe {
        asm!(
            "xgetbv",
            in("ecx") operand.ecx(),
            out("eax") low,
            out("edx") high,
            options(nostack, preserves_flags, nomem),
        );
    }
    ComponentSet::from_halves(low, high)
}

/// XSETBV with ECX = 0.
///
/// # Safety
/// 1. CPL is 0; otherwise #GP.
/// 2. The CPU has XSAVE and CR4.OSXSAVE is 1; otherwise #UD.
/// 3. The CPU that executes this supports the components of `xcr0`; otherwise #GP.
/// 4. No code runs afterwards that was compiled for a component which `xcr0` disables: a vector
///    instruction of such a component raises #UD.
#[inline]
pub unsafe fn xsetbv(xcr0: Xcr0) {
    let (low, high) = xcr0.components().halves();
    // SAFETY: 1 to 4: the caller's. The instruction writes XCR0 alone. Without `nomem`, so that no
    // access to an area moves across it.
    unsafe {
        asm!(
            "xsetbv",
            in("ecx") 0,
            in("eax") low,
            in("edx") high,
            options(nostack, preserves_flags),
        );
    }
}

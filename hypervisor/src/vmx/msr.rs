//! The MSRs of VMX (SDM 3, appendix A).

use x86_64::registers::model_specific::Msr;

/// `IA32_FEATURE_CONTROL`.
pub const FEATURE_CONTROL: u32 = 0x3a;
/// `IA32_EFER`.
pub const EFER: u32 = 0xc000_0080;
/// `IA32_VMX_BASIC`.
pub const BASIC: u32 = 0x480;
/// `IA32_VMX_PROCBASED_CTLS2`.
pub const SECONDARY: u32 = 0x48b;
/// `IA32_VMX_CR0_FIXED0`; FIXED1 is the next.
pub const CR0_FIXED: u32 = 0x486;
/// `IA32_VMX_CR4_FIXED0`; FIXED1 is the next.
pub const CR4_FIXED: u32 = 0x488;
/// `IA32_VMX_EPT_VPID_CAP`.
pub const EPT: u32 = 0x48c;
/// `IA32_VMX_PINBASED_CTLS`; those of processor, exit and entry follow.
pub const CONTROLS: u32 = 0x481;
/// `IA32_VMX_TRUE_PINBASED_CTLS`; those of processor, exit and entry follow.
pub const TRUE_CONTROLS: u32 = 0x48d;

/// Reads an MSR.
///
/// # Safety
/// 1. CPL is 0.
/// 2. The CPU has the MSR.
#[must_use]
pub unsafe fn read(msr: u32) -> u64 {
    let msr = Msr::new(msr);
    // SAFETY: 1, 2: the caller's.
    unsafe { msr.read() }
}

/// Bits of CR0 or CR4 that VMX fixes, as its two MSRs say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    ones: u64,
    may_be_ones: u64,
}

impl Fixed {
    /// Those of the register with the MSRs `fixed0` and `fixed0 + 1`.
    ///
    /// # Safety
    /// As [`read`].
    #[must_use]
    pub unsafe fn of(fixed0: u32) -> Self {
        Self {
            // SAFETY: the caller's.
            ones: unsafe { read(fixed0) },
            // SAFETY: the caller's.
            may_be_ones: unsafe { read(fixed0 + 1) },
        }
    }

    /// The nearest value that VMX allows.
    #[must_use]
    pub const fn applied_to(self, value: u64) -> u64 {
        (value | self.ones) & self.may_be_ones
    }
}

//! This machine's CPU, if it is an x86 one.

use fpstate::calibration::Limits;
use fpstate::{Calibration, CalibrationError, Strategies};
use fpstate_arch::{ComponentSet, Enumeration, Fault};

#[cfg(target_arch = "x86_64")]
#[path = "host/x86_64.rs"]
mod asked;
#[cfg(not(target_arch = "x86_64"))]
#[path = "host/not_x86_64.rs"]
mod asked;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use asked::HandOver;

/// What this CPU has and what the operating system enabled.
#[derive(Clone, Debug)]
pub struct HostCpu {
    enumeration: Enumeration,
    xcr0: ComponentSet,
    mxcsr_mask: u32,
    name: String,
}

impl HostCpu {
    /// Asks CPUID, XGETBV and FXSAVE.
    ///
    /// # Errors
    /// [`HostError::NotX86`] on another machine; [`HostError::WithoutXsave`] on a CPU that has no
    /// extended state to speak of.
    pub fn read() -> Result<Self, HostError> {
        asked::read()
    }

    /// What CPUID says.
    #[must_use]
    pub const fn enumeration(&self) -> &Enumeration {
        &self.enumeration
    }

    /// XCR0: the user components the operating system enabled.
    #[must_use]
    pub const fn xcr0(&self) -> ComponentSet {
        self.xcr0
    }

    /// The ways in which a process can switch here.
    #[must_use]
    pub fn strategies(&self) -> Strategies<'_> {
        Strategies::for_user_mode(&self.enumeration, self.xcr0)
    }

    /// Measures what they cost, in less than a millisecond. MXCSR and the x87 control word are those of a
    /// new program afterwards.
    ///
    /// # Errors
    /// The processor's, or CPUID's.
    pub fn calibrate(&self, limits: Limits) -> Result<Calibration, CalibrationError> {
        asked::calibrate(&self.strategies(), limits)
    }

    /// The bits of MXCSR this CPU has.
    #[must_use]
    pub const fn mxcsr_mask(&self) -> u32 {
        self.mxcsr_mask
    }

    /// The brand string of CPUID leaves 8000\_0002H to 8000\_0004H, or the vendor where there is
    /// none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Why this machine's CPU will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Not an x86 CPU.
    #[error("this machine is no x86-64 one ({})", std::env::consts::ARCH)]
    NotX86,
    /// No XSAVE.
    #[error("this CPU has no XSAVE: CPUID.1:ECX[26] is 0")]
    WithoutXsave,
    /// The processor refused.
    #[error("the processor refused: {0}")]
    Processor(Fault),
}

//! This machine's CPU, from user mode.

#![expect(unsafe_code, reason = "takes the processor of this process")]

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{ComponentSet, Enumeration, Fault, Instruction, LegacyRegion, Mxcsr, Processor};
use fpstate_native::UserProcessor;

/// XSAVE areas and the hand-over of a processor start at a multiple of this.
const ALIGNMENT: usize = 64;

/// What this CPU has and what the operating system enabled.
#[derive(Clone, Debug)]
pub struct HostCpu {
    enumeration: Enumeration,
    xcr0: ComponentSet,
    mxcsr_mask: u32,
}

impl HostCpu {
    /// Asks CPUID, XGETBV and FXSAVE.
    ///
    /// # Errors
    /// [`HostError::WithoutXsave`] on a CPU that has no extended state to speak of.
    pub fn read() -> Result<Self, HostError> {
        let enumeration = Enumeration::read(fpstate_native::cpuid);
        if !enumeration.has(Instruction::Xsave) {
            return Err(HostError::WithoutXsave);
        }
        let mut hand_over = HandOver::new();
        let mut processor = hand_over.processor()?;
        let xcr0 = processor.xgetbv().map_err(HostError::Processor)?;
        let mut image = Aligned([0; LEGACY_REGION_LEN]);
        processor
            .fxsave(&mut image.0)
            .map_err(HostError::Processor)?;
        let mxcsr_mask = match LegacyRegion::from_bytes(&image.0).mxcsr_mask {
            0 => Mxcsr::DEFAULT_MASK,
            mask => mask,
        };
        Ok(Self {
            enumeration,
            xcr0,
            mxcsr_mask,
        })
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

    /// The bits of MXCSR this CPU has.
    #[must_use]
    pub const fn mxcsr_mask(&self) -> u32 {
        self.mxcsr_mask
    }

    /// The brand string of CPUID leaves 8000\_0002H to 8000\_0004H, or the vendor where there is
    /// none.
    #[must_use]
    pub fn name(&self) -> String {
        let cpuid = raw_cpuid::CpuId::new();
        let brand = cpuid
            .get_processor_brand_string()
            .map(|b| b.as_str().trim().to_owned());
        let vendor = || {
            cpuid
                .get_vendor_info()
                .map(|vendor| vendor.as_str().to_owned())
        };
        brand
            .filter(|n| !n.is_empty())
            .or_else(vendor)
            .unwrap_or_else(|| "unnamed".to_owned())
    }
}

#[repr(align(64))]
struct Aligned([u8; LEGACY_REGION_LEN]);

/// Memory for a processor in user mode.
#[derive(Debug)]
pub(crate) struct HandOver {
    memory: Vec<u8>,
}

impl HandOver {
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![0; UserProcessor::hand_over_len() + ALIGNMENT],
        }
    }

    pub(crate) fn processor(&mut self) -> Result<UserProcessor<'_>, HostError> {
        let start = self.memory.as_ptr().addr().wrapping_neg() % ALIGNMENT;
        let memory = self.memory.get_mut(start..).unwrap_or(&mut []);
        // SAFETY: 1. x86-64 Linux, which sets CR4.OSFXSR and reports CR4.OSXSAVE. 2. Linux gives
        // all CPUs the same XCR0. 3. This program is not compiled for APX or MPX and keeps no tile
        // configuration.
        unsafe { UserProcessor::assume_user_mode(memory) }.map_err(HostError::Processor)
    }
}

/// Why this machine's CPU will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No XSAVE.
    #[error("this CPU has no XSAVE: CPUID.1:ECX[26] is 0")]
    WithoutXsave,
    /// The processor refused.
    #[error("the processor refused: {0}")]
    Processor(Fault),
}

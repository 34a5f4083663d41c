//! The instructions that save, and those that restore for them.

use fpstate_arch::component::ComponentSet;
use fpstate_arch::fault::Fault;
use fpstate_arch::processor::Processor;
use fpstate_arch::xsave_header::Format;

/// How registers are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SaveInstruction {
    /// FXSAVE64: x87 and SSE only.
    Fxsave,
    /// XSAVE64: standard format.
    Xsave,
    /// XSAVEOPT64: standard format, init and modified optimisation.
    Xsaveopt,
    /// XSAVEC64: compacted format, init optimisation.
    Xsavec,
    /// XSAVES64: compacted format, supervisor components, both optimisations; ring 0 only.
    Xsaves,
}

impl core::fmt::Display for SaveInstruction {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Fxsave => "FXSAVE",
            Self::Xsave => "XSAVE",
            Self::Xsaveopt => "XSAVEOPT",
            Self::Xsavec => "XSAVEC",
            Self::Xsaves => "XSAVES",
        })
    }
}

impl SaveInstruction {
    /// The format it writes.
    #[must_use]
    #[inline]
    pub const fn format(self) -> Format {
        match self {
            Self::Fxsave => Format::Fxsave,
            Self::Xsave | Self::Xsaveopt => Format::Standard,
            Self::Xsavec | Self::Xsaves => Format::Compacted,
        }
    }

    /// Executes it.
    ///
    /// # Errors
    /// The instruction's fault.
    #[inline]
    pub fn execute(
        self,
        processor: &mut impl Processor,
        area: &mut [u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        match self {
            Self::Fxsave => processor.fxsave(area),
            Self::Xsave => processor.xsave(area, rfbm),
            Self::Xsaveopt => processor.xsaveopt(area, rfbm),
            Self::Xsavec => processor.xsavec(area, rfbm),
            Self::Xsaves => processor.xsaves(area, rfbm),
        }
    }
}

/// How registers are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RestoreInstruction {
    /// FXRSTOR64.
    Fxrstor,
    /// XRSTOR64: standard format, and compacted on CPUs with XSAVEC.
    Xrstor,
    /// XRSTORS64: compacted format, supervisor components; ring 0 only.
    Xrstors,
}

impl core::fmt::Display for RestoreInstruction {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Fxrstor => "FXRSTOR",
            Self::Xrstor => "XRSTOR",
            Self::Xrstors => "XRSTORS",
        })
    }
}

impl RestoreInstruction {
    /// Executes it.
    ///
    /// # Errors
    /// The instruction's fault.
    #[inline]
    pub fn execute(
        self,
        processor: &mut impl Processor,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        match self {
            Self::Fxrstor => processor.fxrstor(area),
            Self::Xrstor => processor.xrstor(area, rfbm),
            Self::Xrstors => processor.xrstors(area, rfbm),
        }
    }
}

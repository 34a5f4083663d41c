//! The registers between two samples: in their initial configuration, so that nobody begins with
//! what somebody else left in use.

use fpstate::{BoxedArea, SaveInstruction, XsaveArea};
use fpstate_arch::{ComponentSet, Processor};
use fpstate_native::LiveProcessor;

use crate::bench_error::BenchError;
use crate::live::bare::live_processor;
use crate::live::this_cpu::ThisCpu;
use crate::policy::PolicyError;

/// Reads and writes all registers, outside what is timed.
#[derive(Debug)]
pub(super) struct OwnRegisters<'e> {
    processor: LiveProcessor,
    save: SaveInstruction,
    initial: XsaveArea<'e, BoxedArea>,
    rfbm: ComponentSet,
}

impl<'e> OwnRegisters<'e> {
    pub(super) fn new(cpu: &'e ThisCpu) -> Result<Self, BenchError> {
        let layout = cpu.layout()?;
        let memory = BoxedArea::for_layout(&layout).map_err(|_| PolicyError::NoMemory)?;
        let initial = XsaveArea::new(layout, memory).map_err(|_| PolicyError::NoMemory)?;
        Ok(Self {
            processor: live_processor(),
            save: cpu.instructions().save(),
            initial,
            rfbm: layout.components(),
        })
    }

    /// Everything to its initial configuration, which is also the program's own.
    pub(super) fn initialise(&mut self) -> Result<(), PolicyError> {
        Ok(self.processor.xrstor(self.initial.bytes(), self.rfbm)?)
    }

    /// What a guest's code would do: other values in all registers.
    pub(super) fn load(&mut self, area: &XsaveArea<'_, BoxedArea>) -> Result<(), PolicyError> {
        Ok(self.processor.xrstor(area.bytes(), self.rfbm)?)
    }

    /// What is in the registers now.
    pub(super) fn store(&mut self, area: &mut [u8]) -> Result<(), PolicyError> {
        Ok(self.save.execute(&mut self.processor, area, self.rfbm)?)
    }
}

//! The AMX instructions (SDM 1, chapter 18; SDM 2).

use fpstate_arch::{ComponentSet, Fault, Instruction};

use crate::cpu::ModelCpu;

impl ModelCpu {
    pub(crate) fn execute_tilerelease(&mut self) -> Result<(), Fault> {
        self.require(Instruction::Xsave)?;
        if !self.xcr0.components().contains_all(ComponentSet::TILES) {
            return Err(Fault::InvalidOpcode);
        }
        self.registers.initialise(ComponentSet::TILES);
        self.tracking.initialised(ComponentSet::TILES);
        Ok(())
    }
}

//! Hardware that a broken twin runs on: it raises no exception.

use alloc::boxed::Box;

use crate::vcpu::{Exit, GeneralRegisters, Hardware, MsrAccess};

/// Goes on behind an instruction instead of raising an exception; behind one that is not emulated, which
/// has not happened yet, that is at it.
#[derive(Debug)]
pub struct WithoutInjection(pub Box<dyn Hardware>);

impl Hardware for WithoutInjection {
    fn enter(&mut self, registers: &mut GeneralRegisters) -> Exit {
        self.0.enter(registers)
    }

    fn leave_cpu(&mut self) {
        self.0.leave_cpu();
    }

    fn skip_instruction(&mut self) {
        self.0.skip_instruction();
    }

    fn inject(&mut self, _vector: u8, _error_code: Option<u32>) {
        self.0.skip_instruction();
    }

    fn cr0(&self) -> u64 {
        self.0.cr0()
    }

    fn cr4(&self) -> u64 {
        self.0.cr4()
    }

    fn intercept_msr(&mut self, msr: u32, access: MsrAccess) {
        self.0.intercept_msr(msr, access);
    }
}

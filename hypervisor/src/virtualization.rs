//! Which hardware this CPU has for guests.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::guest_code::Program;
use crate::guest_memory::GuestMemory;
use crate::svm::{SvmVcpu, enable};
use crate::vcpu::Hardware;

/// The hardware's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Virtualization {
    /// AMD's.
    Svm,
}

impl Virtualization {
    /// What this CPU has.
    pub fn of_this_cpu() -> Option<Self> {
        enable::is_offered().then_some(Self::Svm)
    }

    /// A guest's memory with `program` in it.
    pub fn memory(self, program: Program) -> Arc<GuestMemory> {
        let hypercall = match self {
            Self::Svm => SvmVcpu::HYPERCALL,
        };
        GuestMemory::with_program(program.bytes(), hypercall)
    }

    /// A vCPU that begins at the program in `memory`.
    pub fn vcpu(self, memory: &Arc<GuestMemory>) -> Box<dyn Hardware> {
        match self {
            Self::Svm => Box::new(SvmVcpu::new(Arc::clone(memory))),
        }
    }
}

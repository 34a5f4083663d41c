//! Which hardware this CPU has for guests.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::guest_code::Program;
use crate::guest_memory::GuestMemory;
use crate::svm::{SvmVcpu, enable};
use crate::vcpu::Hardware;
use crate::vmx::{VmxVcpu, operation};

/// The hardware's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Virtualization {
    /// AMD's.
    Svm,
    /// Intel's.
    Vmx,
}

impl Virtualization {
    /// What this CPU has.
    pub fn of_this_cpu() -> Option<Self> {
        if enable::is_offered() {
            return Some(Self::Svm);
        }
        operation::begin().ok().map(|()| Self::Vmx)
    }

    /// This CPU is as if it had never run a guest, so that it can be reset.
    pub fn leave_this_cpu() {
        operation::end();
    }

    /// A guest's memory with `program` in it.
    pub fn memory(self, program: Program) -> Arc<GuestMemory> {
        let hypercall = match self {
            Self::Svm => SvmVcpu::HYPERCALL,
            Self::Vmx => VmxVcpu::HYPERCALL,
        };
        GuestMemory::with_program(program.bytes(), hypercall)
    }

    /// A vCPU that begins at the program in `memory`.
    ///
    /// # Panics
    /// On a CPU whose VMX lacks what every CPU with AVX has.
    pub fn vcpu(self, memory: &Arc<GuestMemory>) -> Box<dyn Hardware> {
        match self {
            Self::Svm => Box::new(SvmVcpu::new(Arc::clone(memory))),
            Self::Vmx => match VmxVcpu::new(Arc::clone(memory)) {
                Ok(vcpu) => Box::new(vcpu),
                Err(lacking) => panic!("{lacking}"),
            },
        }
    }
}

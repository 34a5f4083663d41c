//! Linux since 5.16: `fpu->fpstate` points to the guest's state while the task is in `vcpu_run`.
//!
//! A swap saves what goes out unless it is in memory (`TIF_NEED_FPU_LOAD`) or confidential, moves the
//! pointer, and restores what comes in, always (`fpu_swap_kvm_fpstate()`). IA32_XFD would be written
//! where it differs from its shadow; it never does here, as for every guest without AMX.

use fpstate::Restoring;
use fpstate_arch::Fault;

use crate::image::{Image, Mover};
use crate::policy::{Policy, PolicyError};
use crate::task::{NeedFpuLoad, TaskRegisters};

/// Who sees the registers of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidential {
    /// The host does not.
    Yes,
    /// It does.
    No,
}

/// `struct fpstate`: the bytes and what belongs to them.
#[derive(Debug)]
pub struct LinuxFpstate {
    image: Image,
    xfd: u64,
    is_confidential: Confidential,
    in_use: InUse,
}

/// Whether the task runs on this guest state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InUse {
    Yes,
    No,
}

impl LinuxFpstate {
    /// Of a task, or of a guest that is no confidential one.
    #[must_use]
    pub const fn new(image: Image) -> Self {
        Self {
            image,
            xfd: 0,
            is_confidential: Confidential::No,
            in_use: InUse::No,
        }
    }
}

/// A task, the vCPUs it runs, and a CPU.
#[derive(Debug)]
pub struct PointerSwap<M> {
    mover: M,
    /// `fpu->fpstate`.
    fpstate: Box<LinuxFpstate>,
    /// `fpu->__task_fpstate`: while a guest runs, the task's own.
    task_fpstate: Option<Box<LinuxFpstate>>,
    registers: TaskRegisters,
    /// The CPU's IA32_XFD.
    xfd_state: u64,
    vcpus: Vec<Option<Box<LinuxFpstate>>>,
}

impl<M: Mover> PointerSwap<M> {
    /// A task that is switched out, and its vCPUs.
    pub fn new(mover: M, task: LinuxFpstate, vcpus: Vec<Box<LinuxFpstate>>) -> Self {
        Self {
            mover,
            fpstate: Box::new(task),
            task_fpstate: None,
            registers: TaskRegisters::SWITCHED_OUT,
            xfd_state: 0,
            vcpus: vcpus.into_iter().map(Some).collect(),
        }
    }

    #[inline]
    fn save_outgoing(&mut self) -> Result<(), PolicyError> {
        let seen = self.fpstate.is_confidential == Confidential::No;
        if seen && self.registers.need_load() == NeedFpuLoad::Clear {
            self.mover.save(&mut self.fpstate.image)?;
        }
        Ok(())
    }

    #[inline]
    fn restore_incoming(&mut self) -> Result<(), PolicyError> {
        if self.xfd_state != self.fpstate.xfd {
            // Out of reach at CPL 3.
            return Err(PolicyError::Fault(Fault::GeneralProtection));
        }
        if self.fpstate.is_confidential == Confidential::No {
            self.mover.restore(&self.fpstate.image)?;
        }
        self.registers.mark_activate();
        Ok(())
    }
}

impl<M: Mover> Policy for PointerSwap<M> {
    #[inline]
    fn enter(&mut self, vcpu: usize, _: Restoring) -> Result<(), PolicyError> {
        self.save_outgoing()?;
        let place = self.vcpus.get_mut(vcpu);
        let mut guest = place
            .and_then(Option::take)
            .ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        guest.in_use = InUse::Yes;
        self.task_fpstate = Some(std::mem::replace(&mut self.fpstate, guest));
        self.restore_incoming()
    }

    #[inline]
    fn leave(&mut self, vcpu: usize, _: Restoring) -> Result<(), PolicyError> {
        self.save_outgoing()?;
        let task = self.task_fpstate.take();
        let task = task.ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        let mut guest = std::mem::replace(&mut self.fpstate, task);
        guest.in_use = InUse::No;
        if let Some(place) = self.vcpus.get_mut(vcpu) {
            *place = Some(guest);
        }
        self.restore_incoming()
    }

    #[inline]
    fn use_registers(&mut self) -> Result<(), PolicyError> {
        if self.registers.need_load() == NeedFpuLoad::Set {
            if self.registers.still_valid() {
                self.registers.mark_activate();
            } else {
                self.restore_incoming()?;
            }
        }
        Ok(())
    }

    #[inline]
    fn switch_out(&mut self) -> Result<(), PolicyError> {
        if self.registers.need_load() == NeedFpuLoad::Clear {
            self.mover.save(&mut self.fpstate.image)?;
            self.registers.switched_out();
        }
        Ok(())
    }

    fn registers_taken(&mut self) -> Result<(), PolicyError> {
        self.registers.lose_registers();
        Ok(())
    }
}

//! KVM before Linux 5.16: each vCPU has a buffer for the guest and one for the task that runs it,
//! beside the task's own.
//!
//! An entry saves the task into the user buffer - from the registers or, where they are not the
//! task's (`TIF_NEED_FPU_LOAD`), by `memcpy` from the task's own - and restores the guest buffer; an
//! exit does the same with the roles exchanged. Nothing is put off (docs: the facts of Linux 5.15's
//! `kvm_load_guest_fpu()`).

use fpstate::Restoring;

use crate::image::{Image, Mover};
use crate::policy::{Policy, PolicyError};
use crate::task::{NeedFpuLoad, TaskRegisters};

/// The buffers of one vCPU.
#[derive(Debug)]
pub struct VcpuBuffers {
    /// What the task had when it entered.
    pub user: Image,
    /// What the guest has.
    pub guest: Image,
}

/// A task, the vCPUs it runs, and a CPU.
#[derive(Debug)]
pub struct TwoBuffers<M> {
    mover: M,
    /// `current->thread.fpu`: where the scheduler saves, whoever's the registers are.
    task: Image,
    registers: TaskRegisters,
    vcpus: Vec<Box<VcpuBuffers>>,
    bytes_copied: u64,
}

impl<M: Mover> TwoBuffers<M> {
    /// A task that is switched out, and its vCPUs.
    pub const fn new(mover: M, task: Image, vcpus: Vec<Box<VcpuBuffers>>) -> Self {
        Self {
            mover,
            task,
            registers: TaskRegisters::SWITCHED_OUT,
            vcpus,
            bytes_copied: 0,
        }
    }
}

/// `kvm_save_current_fpu()`; gives the bytes that were copied.
#[inline]
fn save_current<M: Mover>(
    mover: &mut M,
    task: &Image,
    registers: &TaskRegisters,
    buffer: &mut Image,
) -> Result<usize, PolicyError> {
    match registers.need_load() {
        NeedFpuLoad::Set => {
            mover.copy(task, buffer);
            Ok(task.bytes().len())
        }
        NeedFpuLoad::Clear => mover.save(buffer).map(|()| 0),
    }
}

impl<M: Mover> Policy for TwoBuffers<M> {
    #[inline]
    fn enter(&mut self, vcpu: usize, _: Restoring) -> Result<(), PolicyError> {
        let buffers = self
            .vcpus
            .get_mut(vcpu)
            .ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        let copied = save_current(
            &mut self.mover,
            &self.task,
            &self.registers,
            &mut buffers.user,
        )?;
        self.bytes_copied += copied as u64;
        self.mover.restore(&buffers.guest)?;
        self.registers.mark_activate();
        Ok(())
    }

    #[inline]
    fn leave(&mut self, vcpu: usize, _: Restoring) -> Result<(), PolicyError> {
        let buffers = self
            .vcpus
            .get_mut(vcpu)
            .ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        let copied = save_current(
            &mut self.mover,
            &self.task,
            &self.registers,
            &mut buffers.guest,
        )?;
        self.bytes_copied += copied as u64;
        self.mover.restore(&buffers.user)?;
        self.registers.mark_activate();
        Ok(())
    }

    #[inline]
    fn use_registers(&mut self) -> Result<(), PolicyError> {
        if self.registers.need_load() == NeedFpuLoad::Set {
            if !self.registers.still_valid() {
                self.mover.restore(&self.task)?;
            }
            self.registers.mark_activate();
        }
        Ok(())
    }

    #[inline]
    fn switch_out(&mut self) -> Result<(), PolicyError> {
        if self.registers.need_load() == NeedFpuLoad::Clear {
            self.mover.save(&mut self.task)?;
            self.registers.switched_out();
        }
        Ok(())
    }

    fn registers_taken(&mut self) -> Result<(), PolicyError> {
        self.registers.lose_registers();
        Ok(())
    }

    fn bytes_copied(&self) -> u64 {
        self.bytes_copied
    }
}

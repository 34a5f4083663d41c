//! This library.

use std::marker::PhantomData;

use fpstate::host_side::HostSide;
use fpstate::{BoxedArea, CpuFpu, GuestFpu, Restoring, ThreadFpu};
use fpstate_arch::Processor;

use crate::policy::{Policy, PolicyError};

/// A thread, the vCPUs it runs, and a CPU. `H` is what of the thread's registers is live where it
/// calls `vcpu_run`.
#[derive(Debug)]
pub struct Ours<'e, P, H> {
    cpu: CpuFpu<P>,
    thread: ThreadFpu<'e, BoxedArea>,
    vcpus: Vec<Box<GuestFpu<'e, BoxedArea>>>,
    host_side: PhantomData<H>,
}

impl<'e, P: Processor, H: HostSide> Ours<'e, P, H> {
    /// A thread that is switched out, and its vCPUs.
    pub const fn new(
        cpu: CpuFpu<P>,
        thread: ThreadFpu<'e, BoxedArea>,
        vcpus: Vec<Box<GuestFpu<'e, BoxedArea>>>,
    ) -> Self {
        Self {
            cpu,
            thread,
            vcpus,
            host_side: PhantomData,
        }
    }
}

impl<P: Processor, H: HostSide> Policy for Ours<'_, P, H> {
    #[inline]
    fn enter(&mut self, vcpu: usize, restoring: Restoring) -> Result<(), PolicyError> {
        let guest = self
            .vcpus
            .get_mut(vcpu)
            .ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        self.thread
            .enter_guest_as::<H>(guest, &mut self.cpu, restoring)?;
        Ok(())
    }

    #[inline]
    fn leave(&mut self, vcpu: usize, restoring: Restoring) -> Result<(), PolicyError> {
        let guest = self
            .vcpus
            .get_mut(vcpu)
            .ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        self.thread.leave_guest(guest, &mut self.cpu, restoring)?;
        Ok(())
    }

    #[inline]
    fn use_registers(&mut self) -> Result<(), PolicyError> {
        self.thread.restore_before_use_as::<H>(&mut self.cpu)?;
        Ok(())
    }

    #[inline]
    fn switch_out(&mut self) -> Result<(), PolicyError> {
        self.thread.save_before_switch(&mut self.cpu)?;
        Ok(())
    }

    fn registers_taken(&mut self) -> Result<(), PolicyError> {
        Ok(self.cpu.registers_taken()?)
    }
}

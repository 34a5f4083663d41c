//! The bare round trip: two saves, two restores, no bookkeeping.

use fpstate::Restoring;

use crate::image::{Image, Mover};
use crate::policy::{Policy, PolicyError};

/// Saves and restores, whatever happened before.
#[derive(Debug)]
pub struct Pair<M> {
    mover: M,
    thread: Image,
    // Each in memory of its own, as vCPUs are.
    vcpus: Vec<Box<Image>>,
}

impl<M: Mover> Pair<M> {
    /// A thread and the vCPUs it runs.
    pub const fn new(mover: M, thread: Image, vcpus: Vec<Box<Image>>) -> Self {
        Self {
            mover,
            thread,
            vcpus,
        }
    }
}

impl<M: Mover> Policy for Pair<M> {
    #[inline]
    fn enter(&mut self, vcpu: usize, _: Restoring) -> Result<(), PolicyError> {
        let guest = self
            .vcpus
            .get(vcpu)
            .ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        self.mover.save(&mut self.thread)?;
        self.mover.restore(guest)
    }

    #[inline]
    fn leave(&mut self, vcpu: usize, _: Restoring) -> Result<(), PolicyError> {
        let guest = self
            .vcpus
            .get_mut(vcpu)
            .ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        self.mover.save(guest)?;
        self.mover.restore(&self.thread)
    }

    fn use_registers(&mut self) -> Result<(), PolicyError> {
        self.mover.restore(&self.thread)
    }

    fn switch_out(&mut self) -> Result<(), PolicyError> {
        self.mover.save(&mut self.thread)
    }

    fn registers_taken(&mut self) -> Result<(), PolicyError> {
        Ok(())
    }
}

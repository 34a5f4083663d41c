//! `Contestant`: any policy, for a loop that has one of each.

use fpstate::Restoring;

use crate::event::Event;
use crate::policy::{Policy, PolicyError};

/// A policy whose type is not known. The loop over the vCPUs is inside, where it is.
pub trait Contestant {
    /// See [`Event::prepare`].
    ///
    /// # Errors
    /// The policy's.
    fn prepare(&mut self, event: Event) -> Result<(), PolicyError>;

    /// The event happens once to each vCPU of `order`.
    ///
    /// # Errors
    /// The policy's, at the first vCPU where it does.
    fn happen(&mut self, event: Event, order: &[usize]) -> Result<(), PolicyError>;

    /// See [`Event::finish`].
    ///
    /// # Errors
    /// The policy's.
    fn finish(&mut self, event: Event) -> Result<(), PolicyError>;

    /// Into a guest that runs at once.
    ///
    /// # Errors
    /// The policy's.
    fn enter(&mut self, vcpu: usize) -> Result<(), PolicyError>;

    /// Back to a thread that goes on at once.
    ///
    /// # Errors
    /// The policy's.
    fn leave(&mut self, vcpu: usize) -> Result<(), PolicyError>;

    /// Bytes of areas that were copied so far.
    fn bytes_copied(&self) -> u64;
}

impl<P: Policy> Contestant for P {
    fn prepare(&mut self, event: Event) -> Result<(), PolicyError> {
        event.prepare(self)
    }

    #[inline(never)]
    fn happen(&mut self, event: Event, order: &[usize]) -> Result<(), PolicyError> {
        order.iter().try_for_each(|&vcpu| event.happen(self, vcpu))
    }

    fn finish(&mut self, event: Event) -> Result<(), PolicyError> {
        event.finish(self)
    }

    fn enter(&mut self, vcpu: usize) -> Result<(), PolicyError> {
        Policy::enter(self, vcpu, Restoring::Now)
    }

    fn leave(&mut self, vcpu: usize) -> Result<(), PolicyError> {
        Policy::leave(self, vcpu, Restoring::Now)
    }

    fn bytes_copied(&self) -> u64 {
        Policy::bytes_copied(self)
    }
}

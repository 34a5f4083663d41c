//! `GuestFpu`: a vCPU's extended state between runs.

use crate::ownership::StateId;
use crate::state::Fpstate;
use crate::storage::AreaStorage;

/// A vCPU's extended state. While a thread runs the vCPU, the state has moved into the thread:
/// Linux's `in_use` flag is here a value that is somewhere else.
#[derive(Debug)]
pub struct GuestFpu<'e, S> {
    pub(crate) fpstate: Option<Fpstate<'e, S>>,
    id: StateId,
}

impl<'e, S: AreaStorage> GuestFpu<'e, S> {
    /// A vCPU with `fpstate` as its state.
    #[must_use]
    pub const fn new(fpstate: Fpstate<'e, S>) -> Self {
        let id = fpstate.id();
        Self {
            fpstate: Some(fpstate),
            id,
        }
    }

    /// A vCPU whose state the hardware keeps (SEV-ES, TDX): entering it saves the thread's state
    /// and updates IA32_XFD, and touches nothing else.
    #[must_use]
    pub fn confidential(fpstate: Fpstate<'e, S>) -> Self {
        Self::new(fpstate.sealed())
    }

    /// The state's identity, running or not.
    #[must_use]
    pub const fn id(&self) -> StateId {
        self.id
    }

    /// The state, or `None` while a thread runs the vCPU.
    #[must_use]
    pub const fn fpstate(&self) -> Option<&Fpstate<'e, S>> {
        self.fpstate.as_ref()
    }

    /// The state, to edit or import into, or `None` while a thread runs the vCPU.
    pub const fn fpstate_mut(&mut self) -> Option<&mut Fpstate<'e, S>> {
        self.fpstate.as_mut()
    }

    /// The vCPU ends: gives the memory back.
    ///
    /// # Errors
    /// The vCPU itself while a thread runs it (invariant I27).
    pub fn into_storage(self) -> Result<S, Self> {
        match self.fpstate {
            Some(fpstate) => Ok(fpstate.into_storage()),
            None => Err(self),
        }
    }
}

//! `Policy`: a design that takes a thread into guests and back.

use fpstate::{EnterError, LeaveError, Restoring, SwitchError};
use fpstate_arch::Fault;

/// A thread, the vCPUs it runs, and how their registers change places.
///
/// Every method is what a kernel calls at that event; what it costs there is what is measured.
pub trait Policy {
    /// The thread enters `vcpu`, which runs at once or, where the design can put a restore off, later.
    ///
    /// # Errors
    /// Why not.
    fn enter(&mut self, vcpu: usize, restoring: Restoring) -> Result<(), PolicyError>;

    /// The thread leaves `vcpu`.
    ///
    /// # Errors
    /// Why not.
    fn leave(&mut self, vcpu: usize, restoring: Restoring) -> Result<(), PolicyError>;

    /// The thread, or the guest it is in, uses the registers from here on.
    ///
    /// # Errors
    /// Why not.
    fn use_registers(&mut self) -> Result<(), PolicyError>;

    /// The scheduler takes the thread off the CPU.
    ///
    /// # Errors
    /// Why not.
    fn switch_out(&mut self) -> Result<(), PolicyError>;

    /// Something else used the registers while the thread was switched out.
    ///
    /// # Errors
    /// Why not.
    fn registers_taken(&mut self) -> Result<(), PolicyError>;

    /// Bytes of areas that the design has copied from memory to memory.
    fn bytes_copied(&self) -> u64 {
        0
    }
}

/// Why a policy does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The processor refused.
    #[error("the processor refused: {0}")]
    Fault(Fault),
    /// Plain moves do not cover what is live.
    #[error("plain moves do not cover what is live")]
    NotCovered,
    /// A vCPU that there is not.
    #[error("there is no vCPU {vcpu}")]
    NoSuchVcpu {
        /// Its number.
        vcpu: usize,
    },
    /// No memory for a state.
    #[error("no memory for another state")]
    NoMemory,
    /// The library refused an entry.
    #[error("{0}")]
    Enter(#[from] EnterError),
    /// The library refused an exit.
    #[error("{0}")]
    Leave(#[from] LeaveError),
    /// The library refused a switch.
    #[error("{0}")]
    Switch(#[from] SwitchError),
}

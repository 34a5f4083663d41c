//! What can go wrong in a slice besides a corruption. None of it should ever happen: the library
//! refuses what contradicts its bookkeeping, and the engine does not contradict it.

use std::io;

use fpstate::{
    DeviceNotAvailableError, EnterError, ForkError, GuestEntryError, GuestFeaturesError,
    GuestRegisterError, GuestStateError, ImportError, LayoutError, LeaveError, LifeError,
    OtherSection, PermissionError, ResizeError, SignalFrameError, StateError, Switch, SwitchError,
};
use fpstate_arch::Fault;

/// Why a slice was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SliceError {
    /// A switch was refused.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// Entering a guest was refused.
    #[error("entering a guest: {0}")]
    Enter(#[from] EnterError),
    /// Leaving a guest was refused.
    #[error("leaving a guest: {0}")]
    Leave(#[from] LeaveError),
    /// The signal frame of a preempted guest was not understood.
    #[error("the signal frame of a preempted guest: {0}")]
    SignalFrame(#[from] SignalFrameError),
    /// A preempted guest's image does not fit its state.
    #[error("the image of a preempted guest: {0}")]
    Import(#[from] ImportError),
    /// A guest was taken off without an image.
    #[error("a preempted guest left no image")]
    NoImage,
    /// A thread could not fork.
    #[error(transparent)]
    Fork(#[from] ForkError),
    /// A thread could not exec or exit.
    #[error(transparent)]
    Life(#[from] LifeError),
    /// A state could not be made.
    #[error(transparent)]
    State(#[from] StateError),
    /// A state has no layout without on-demand components.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A state could not grow, or not give memory back.
    #[error("growth: {0}")]
    Resize(#[from] ResizeError),
    /// A permission was not granted.
    #[error("a permission: {0}")]
    Permission(#[from] PermissionError),
    /// A guest cannot be offered these components.
    #[error(transparent)]
    Features(#[from] GuestFeaturesError),
    /// A vCPU could not be made.
    #[error(transparent)]
    Vcpu(#[from] GuestStateError),
    /// A guest's register could not be read or written.
    #[error("a guest's register: {0}")]
    GuestRegister(#[from] GuestRegisterError),
    /// A guest's registers could not be loaded.
    #[error("a guest's registers: {0}")]
    GuestEntry(#[from] GuestEntryError),
    /// A thread's #NM had no remedy.
    #[error("#NM of a thread: {0}")]
    DeviceNotAvailable(#[from] DeviceNotAvailableError),
    /// #NM for which IA32_XFD is not the reason.
    #[error("#NM, and IA32_XFD_ERR is 0")]
    OtherDeviceNotAvailable,
    /// A thread that never asked was to grow.
    #[error("a thread without permission was to grow")]
    GrowthWithoutPermission,
    /// A kernel section was to be ended that was not open.
    #[error(transparent)]
    KernelSection(#[from] OtherSection),
    /// What was carried out ahead of its decision is not what the library decided.
    #[error("carried out {done:?}; decided {decided:?}")]
    DoneAhead {
        /// What the script did.
        done: Switch,
        /// What the library decided afterwards.
        decided: Switch,
    },
    /// A step of a script was refused by the processor.
    #[error("the processor refused a step: {0}")]
    Step(Fault),
    /// A vCPU was in a thread while it ended.
    #[error("a vCPU ended while a thread ran it")]
    VcpuInUse,
    /// The allocator refused.
    #[error("out of memory")]
    NoMemory,
    /// The operating system refused.
    #[error("the operating system refused: {0}")]
    Os(#[from] io::Error),
}

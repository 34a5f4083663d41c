//! Why a run did not happen, or did not end.

use fpstate::{BringUpError, LayoutError};
use fpstate_arch::Xcr0Error;

use crate::fault_injection::InjectedFault;
use crate::host::HostError;
use crate::report::TileGuests;
use crate::schedule::SliceError;
use crate::switch_by::SwitchByError;

/// Why a run did not happen, or did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// No native engine.
    #[error(
        "the native engine needs x86-64 Linux; this is {} {}",
        std::env::consts::ARCH,
        std::env::consts::OS
    )]
    NoNativeEngine,
    /// This CPU will not do.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It cannot be switched as was asked for.
    #[error(transparent)]
    SwitchBy(#[from] SwitchByError),
    /// The CPU's figures contradict each other.
    #[error("CPUID leaf 0DH: {0}")]
    Layout(#[from] LayoutError),
    /// The CPU's components cannot be enabled together.
    #[error("CPUID leaf 0DH: {0}")]
    Xcr0(#[from] Xcr0Error),
    /// A CPU of the model cannot be brought up.
    #[error("bringing up a CPU: {0}")]
    BringUp(#[from] BringUpError),
    /// A known answer is wrong before any guest ran.
    #[error("{answer} computes a wrong answer on this machine before any guest runs")]
    KnownAnswer {
        /// The answer.
        answer: String,
    },
    /// The fault to inject can never strike.
    #[error("{fault} needs guests that use tiles; {tiles}")]
    NothingGrows {
        /// The fault.
        fault: InjectedFault,
        /// Why there are none.
        tiles: TileGuests,
    },
    /// A slice was refused.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// An OS thread panicked.
    #[error("an OS thread that acted as a CPU panicked")]
    CpuPanicked,
}

//! Why there are no figures.

use std::io;

use fpstate::LayoutError;
use fpstate_engine::{HostError, SwitchByError};

use crate::policy::PolicyError;
use crate::policy_name::PolicyName;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// No x86 CPU, or one without XSAVE.
    #[error("{0}")]
    ThisMachine(#[from] HostError),
    /// It cannot be switched as was asked.
    #[error("--switch-by: {0}")]
    SwitchBy(#[from] SwitchByError),
    /// Not Linux.
    #[error("bench measures on x86-64 Linux only")]
    NotLinux,
    /// CPUID contradicts itself.
    #[error("CPUID leaf 0DH: {0}")]
    Layout(#[from] LayoutError),
    /// A policy did not go on.
    #[error("{}: {error}", name.key())]
    Policy {
        /// Which.
        name: PolicyName,
        /// Why.
        error: PolicyError,
    },
    /// Setting up, or counting.
    #[error("{0}")]
    Setting(#[from] PolicyError),
    /// The operating system refused to keep the process on one CPU.
    #[error("staying on one CPU: {0}")]
    Pin(io::Error),
    /// The first expansion on the software CPU.
    #[error("the first expansion on the software CPU: {what}")]
    Expansion {
        /// What did not work.
        what: String,
    },
}

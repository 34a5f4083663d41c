//! What can happen.

use std::fmt;

/// One step of a kernel, its user code, a guest or its VMM. Numbers are from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// A thread that runs nowhere becomes the current one of a CPU that has none.
    SwitchIn {
        /// The CPU.
        cpu: usize,
        /// The thread.
        thread: usize,
    },
    /// The current thread is saved, if need be, and runs nowhere.
    SwitchOut {
        /// The CPU.
        cpu: usize,
    },
    /// At the last moment before user mode or a VM entry: the active state is restored if need be.
    Return {
        /// The CPU.
        cpu: usize,
    },
    /// User code writes every default and supervisor component.
    Write {
        /// The CPU.
        cpu: usize,
    },
    /// An interrupt, or the kernel on behalf of the thread or without one, uses the registers.
    KernelSection {
        /// The CPU.
        cpu: usize,
    },
    /// A CPU without a thread idles.
    Idle {
        /// The CPU.
        cpu: usize,
    },
    /// What runs is saved, then the CPU sleeps, loses its registers and wakes.
    Sleep {
        /// The CPU.
        cpu: usize,
    },
    /// A CPU without a thread goes offline.
    Offline {
        /// The CPU.
        cpu: usize,
    },
    /// It is brought up.
    Online {
        /// The CPU.
        cpu: usize,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchIn { cpu, thread } => {
                write!(f, "CPU {cpu}: thread {thread} is switched in")
            }
            Self::SwitchOut { cpu } => write!(f, "CPU {cpu}: its thread is switched out"),
            Self::Return { cpu } => write!(f, "CPU {cpu}: the active state is restored for use"),
            Self::Write { cpu } => write!(f, "CPU {cpu}: user code writes its registers"),
            Self::KernelSection { cpu } => write!(f, "CPU {cpu}: a kernel section"),
            Self::Idle { cpu } => write!(f, "CPU {cpu} idles"),
            Self::Sleep { cpu } => write!(f, "CPU {cpu} sleeps and wakes"),
            Self::Offline { cpu } => write!(f, "CPU {cpu} goes offline"),
            Self::Online { cpu } => write!(f, "CPU {cpu} is brought up"),
        }
    }
}

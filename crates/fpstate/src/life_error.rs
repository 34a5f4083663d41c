//! Why a thread's state cannot be forked, begin anew or end.

use core::fmt;

use fpstate_arch::component::ComponentSet;

use crate::area::AreaError;
use crate::import::ImportError;
use crate::layout::LayoutError;
use crate::ownership::{CpuId, StateId};
use crate::switch_error::SwitchError;

/// Why a thread cannot be forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForkError {
    /// The parent's state could not be saved.
    Save(SwitchError),
    /// The parent's state does not fit the child's memory, or cannot be read.
    TakeOver(ImportError),
}

impl fmt::Display for ForkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Save(error) => write!(f, "the parent's state: {error}"),
            Self::TakeOver(error) => write!(f, "the child's state: {error}"),
        }
    }
}

impl core::error::Error for ForkError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Save(error) => Some(error),
            Self::TakeOver(error) => Some(error),
        }
    }
}

/// Why a thread's life cannot take this turn now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LifeError {
    /// A guest's state is active; leave it first.
    InGuest {
        /// The guest's state.
        guest: StateId,
    },
    /// The thread's state is in the registers of another CPU.
    InRegistersOf {
        /// That CPU.
        cpu: CpuId,
        /// The CPU asked.
        here: CpuId,
    },
    /// The state has grown: its memory must be given back.
    Grown {
        /// The on-demand components that have room.
        components: ComponentSet,
    },
    /// The memory for the state that begins is too short or misaligned.
    Area(AreaError),
    /// There is no layout without on-demand components.
    Layout(LayoutError),
}

impl fmt::Display for LifeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InGuest { guest } => {
                write!(
                    f,
                    "the thread is running the guest of {guest}; leave it first"
                )
            }
            Self::InRegistersOf { cpu, here } => {
                write!(
                    f,
                    "the thread's state is in the registers of {cpu}, not of {here}"
                )
            }
            Self::Grown { components } => {
                write!(
                    f,
                    "the thread's state has grown by {components}; release them"
                )
            }
            Self::Area(error) => error.fmt(f),
            Self::Layout(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for LifeError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::import::NotInMemory;
    use crate::ownership::Identities;
    use std::string::ToString;

    #[test]
    fn a_refused_fork_or_exec_says_whose_state_it_was() {
        static IDENTITIES: Identities = Identities::new();
        const TILES: ComponentSet = ComponentSet::TILES;
        let first = IDENTITIES.state();
        let cpu = IDENTITIES.cpu(7);
        let here = IDENTITIES.cpu(9);
        for (shown, sentence) in [
            (
                ForkError::Save(SwitchError::Stale).to_string(),
                "the parent's state: the decision is not what the states call for now",
            ),
            (
                ForkError::TakeOver(ImportError::NotInMemory(NotInMemory::Sealed)).to_string(),
                "the child's state: the state is sealed by the hardware",
            ),
            (
                LifeError::InGuest { guest: first }.to_string(),
                "the thread is running the guest of state 1; leave it first",
            ),
            (
                LifeError::InRegistersOf { cpu, here }.to_string(),
                "the thread's state is in the registers of CPU 7, not of CPU 9",
            ),
            (
                LifeError::Grown { components: TILES }.to_string(),
                "the thread's state has grown by XTILECFG+XTILEDATA; release them",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }

    #[test]
    fn the_source_of_a_refused_fork_is_what_refused_it() {
        use core::error::Error as _;
        assert_eq!(
            ForkError::Save(SwitchError::Stale)
                .source()
                .map(ToString::to_string),
            Some(SwitchError::Stale.to_string())
        );
        let sealed = ImportError::NotInMemory(NotInMemory::Sealed);
        assert_eq!(
            ForkError::TakeOver(sealed)
                .source()
                .map(ToString::to_string),
            Some(sealed.to_string())
        );
    }
}

//! Why a process or its guests may not use a component.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};

use crate::errno::Errno;
use crate::offer::Grantee;

/// Why a request for a component is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermissionError {
    /// No component has this number.
    NoSuchComponent {
        /// The number.
        number: u32,
    },
    /// The component needs no permission, or is not offered.
    NotOnDemand {
        /// The component.
        component: Component,
        /// Components to ask for.
        on_demand: ComponentSet,
    },
    /// The process has vCPUs.
    GuestsFrozen,
    /// A thread's alternate signal stack would be too small.
    SignalStack(SignalStackError),
}

impl PermissionError {
    /// What a Linux-compatible kernel answers.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::NoSuchComponent { .. } => Errno::Einval,
            Self::NotOnDemand { .. } => Errno::Eopnotsupp,
            Self::GuestsFrozen => Errno::Ebusy,
            // For stacks that are there already, not the ENOMEM of sigaltstack().
            Self::SignalStack(_) => Errno::Enospc,
        }
    }
}

impl fmt::Display for PermissionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchComponent { number } => {
                write!(f, "no component is known by number {number}")
            }
            Self::NotOnDemand {
                component,
                on_demand,
            } => write!(f, "{component} is not on demand; on demand: {on_demand}"),
            Self::GuestsFrozen => {
                f.write_str("guests' permissions are frozen: the process has a vCPU")
            }
            Self::SignalStack(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for PermissionError {}

/// An alternate signal stack has no room for a signal frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalStackError {
    /// Its length in bytes.
    pub found: usize,
    /// The length of the largest frame.
    pub needed: usize,
}

impl SignalStackError {
    /// What a Linux-compatible kernel's `sigaltstack()` answers.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::Enomem
    }
}

impl fmt::Display for SignalStackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, needed } = self;
        write!(
            f,
            "alternate signal stack of {found} bytes; allowed: 0, or {needed} and above"
        )
    }
}

impl core::error::Error for SignalStackError {}

/// A component is used without permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPermitted {
    /// Who uses it.
    pub grantee: Grantee,
    /// The components used.
    pub needed: ComponentSet,
    /// The components granted.
    pub granted: ComponentSet,
}

impl NotPermitted {
    /// What a Linux-compatible kernel answers.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::Eperm
    }
}

impl fmt::Display for NotPermitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.needed.difference(self.granted);
        let (grantee, granted) = (self.grantee, self.granted);
        write!(
            f,
            "{grantee} may not use {missing}; permitted so far: {granted}"
        )
    }
}

impl core::error::Error for NotPermitted {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_refused_permission_says_who_asked_for_what() {
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        const TILES: ComponentSet = ComponentSet::TILES;
        for (shown, sentence) in [
            (
                PermissionError::NoSuchComponent { number: 70 }.to_string(),
                "no component is known by number 70",
            ),
            (
                PermissionError::NotOnDemand {
                    component: Component::Avx,
                    on_demand: TILES,
                }
                .to_string(),
                "AVX is not on demand; on demand: XTILECFG+XTILEDATA",
            ),
            (
                PermissionError::GuestsFrozen.to_string(),
                "guests' permissions are frozen: the process has a vCPU",
            ),
            (
                PermissionError::SignalStack(SignalStackError {
                    found: 2048,
                    needed: 11_000,
                })
                .to_string(),
                "alternate signal stack of 2048 bytes; allowed: 0, or 11000 and above",
            ),
            (
                NotPermitted {
                    grantee: Grantee::Guests,
                    needed: AVX.union(TILES),
                    granted: AVX,
                }
                .to_string(),
                "guests may not use XTILECFG+XTILEDATA; permitted so far: AVX",
            ),
            (Grantee::Threads.to_string(), "threads"),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}

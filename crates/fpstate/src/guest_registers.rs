//! A guest's XCR0, IA32_XSS, IA32_XFD_ERR and PKRU as it believes to have them.
//!
//! A value that the guest may not write leaves the register as it was; the VMM injects #GP(0), or
//! answers EINVAL where the write was its own (invariants I39 and I40).

use core::fmt;

use fpstate_arch::component::ComponentSet;
use fpstate_arch::pkru::Pkru;
use fpstate_arch::xcr0::{Xcr0, Xcr0Error};
use fpstate_arch::xfd::{Xfd, XfdErr, XfdError};
use fpstate_arch::xss::{Xss, XssError};

use crate::errno::Errno;
use crate::guest_features::GuestFeatures;
use crate::ownership::StateId;
use crate::state::Fpstate;
use crate::storage::AreaStorage;
use crate::switch_error::SwitchError;

/// The registers of a guest that are not in its XSAVE area. IA32_XFD is with the state, because what
/// a save and a restore do depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuestRegisters {
    pub(crate) features: GuestFeatures,
    pub(crate) xcr0: Xcr0,
    pub(crate) xss: Xss,
    pub(crate) xfd_err: XfdErr,
    pub(crate) pkru: Pkru,
}

impl GuestRegisters {
    /// As after RESET.
    pub(crate) const fn after_reset(features: GuestFeatures) -> Self {
        Self {
            features,
            xcr0: Xcr0::AFTER_RESET,
            xss: Xss::AFTER_RESET,
            xfd_err: XfdErr::NOTHING,
            pkru: Pkru::INITIAL,
        }
    }

    /// XCR0, IA32_XSS and IA32_XFD_ERR together.
    pub(crate) const fn enabled(&self) -> ComponentSet {
        self.xcr0
            .components()
            .union(self.xss.components())
            .union(self.xfd_err.components())
    }

    pub(crate) fn write_xcr0(&mut self, value: ComponentSet) -> Result<(), GuestRegisterError> {
        let offered = self.features.user();
        self.xcr0 = Xcr0::new(value, offered).map_err(GuestRegisterError::Xcr0)?;
        Ok(())
    }

    pub(crate) fn write_xss(&mut self, value: ComponentSet) -> Result<(), GuestRegisterError> {
        let offered = self.features.supervisor();
        self.xss = Xss::new(value, offered).map_err(GuestRegisterError::Xss)?;
        Ok(())
    }

    /// A value for IA32_XFD or IA32_XFD_ERR.
    pub(crate) fn check_xfd(&self, value: ComponentSet) -> Result<Xfd, GuestRegisterError> {
        Xfd::new(value, self.features.on_demand()).map_err(GuestRegisterError::Xfd)
    }

    /// Who handles accesses to IA32_XFD: the VMM as long as the host's arming is in the register.
    pub(crate) fn interception<S: AreaStorage>(&self, fpstate: &Fpstate<'_, S>) -> Interception {
        let on_demand = fpstate.layout().xfd_components();
        let offered = self.features.on_demand();
        if fpstate.without_room().is_empty() && offered == on_demand && !offered.is_empty() {
            Interception::PassedThrough
        } else {
            Interception::Intercepted
        }
    }
}

/// Who handles a guest's access to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interception {
    /// The VMM: the guest's access exits.
    Intercepted,
    /// The hardware.
    PassedThrough,
}

/// Why a guest's register cannot be read or written so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestRegisterError {
    /// XSETBV of a register other than XCR0.
    NoSuchXcr {
        /// ECX.
        found: u32,
    },
    /// XCR0.
    Xcr0(Xcr0Error),
    /// IA32_XSS.
    Xss(XssError),
    /// IA32_XFD or IA32_XFD_ERR.
    Xfd(XfdError),
    /// A thread runs the vCPU, and the register is with the thread.
    Running {
        /// The guest's state.
        guest: StateId,
    },
    /// The thread does not run this guest.
    NotRunning {
        /// The guest's state.
        asked: StateId,
        /// The state of the guest that it runs.
        running: Option<StateId>,
    },
    /// The state could not be saved, or IA32_XFD not be written.
    Switch(SwitchError),
}

impl GuestRegisterError {
    /// Whether the guest wrote what it may not: it gets #GP(0), and the host goes on. Otherwise the
    /// host is at fault, or its CPU, and the guest must learn nothing of it: the call came out of
    /// order, or a switch failed.
    #[must_use]
    pub const fn is_the_guests(&self) -> bool {
        match self {
            Self::NoSuchXcr { .. } | Self::Xcr0(_) | Self::Xss(_) | Self::Xfd(_) => true,
            Self::Running { .. } | Self::NotRunning { .. } | Self::Switch(_) => false,
        }
    }

    /// What a VMM that wrote the value is answered: EINVAL for what is
    /// [the guest's](Self::is_the_guests) fault where a guest wrote it.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::NoSuchXcr { .. } | Self::Xcr0(_) | Self::Xss(_) | Self::Xfd(_) => Errno::Einval,
            Self::Running { .. } | Self::NotRunning { .. } => Errno::Ebusy,
            Self::Switch(_) => Errno::Efault,
        }
    }
}

impl fmt::Display for GuestRegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchXcr { found } => write!(f, "XSETBV with ECX = {found}; allowed: 0"),
            Self::Xcr0(error) => error.fmt(f),
            Self::Xss(error) => error.fmt(f),
            Self::Xfd(error) => error.fmt(f),
            Self::Running { guest } => write!(f, "a thread runs the guest of {guest}"),
            Self::NotRunning {
                asked,
                running: None,
            } => {
                write!(f, "the thread runs no guest, not that of {asked}")
            }
            Self::NotRunning {
                asked,
                running: Some(running),
            } => write!(
                f,
                "the thread runs the guest of {running}, not that of {asked}"
            ),
            Self::Switch(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GuestRegisterError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::ownership::Identities;
    use fpstate_arch::fault::Fault;
    use std::string::ToString;

    #[test]
    fn what_the_guest_wrote_is_its_fault_and_the_order_of_calls_the_hosts() {
        use GuestRegisterError::{NoSuchXcr, NotRunning, Running, Switch, Xcr0 as OfXcr0};
        let only_sse = ComponentSet::from_bits(2);
        let xcr0 = Xcr0::new(only_sse, ComponentSet::LEGACY).unwrap_err();
        let guest = Identities::new().state();
        let (asked, running) = (guest, None);
        let fault = SwitchError::Fault(Fault::GeneralProtection);
        for (error, is_the_guests, errno) in [
            (NoSuchXcr { found: 1 }, true, Errno::Einval),
            (OfXcr0(xcr0), true, Errno::Einval),
            (Running { guest }, false, Errno::Ebusy),
            (NotRunning { asked, running }, false, Errno::Ebusy),
            (Switch(fault), false, Errno::Efault),
        ] {
            assert_eq!(error.is_the_guests(), is_the_guests, "{error}");
            assert_eq!(error.errno(), errno, "{error}");
        }
    }

    #[test]
    fn a_refused_write_says_what_was_found_and_what_was_allowed() {
        static IDENTITIES: Identities = Identities::new();
        let first = IDENTITIES.state();
        let second = IDENTITIES.state();
        for (shown, sentence) in [
            (
                GuestRegisterError::NoSuchXcr { found: 3 }.to_string(),
                "XSETBV with ECX = 3; allowed: 0",
            ),
            (
                GuestRegisterError::Running { guest: first }.to_string(),
                "a thread runs the guest of state 1",
            ),
            (
                GuestRegisterError::NotRunning {
                    asked: first,
                    running: None,
                }
                .to_string(),
                "the thread runs no guest, not that of state 1",
            ),
            (
                GuestRegisterError::NotRunning {
                    asked: first,
                    running: Some(second),
                }
                .to_string(),
                "the thread runs the guest of state 2, not that of state 1",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}

//! [`Permissions`]: which on-demand components a process's threads and guests may use.
//!
//! The answers are those of Linux's `arch_prctl()` with `ARCH_REQ_XCOMP_PERM` and its relatives.

use core::fmt;
use core::iter::Empty;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::xsave_header::Format;

use crate::errno::Errno;
use crate::offer::{Grantee, Offer};

/// "FPXE", which stands behind the XSAVE image of a signal frame.
const MAGIC2_LEN: usize = 4;

/// What one process may use. All its threads share it; the kernel keeps it behind the lock that also
/// keeps threads from setting up alternate signal stacks (invariant I22).
///
/// Grants are only added until the process executes another program (invariant I19). They are of
/// user components alone: supervisor components are never asked for, never shown and never lost,
/// because every layout has them from the [`Offer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// User components that need no permission.
    default: ComponentSet,
    threads: ComponentSet,
    guests: ComponentSet,
    guests_frozen: bool,
}

/// What a process's guests may use on demand, from the first vCPU on.
///
/// Only [`Permissions::freeze_guests`] makes one, so whoever creates a vCPU has frozen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPermit {
    on_demand: ComponentSet,
}

impl GuestPermit {
    /// On-demand components that guests may use.
    #[must_use]
    pub const fn on_demand(self) -> ComponentSet {
        self.on_demand
    }
}

/// What a signal frame must fit on: the alternate signal stacks of a process's threads.
#[derive(Clone, Debug)]
pub struct SignalStacks<I> {
    frame_overhead: usize,
    lens: I,
}

impl<I: Iterator<Item = usize>> SignalStacks<I> {
    /// The length in bytes of each thread's alternate signal stack, 0 where it has none;
    /// `frame_overhead` is what a signal frame takes beside the XSAVE image, alignment included.
    #[must_use]
    pub const fn new(frame_overhead: usize, lens: I) -> Self {
        Self {
            frame_overhead,
            lens,
        }
    }
}

impl SignalStacks<Empty<usize>> {
    /// No thread has one. Requests for guests need no other: a guest's state is in no signal frame.
    #[must_use]
    pub const fn none() -> Self {
        Self::new(0, core::iter::empty())
    }
}

impl Permissions {
    /// Those of the first process: what needs no permission.
    #[must_use]
    pub const fn new(offer: &Offer<'_>) -> Self {
        Self {
            default: offer.user_components().difference(offer.on_demand()),
            threads: ComponentSet::EMPTY,
            guests: ComponentSet::EMPTY,
            guests_frozen: false,
        }
    }

    /// User components that may be used, with or without asking: `ARCH_GET_XCOMP_PERM`,
    /// `ARCH_GET_XCOMP_GUEST_PERM`.
    #[must_use]
    pub const fn granted(&self, grantee: Grantee) -> ComponentSet {
        self.default.union(self.on_demand(grantee))
    }

    /// On-demand components that may be used.
    #[must_use]
    pub const fn on_demand(&self, grantee: Grantee) -> ComponentSet {
        match grantee {
            Grantee::Threads => self.threads,
            Grantee::Guests => self.guests,
        }
    }

    /// Asks for the component with this number: `ARCH_REQ_XCOMP_PERM`,
    /// `ARCH_REQ_XCOMP_GUEST_PERM`. `stacks` count for threads only.
    ///
    /// # Errors
    /// Nothing is granted then.
    pub fn request(
        &mut self,
        offer: &Offer<'_>,
        grantee: Grantee,
        number: u32,
        stacks: SignalStacks<impl Iterator<Item = usize>>,
    ) -> Result<(), PermissionError> {
        let component = u8::try_from(number)
            .ok()
            .and_then(Component::from_number)
            .filter(|component| !matches!(component, Component::Unnamed(_)))
            .ok_or(PermissionError::NoSuchComponent { number })?;
        let on_demand = offer.on_demand();
        if !on_demand.contains(component) {
            return Err(PermissionError::NotOnDemand {
                component,
                on_demand,
            });
        }
        if self.on_demand(grantee).contains(component) {
            return Ok(());
        }
        match grantee {
            Grantee::Threads => {
                let threads = self.threads.with(component);
                let needed = self.frame_len(offer, threads, stacks.frame_overhead);
                for found in stacks.lens {
                    if found != 0 && found < needed {
                        let too_small = SignalStackError { found, needed };
                        return Err(PermissionError::SignalStack(too_small));
                    }
                }
                self.threads = threads;
            }
            Grantee::Guests if self.guests_frozen => return Err(PermissionError::GuestsFrozen),
            Grantee::Guests => self.guests = self.guests.with(component),
        }
        Ok(())
    }

    /// Checks an alternate signal stack that a thread wants to set up, `len` bytes long. Before the
    /// first grant any is accepted: programs built when frames were smaller bring small ones.
    ///
    /// # Errors
    /// [`SignalStackError`]: the largest frame that the process may now get does not fit.
    pub fn check_signal_stack(
        &self,
        offer: &Offer<'_>,
        frame_overhead: usize,
        len: usize,
    ) -> Result<(), SignalStackError> {
        let (found, needed) = (len, self.frame_len(offer, self.threads, frame_overhead));
        if self.threads.is_empty() || found == 0 || found >= needed {
            Ok(())
        } else {
            Err(SignalStackError { found, needed })
        }
    }

    /// Length of the longest signal frame of a thread that may use `on_demand`.
    fn frame_len(&self, offer: &Offer<'_>, on_demand: ComponentSet, overhead: usize) -> usize {
        let image = offer.image_layout(self.default.union(on_demand));
        let behind = match image.format() {
            Format::Fxsave => 0,
            Format::Standard | Format::Compacted => MAGIC2_LEN,
        };
        overhead
            .saturating_add(image.area_len())
            .saturating_add(behind)
    }

    /// Whether `needed` components may be used: at #NM, those of IA32_XFD_ERR.
    ///
    /// # Errors
    /// [`NotPermitted`]; a thread gets SIGILL.
    pub const fn require(
        &self,
        grantee: Grantee,
        needed: ComponentSet,
    ) -> Result<(), NotPermitted> {
        let granted = self.granted(grantee);
        if granted.contains_all(needed) {
            Ok(())
        } else {
            Err(NotPermitted {
                grantee,
                needed,
                granted,
            })
        }
    }

    /// Ends requests for guests, at every vCPU's creation; the first counts. A guest's CPUID says
    /// what it may use, and that must not change under it (invariant I21).
    pub const fn freeze_guests(&mut self) -> GuestPermit {
        self.guests_frozen = true;
        GuestPermit {
            on_demand: self.guests,
        }
    }

    /// The child's: what was granted, but it has no vCPU and may ask again.
    #[must_use]
    pub const fn fork(&self) -> Self {
        Self {
            guests_frozen: false,
            ..*self
        }
    }

    /// The process executes another program, which has to ask again.
    pub const fn exec(&mut self) {
        *self = Self {
            default: self.default,
            threads: ComponentSet::EMPTY,
            guests: ComponentSet::EMPTY,
            guests_frozen: false,
        };
    }
}

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

//! `GuestFpu`: a vCPU's extended state between runs.

use core::fmt;

use fpstate_arch::component::ComponentSet;

use crate::area::XsaveArea;
use crate::guest_features::GuestFeatures;
use crate::guest_registers::GuestRegisters;
use crate::image::{ImportError, NotInMemory, StandardImage};
use crate::ownership::StateId;
use crate::state::Fpstate;
use crate::storage::AreaStorage;

/// A vCPU's extended state. While a thread runs the vCPU, the state has moved into the thread:
/// Linux's `in_use` flag is here a value that is somewhere else.
#[derive(Debug)]
pub struct GuestFpu<'e, S> {
    pub(crate) fpstate: Option<Fpstate<'e, S>>,
    id: StateId,
    pub(crate) registers: GuestRegisters,
    /// Leaves in a row after which no on-demand component was in use.
    pub(crate) unused_exits: u32,
}

impl<'e, S: AreaStorage> GuestFpu<'e, S> {
    /// A vCPU with `fpstate` as its state, that is offered what the state has room for.
    #[must_use]
    pub fn new(fpstate: Fpstate<'e, S>) -> Self {
        let features = GuestFeatures::of_room(fpstate.layout());
        Self::with_features(fpstate, features)
    }

    /// A vCPU with `fpstate` as its state, whose CPUID offers `features`. The state has room for all
    /// of them but on-demand ones, for which it grows when the guest first uses them.
    ///
    /// # Errors
    /// [`GuestStateError::NoRoom`], with the state given back.
    pub fn offered(
        fpstate: Fpstate<'e, S>,
        features: GuestFeatures,
    ) -> Result<Self, (GuestStateError, Fpstate<'e, S>)> {
        let (room, needed) = (fpstate.components(), features.default_components());
        if room.contains_all(needed) {
            Ok(Self::with_features(fpstate, features))
        } else {
            Err((GuestStateError::NoRoom { room, needed }, fpstate))
        }
    }

    const fn with_features(fpstate: Fpstate<'e, S>, features: GuestFeatures) -> Self {
        Self {
            id: fpstate.id(),
            fpstate: Some(fpstate),
            registers: GuestRegisters::after_reset(features),
            unused_exits: 0,
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

    /// How often in a row the guest was left while it had room for on-demand components and none
    /// was in use, for a caller that would [`release`](Self::release) the memory after some number
    /// of that.
    #[must_use]
    pub const fn unused_exits(&self) -> u32 {
        self.unused_exits
    }

    /// The state comes back from a thread.
    pub(crate) fn come_back(&mut self, fpstate: Fpstate<'e, S>) {
        self.unused_exits = match fpstate.in_memory() {
            Ok(area) if !area.live().intersects(fpstate.grown_by()) => {
                self.unused_exits.saturating_add(1)
            }
            Ok(_) | Err(_) => 0,
        };
        self.fpstate = Some(fpstate);
    }

    /// The area of the state, to edit in memory.
    ///
    /// # Errors
    /// [`GuestStateError::Running`] while a thread runs the vCPU.
    pub fn edit(&mut self) -> Result<&mut XsaveArea<'e, S>, GuestStateError> {
        let guest = self.id;
        match &mut self.fpstate {
            Some(fpstate) => fpstate.edit().map_err(GuestStateError::NotInMemory),
            None => Err(GuestStateError::Running { guest }),
        }
    }

    /// Replaces the state by an image, see [`XsaveArea::import`].
    ///
    /// # Errors
    /// Nothing is changed then.
    pub fn import(
        &mut self,
        image: &StandardImage<'_>,
        kept_elsewhere: ComponentSet,
    ) -> Result<(), GuestStateError> {
        let guest = self.id;
        match &mut self.fpstate {
            Some(fpstate) => fpstate
                .import(image, kept_elsewhere)
                .map_err(GuestStateError::Import),
            None => Err(GuestStateError::Running { guest }),
        }
    }

    /// The bytes of the state's area, for whoever carries out a [`Decided`](crate::decision::Decided)
    /// switch itself; `None` while a thread runs the vCPU.
    pub fn area(&mut self) -> Option<&mut [u8]> {
        self.fpstate.as_mut().map(Fpstate::save_target)
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

/// Why a vCPU's state cannot be made or reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestStateError {
    /// The state has no room for what the guest is offered.
    NoRoom {
        /// The state's components.
        room: ComponentSet,
        /// What the guest is offered, but for on-demand components.
        needed: ComponentSet,
    },
    /// A thread runs the vCPU; the state is with the thread.
    Running {
        /// The state.
        guest: StateId,
    },
    /// The area does not hold the state.
    NotInMemory(NotInMemory),
    /// The image cannot become this state.
    Import(ImportError),
}

impl fmt::Display for GuestStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { room, needed } => {
                write!(f, "a guest is offered {needed}; its state has {room}")
            }
            Self::Running { guest } => write!(f, "a thread runs the guest of {guest}"),
            Self::NotInMemory(error) => error.fmt(f),
            Self::Import(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GuestStateError {}

//! `GuestFpu`: a vCPU's extended state between runs.

use core::fmt;

use fpstate_arch::component::ComponentSet;

use crate::area::XsaveArea;
use crate::guest_features::GuestFeatures;
use crate::guest_registers::GuestRegisters;
use crate::image::StandardImage;
use crate::image_state::ImageState;
use crate::import::{ImportError, NotInMemory};
use crate::loss::Loss;
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

    /// Offers other features from here on: `KVM_SET_CPUID2` on a vCPU that has a state already. What the
    /// state holds stays.
    ///
    /// # Errors
    /// [`GuestStateError`]; the features are what they were. The registers must not enable what is
    /// not offered any more.
    pub fn offer(&mut self, features: GuestFeatures) -> Result<(), GuestStateError> {
        let guest = self.id;
        let Some(fpstate) = &self.fpstate else {
            return Err(GuestStateError::Running { guest });
        };
        let (room, needed) = (fpstate.components(), features.default_components());
        if !room.contains_all(needed) {
            return Err(GuestStateError::NoRoom { room, needed });
        }
        let xfd = fpstate.own_xfd().components();
        let enabled = self.registers.enabled().union(xfd);
        let offered = features.user().union(features.supervisor());
        if !offered.contains_all(enabled) {
            return Err(GuestStateError::Enabled { enabled, offered });
        }
        self.registers.features = features;
        Ok(())
    }

    /// From here on the hardware keeps the state, as for [`confidential`](Self::confidential): after
    /// SEV-ES has measured what the VMM had set up. What memory holds is meaningless then.
    ///
    /// # Errors
    /// [`GuestStateError::Running`].
    pub fn seal(&mut self) -> Result<(), GuestStateError> {
        match self.fpstate.take() {
            Some(fpstate) => {
                self.fpstate = Some(fpstate.sealed());
                Ok(())
            }
            None => Err(GuestStateError::Running { guest: self.id }),
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

    /// How many exits without use there have been once `fpstate`, this guest's, is back from a thread.
    #[inline(always)]
    pub(crate) fn unused_exits_with(&self, fpstate: Option<&Fpstate<'e, S>>) -> u32 {
        let Some(fpstate) = fpstate else {
            return self.unused_exits;
        };
        let grown_by = fpstate.grown_by();
        if grown_by.is_empty() {
            return 0;
        }
        match fpstate.in_memory() {
            Ok(area) if !area.live().intersects(grown_by) => self.unused_exits.saturating_add(1),
            Ok(_) | Err(_) => 0,
        }
    }

    /// The area of the state, to edit in memory; [`XsaveArea::set_legacy`] is for `KVM_SET_FPU`.
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

    /// Replaces the state by one of any form and CPU, see [`XsaveArea::import_state`].
    ///
    /// # Errors
    /// Nothing is changed then.
    pub fn import_state(
        &mut self,
        state: &ImageState<'_>,
        kept_elsewhere: ComponentSet,
        loss: Loss,
    ) -> Result<(), GuestStateError> {
        let guest = self.id;
        match &mut self.fpstate {
            Some(fpstate) => fpstate
                .import_state(state, kept_elsewhere, loss)
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
    /// The guest's registers enable what would not be offered.
    Enabled {
        /// XCR0, IA32_XSS and IA32_XFD.
        enabled: ComponentSet,
        /// What would be offered.
        offered: ComponentSet,
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
            Self::Enabled { enabled, offered } => {
                write!(
                    f,
                    "the guest's registers have {enabled}; offered: {offered}"
                )
            }
            Self::Running { guest } => write!(f, "a thread runs the guest of {guest}"),
            Self::NotInMemory(error) => error.fmt(f),
            Self::Import(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GuestStateError {}

#[cfg(feature = "explore")]
impl<S: AreaStorage + Clone> GuestFpu<'_, S> {
    /// A copy for a copy of the whole world that it is in.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            fpstate: self.fpstate.as_ref().map(Fpstate::duplicate),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::ownership::Identities;
    use fpstate_arch::Component;
    use std::string::ToString;

    #[test]
    fn a_refused_guest_state_says_what_was_found_and_what_was_allowed() {
        static IDENTITIES: Identities = Identities::new();
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        const TILES: ComponentSet = ComponentSet::TILES;
        let _first = IDENTITIES.state();
        let second = IDENTITIES.state();
        for (shown, sentence) in [
            (
                GuestStateError::NoRoom {
                    room: AVX,
                    needed: TILES,
                }
                .to_string(),
                "a guest is offered XTILECFG+XTILEDATA; its state has AVX",
            ),
            (
                GuestStateError::Enabled {
                    enabled: TILES,
                    offered: AVX,
                }
                .to_string(),
                "the guest's registers have XTILECFG+XTILEDATA; offered: AVX",
            ),
            (
                GuestStateError::Running { guest: second }.to_string(),
                "a thread runs the guest of state 2",
            ),
            (
                GuestStateError::NotInMemory(NotInMemory::Sealed).to_string(),
                "the state is sealed by the hardware",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}

//! `Fpstate`: area, components, length and XFD as one object, so that they always agree.

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::legacy_region::Mxcsr;
use fpstate_arch::xfd::Xfd;

use crate::area::{AreaError, XsaveArea};
use crate::image::StandardImage;
use crate::image_state::ImageState;
use crate::import::{ImportError, NotInMemory};
use crate::layout::{Layout, LayoutError};
use crate::loss::Loss;
use crate::ownership::{CpuId, Identities, Residence, StateId};
use crate::storage::AreaStorage;
use crate::switch::StateFacts;

/// One extended state, of a thread or of a guest: the object that changes places.
#[derive(Debug)]
pub struct Fpstate<'e, S> {
    area: XsaveArea<'e, S>,
    id: StateId,
    /// How often the memory changed since the state was made; wraps.
    version: u32,
    residence: Residence,
}

/// Memory that cannot be a state, given back with the reason.
#[derive(Debug)]
pub struct Refused<S> {
    /// The reason.
    pub error: StateError,
    /// The memory.
    pub storage: S,
}

impl<'e, S: AreaStorage> Fpstate<'e, S> {
    /// A state in its initial configuration, in `storage`. Its IA32_XFD disables the components
    /// that can be disabled and have no room.
    ///
    /// # Errors
    /// The reason, with the storage given back.
    pub fn new(
        layout: Layout<'e>,
        storage: S,
        identities: &Identities,
    ) -> Result<Self, Refused<S>> {
        // PKRU is switched on its own and never restored from an area (invariant I32): a fault on
        // a user page inside the kernel must see the current thread's keys, not a guest's.
        if layout.components().contains(Component::Pkru) {
            return Err(Refused {
                error: StateError::PkruInLayout,
                storage,
            });
        }
        match XsaveArea::new(layout, storage) {
            Ok(area) => {
                let id = identities.state();
                Ok(Self {
                    area,
                    id,
                    version: 0,
                    residence: Residence::Memory,
                })
            }
            Err((error, storage)) => Err(Refused {
                error: StateError::Area(error),
                storage,
            }),
        }
    }

    /// The same state with its content handed over to the hardware: a confidential guest's, which
    /// is never saved and never restored (invariant I28).
    pub(crate) fn sealed(self) -> Self {
        Self {
            residence: Residence::Sealed,
            ..self
        }
    }

    /// Its identity, which no other state ever has.
    #[must_use]
    pub const fn id(&self) -> StateId {
        self.id
    }

    /// Where it is.
    #[must_use]
    pub const fn residence(&self) -> Residence {
        self.residence
    }

    /// The components it has room for.
    #[must_use]
    pub const fn components(&self) -> ComponentSet {
        self.area.layout().components()
    }

    /// Its layout.
    #[must_use]
    pub const fn layout(&self) -> &Layout<'e> {
        self.area.layout()
    }

    /// IA32_XFD while this state is in the registers: what its owner disables, and what can be
    /// disabled and has no room, so that nothing can be used that could not be saved (invariant I13).
    #[must_use]
    #[inline]
    pub fn xfd(&self) -> Xfd {
        self.xfd_beside(self.area.disabled())
    }

    /// The same if the owner disabled `owners`.
    #[inline]
    pub(crate) fn xfd_beside(&self, owners: ComponentSet) -> Xfd {
        let can_be_disabled = self.layout().xfd_components();
        let disabled = owners.union(self.without_room());
        Xfd::new(disabled, can_be_disabled).unwrap_or_default()
    }

    /// What the owner disables: a guest's own IA32_XFD; nothing for a thread.
    #[must_use]
    pub fn own_xfd(&self) -> Xfd {
        let can_be_disabled = self.layout().xfd_components();
        Xfd::new(self.area.disabled(), can_be_disabled).unwrap_or_default()
    }

    /// On-demand components for which the area would have to grow.
    #[must_use]
    #[inline]
    pub const fn without_room(&self) -> ComponentSet {
        let layout = self.area.layout();
        layout.xfd_components().difference(layout.components())
    }

    /// On-demand components that have room.
    #[must_use]
    pub const fn grown_by(&self) -> ComponentSet {
        let layout = self.area.layout();
        layout.components().intersection(layout.xfd_components())
    }

    /// The layout without on-demand components: what the memory for a release has to have room for.
    ///
    /// # Errors
    /// [`LayoutError`], of a CPUID that contradicts itself.
    pub fn released_layout(&self) -> Result<Layout<'e>, LayoutError> {
        self.layout().without(self.grown_by())
    }

    /// The owner's IA32_XFD, wherever the state is.
    pub(crate) fn set_own_xfd(&mut self, xfd: Xfd) {
        let disabled = xfd.components();
        match self.residence {
            Residence::Memory | Residence::MemoryAndRegisters(_) => {
                self.area.disable(disabled);
                self.edited();
            }
            Residence::Registers(_) | Residence::Sealed => {
                self.area.disable_while_loaded(disabled);
                self.version = self.version.wrapping_add(1);
            }
        }
    }

    /// The area goes on in other memory; gives the former back. What is live must have room there,
    /// unless it is in registers, whose next save goes there.
    pub(crate) fn move_to(&mut self, layout: Layout<'e>, storage: S) -> Result<S, (MoveError, S)> {
        let mut area = match XsaveArea::new(layout, storage) {
            Ok(area) => area,
            Err((error, storage)) => return Err((MoveError::Area(error), storage)),
        };
        let disabled = self.area.disabled();
        match self.residence {
            Residence::Memory | Residence::MemoryAndRegisters(_) => {
                let found = self.area.live();
                if !layout.components().contains_all(found) {
                    let room = layout.components();
                    return Err((MoveError::Live { found, room }, area.into_storage()));
                }
                self.area.disable(ComponentSet::EMPTY);
                let taken = area.take_over(&self.area, found);
                self.area.disable(disabled);
                if let Err(error) = taken {
                    return Err((MoveError::TakeOver(error), area.into_storage()));
                }
                area.disable(disabled);
            }
            Residence::Registers(_) | Residence::Sealed => area.disable_while_loaded(disabled),
        }
        let former = core::mem::replace(&mut self.area, area);
        self.version = self.version.wrapping_add(1);
        // A copy in registers is of the former area, by which XSAVES would judge what is unmodified
        // (SDM 1, 13.6): should its memory come back, it is not that any more.
        if let Residence::MemoryAndRegisters(_) = self.residence {
            self.residence = Residence::Memory;
        }
        Ok(former.into_storage())
    }

    /// What the switch decisions need to know.
    #[must_use]
    #[inline]
    pub fn facts(&self) -> StateFacts {
        StateFacts {
            id: self.id,
            version: self.version,
            residence: self.residence,
            format: self.layout().format(),
            components: self.components(),
            xfd: self.xfd(),
        }
    }

    /// The area, where it holds the state.
    ///
    /// # Errors
    /// [`NotInMemory`] otherwise.
    pub const fn in_memory(&self) -> Result<&XsaveArea<'e, S>, NotInMemory> {
        match self.residence {
            Residence::Memory | Residence::MemoryAndRegisters(_) => Ok(&self.area),
            Residence::Registers(cpu) => Err(NotInMemory::InRegisters { cpu }),
            Residence::Sealed => Err(NotInMemory::Sealed),
        }
    }

    /// The area, to edit. Whatever registers still hold of the state is void from here on
    /// (invariant I4): the next use restores from memory.
    ///
    /// # Errors
    /// [`NotInMemory`]; the state is where it was.
    pub fn edit(&mut self) -> Result<&mut XsaveArea<'e, S>, NotInMemory> {
        self.in_memory()?;
        self.edited();
        Ok(&mut self.area)
    }

    /// Replaces the state by an image, see [`XsaveArea::import`].
    ///
    /// # Errors
    /// Nothing is changed then.
    pub fn import(
        &mut self,
        image: &StandardImage<'_>,
        kept_elsewhere: ComponentSet,
    ) -> Result<(), ImportError> {
        self.in_memory().map_err(ImportError::NotInMemory)?;
        self.area.import(image, kept_elsewhere)?;
        self.edited();
        Ok(())
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
    ) -> Result<(), ImportError> {
        self.in_memory().map_err(ImportError::NotInMemory)?;
        self.area.import_state(state, kept_elsewhere, loss)?;
        self.edited();
        Ok(())
    }

    /// Memory is the state now, and no register holds a copy of it; what the hardware keeps, it
    /// keeps.
    const fn edited(&mut self) {
        self.version = self.version.wrapping_add(1);
        self.residence = match self.residence {
            Residence::Sealed => Residence::Sealed,
            Residence::Memory | Residence::MemoryAndRegisters(_) | Residence::Registers(_) => {
                Residence::Memory
            }
        };
    }

    /// Replaces the state by an image that something else made of `cpu`'s registers, which hold it.
    pub(crate) fn import_instead_of_saving(
        &mut self,
        cpu: CpuId,
        image: &StandardImage<'_>,
        kept_elsewhere: ComponentSet,
    ) -> Result<(), ImportError> {
        let residence = self.residence;
        if residence != Residence::Registers(cpu) {
            return Err(ImportError::NotInRegisters { cpu, residence });
        }
        let supervisor = self.layout().enumeration().supervisor_components();
        let found = self.components().intersection(supervisor);
        if !found.is_empty() {
            return Err(ImportError::NotInImage { found });
        }
        self.area.import(image, kept_elsewhere)?;
        self.edited();
        Ok(())
    }

    /// Takes over what `source` holds of `wanted`, see [`XsaveArea::take_over`].
    pub(crate) fn take_over(
        &mut self,
        source: &XsaveArea<'_, S>,
        wanted: ComponentSet,
    ) -> Result<(), ImportError> {
        self.in_memory().map_err(ImportError::NotInMemory)?;
        self.area.take_over(source, wanted)?;
        self.edited();
        Ok(())
    }

    /// Drops the content and takes the initial configuration, in other memory; gives the former back.
    pub(crate) fn renew(&mut self, layout: Layout<'e>, storage: S) -> Result<S, (AreaError, S)> {
        let area = XsaveArea::new(layout, storage)?;
        let former = core::mem::replace(&mut self.area, area);
        self.edited();
        Ok(former.into_storage())
    }

    /// `components` become initial in memory; the caller has saved the state.
    pub(crate) fn initialise_components(&mut self, components: ComponentSet) {
        if self.in_memory().is_ok() {
            self.area.initialise_components(components);
            self.edited();
        }
    }

    /// Drops the content and takes the initial configuration.
    pub(crate) fn reset(&mut self) {
        self.area.initialise();
        self.edited();
    }

    /// The bytes a save instruction writes.
    #[inline]
    pub(crate) fn save_target(&mut self) -> &mut [u8] {
        self.area.bytes_mut()
    }

    /// The bytes a restore instruction reads.
    #[inline]
    pub(crate) fn restore_source(&self) -> &[u8] {
        self.area.bytes()
    }

    /// Makes the area one that has the control words and nothing else; see
    /// [`XsaveArea::keep_control_words`].
    #[inline]
    pub(crate) fn keep_control_words(&mut self, mxcsr: Mxcsr, fcw: u16) {
        self.area.keep_control_words(mxcsr, fcw);
    }

    /// Notes that the area has all that is left of the state, and no register a copy.
    pub(crate) const fn kept_in_memory(&mut self) {
        self.edited();
    }

    /// Notes that `cpu`'s registers were written to the area.
    pub(crate) const fn saved_from(&mut self, cpu: CpuId) {
        self.version = self.version.wrapping_add(1);
        self.residence = Residence::MemoryAndRegisters(cpu);
    }

    /// Notes that the state is in use in `cpu`'s registers from here on.
    pub(crate) fn in_use_on(&mut self, cpu: CpuId) {
        match self.residence {
            // The CPU that is noted is not written again: the wide load that moves the state back would
            // wait for the narrow store.
            Residence::MemoryAndRegisters(last) if last == cpu => {
                self.area.loaded();
                self.residence = Residence::Registers(last);
            }
            Residence::Memory | Residence::MemoryAndRegisters(_) | Residence::Registers(_) => {
                self.area.loaded();
                self.residence = Residence::Registers(cpu);
            }
            Residence::Sealed => {}
        }
    }

    /// The memory, for the end of the state's life.
    pub(crate) fn into_storage(self) -> S {
        self.area.into_storage()
    }
}

/// Why a state cannot go on in other memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MoveError {
    /// The memory is too short or misaligned.
    Area(AreaError),
    /// Components are live that would have no room.
    Live {
        /// The live components.
        found: ComponentSet,
        /// The components that would have room.
        room: ComponentSet,
    },
    /// The components differ in length.
    TakeOver(ImportError),
}

impl core::fmt::Display for MoveError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Area(error) => error.fmt(f),
            Self::Live { found, room } => {
                let refused = found.difference(*room);
                write!(f, "{refused} in use; there would be room for {room}")
            }
            Self::TakeOver(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MoveError {}

/// Why a state cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// The memory is too short or misaligned.
    Area(AreaError),
    /// The layout has PKRU, which is switched on its own.
    PkruInLayout,
}

impl core::fmt::Display for StateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Area(error) => error.fmt(f),
            Self::PkruInLayout => f.write_str("the layout has PKRU, which is switched on its own"),
        }
    }
}

// Area is displayed as it is, and has no source itself.
impl core::error::Error for StateError {}

/// For a checker that copies whole worlds: everything that decides what a state does next.
#[cfg(feature = "explore")]
impl<S: AreaStorage + Clone> Fpstate<'_, S> {
    /// A copy with the same identity, for a copy of the whole world that it is in.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            area: self.area.duplicate(),
            ..*self
        }
    }

    /// The memory, stale or not.
    #[must_use]
    pub const fn storage(&self) -> &S {
        self.area.storage()
    }

    /// Components that are live but for the owner's IA32_XFD.
    #[must_use]
    pub const fn set_aside(&self) -> ComponentSet {
        self.area.set_aside()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_refused_state_or_move_says_what_was_found() {
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        const TILES: ComponentSet = ComponentSet::TILES;
        for (shown, sentence) in [
            (
                StateError::PkruInLayout.to_string(),
                "the layout has PKRU, which is switched on its own",
            ),
            (
                StateError::Area(AreaError::TooShort {
                    found: 1,
                    needed: 576,
                })
                .to_string(),
                "area of 1 bytes; the layout needs 576",
            ),
            (
                MoveError::Live {
                    found: AVX.union(TILES),
                    room: AVX,
                }
                .to_string(),
                "XTILECFG+XTILEDATA in use; there would be room for AVX",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}

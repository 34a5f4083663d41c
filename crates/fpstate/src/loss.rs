//! What may be lost where a state does not fit.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::legacy_region::{LegacyRegion, Mxcsr};

use crate::image_state::ImageState;
use crate::layout::Layout;

/// What a state may lose where there is no room for it. What fits is never lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Loss {
    /// Nothing: a live component without room is an error.
    #[default]
    Reject,
    /// Components that are announced but whose bytes are their initial configuration: nothing a
    /// program could tell.
    DropInitial,
    /// These components too. A program that uses them goes on with the initial configuration.
    Drop(ComponentSet),
}

impl Loss {
    fn allows(self, state: &ImageState<'_>, component: Component) -> bool {
        match self {
            Self::Reject => false,
            Self::DropInitial => is_initial(state, component),
            Self::Drop(named) => named.contains(component) || is_initial(state, component),
        }
    }
}

impl<'b> ImageState<'b> {
    /// The state as far as `room` can hold it: each live component has room there, in its length,
    /// or is one that `loss` gives up, and initial then.
    ///
    /// # Errors
    /// [`LossError`]: what would be lost.
    pub fn limited_to(&self, room: &Layout<'_>, loss: Loss) -> Result<Self, LossError> {
        if let Some(error) = self.refusals(room, loss).next() {
            return Err(error);
        }
        let misfits = self.of_other_length(room).map(|(component, ..)| component);
        let lost = self.without_place(room);
        Ok(self.without(misfits.fold(lost, ComponentSet::with)))
    }

    /// What has no place in `room`: SSE too where MXCSR is not 1F80H and only AVX carried it, which
    /// has none either.
    fn without_place(&self, room: &Layout<'_>) -> ComponentSet {
        let room = room.components();
        let lost = self.live_with_mxcsr().difference(room);
        if lost.is_empty() {
            return lost;
        }
        let left = self.without(lost).live_with_mxcsr();
        lost.union(left.difference(room))
    }

    /// Every reason for which [`limited_to`](Self::limited_to) refuses: one for what has no room, one
    /// for each component of another length.
    pub fn refusals(&self, room: &Layout<'_>, loss: Loss) -> impl Iterator<Item = LossError> {
        let room_for = room.components();
        let refused = self
            .without_place(room)
            .iter()
            .filter(|&component| !loss.allows(self, component))
            .fold(ComponentSet::EMPTY, ComponentSet::with);
        let no_room = LossError::NoRoom {
            found: self.live().union(refused),
            refused,
            room: room_for,
        };
        let lengths = self
            .of_other_length(room)
            .filter(move |&(component, ..)| !loss.allows(self, component))
            .map(|(component, found, needed)| LossError::Length {
                component,
                found,
                needed,
            });
        (!refused.is_empty())
            .then_some(no_room)
            .into_iter()
            .chain(lengths)
    }

    /// The live components that have another length in `room`: theirs, and the room's.
    fn of_other_length(
        &self,
        room: &Layout<'_>,
    ) -> impl Iterator<Item = (Component, usize, usize)> {
        self.live()
            .intersection(room.components())
            .iter()
            .filter_map(|component| {
                let (found, needed) = (self.layout().len_of(component)?, room.len_of(component)?);
                (found != needed).then_some((component, found, needed))
            })
    }
}

/// Whether a live component's bytes are its initial configuration (SDM 1, 13.6). What the initial
/// configuration of a component without a name is, nobody knows.
fn is_initial(state: &ImageState<'_>, component: Component) -> bool {
    let legacy = state.legacy();
    match component {
        Component::X87 => {
            let mut initial = legacy;
            initial.initialise_x87();
            initial == legacy
        }
        Component::Sse => legacy.xmm == LegacyRegion::INITIAL.xmm && legacy.mxcsr == Mxcsr::INITIAL,
        // IA32_PM_CTL1 is 1 and IA32_HWP_REQUEST 8000FF01H.
        Component::Hdc | Component::Hwp | Component::Unnamed(_) => false,
        Component::Avx
        | Component::BndRegs
        | Component::BndCsr
        | Component::Opmask
        | Component::ZmmHi256
        | Component::Hi16Zmm
        | Component::Pt
        | Component::Pkru
        | Component::Pasid
        | Component::CetU
        | Component::CetS
        | Component::Uintr
        | Component::Lbr
        | Component::TileConfig
        | Component::TileData
        | Component::Apx => state.extended(component).is_none_or(are_zero),
    }
}

/// By blocks, which the compiler compares at once.
fn are_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks.iter().all(|block| *block == [0; 64]) && rest.iter().all(|&byte| byte == 0)
}

/// Why a state cannot be limited to a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossError {
    /// Live components would be lost.
    NoRoom {
        /// The state's live components; SSE is one if only MXCSR would be lost.
        found: ComponentSet,
        /// Those that have no room and may not be lost.
        refused: ComponentSet,
        /// The components that have room.
        room: ComponentSet,
    },
    /// A component has another length there.
    Length {
        /// The component.
        component: Component,
        /// Bytes in the state.
        found: usize,
        /// Bytes there.
        needed: usize,
    },
}

impl fmt::Display for LossError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { refused, room, .. } => {
                write!(f, "the image has {refused}; there is room for {room}")
            }
            Self::Length {
                component,
                found,
                needed,
            } => write!(
                f,
                "{component} has {found} bytes in the image and {needed} here"
            ),
        }
    }
}

impl core::error::Error for LossError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::recorded_cpu::emerald_rapids;
    use std::string::ToString;

    const TILES: ComponentSet = ComponentSet::TILES;
    const ROOM: ComponentSet = ComponentSet::from_bits(0x2e7);

    /// Live SSE and tiles; tile data are all `fill`.
    fn limited(fill: u8, loss: Loss) -> Result<ComponentSet, LossError> {
        let cpu = emerald_rapids().enumeration();
        let layout = Layout::standard(&cpu, cpu.user_components()).unwrap();
        let mut bytes = [0; 0x2b00];
        bytes[0xb00..].fill(fill);
        let live = TILES.with(Component::Sse);
        let state = ImageState::new(&bytes, layout, LegacyRegion::INITIAL, live);
        let room = Layout::standard(&cpu, ROOM).unwrap();
        state.limited_to(&room, loss).map(|state| state.live())
    }

    fn refused(refused: ComponentSet) -> Result<ComponentSet, LossError> {
        Err(LossError::NoRoom {
            found: TILES.with(Component::Sse),
            refused,
            room: ROOM,
        })
    }

    #[test]
    fn each_policy_loses_what_it_says_and_nothing_that_fits() {
        let sse = Ok(ComponentSet::only(Component::Sse));
        let data = ComponentSet::only(Component::TileData);
        assert_eq!(limited(0, Loss::Reject), refused(TILES));
        assert_eq!(limited(0, Loss::DropInitial), sse);
        assert_eq!(limited(1, Loss::DropInitial), refused(data));
        assert_eq!(limited(1, Loss::Drop(data)), sse);
        assert_eq!(limited(1, Loss::Drop(ComponentSet::EMPTY)), refused(data));
        // SSE is named and has room.
        let everything = ComponentSet::from_bits(!0);
        assert_eq!(limited(1, Loss::Drop(everything)), sse);
    }

    #[test]
    fn x87_without_room_is_lost_where_its_bytes_are_the_initial_ones_and_nowhere_else() {
        let cpu = emerald_rapids().enumeration();
        let (x87, sse) = (Component::X87, ComponentSet::only(Component::Sse));
        let layout = Layout::standard(&cpu, ComponentSet::LEGACY).unwrap();
        let room = Layout::standard(&cpu, sse).unwrap();
        let limited = |legacy| {
            let state = ImageState::new(&[], layout, legacy, ComponentSet::only(x87));
            let limited = state.limited_to(&room, Loss::DropInitial);
            limited.map(|state| state.live())
        };
        assert_eq!(limited(LegacyRegion::INITIAL), Ok(ComponentSet::EMPTY));
        let single_precision = LegacyRegion {
            fcw: 0x7f,
            ..LegacyRegion::INITIAL
        };
        let refused = LossError::NoRoom {
            found: ComponentSet::only(x87),
            refused: ComponentSet::only(x87),
            room: sse,
        };
        assert_eq!(limited(single_precision), Err(refused));
    }

    #[test]
    fn an_mxcsr_of_its_own_is_lost_no_more_than_a_component() {
        let cpu = emerald_rapids().enumeration();
        let legacy = LegacyRegion {
            mxcsr: Mxcsr::from_bits(0x1fa0),
            ..LegacyRegion::INITIAL
        };
        let layout = Layout::standard(&cpu, ComponentSet::LEGACY).unwrap();
        let state = ImageState::new(&[], layout, legacy, ComponentSet::EMPTY);
        let x87 = ComponentSet::only(Component::X87);
        let room = Layout::standard(&cpu, x87).unwrap();
        let sse = ComponentSet::only(Component::Sse);
        assert_eq!(
            state.limited_to(&room, Loss::DropInitial).unwrap_err(),
            LossError::NoRoom {
                found: sse,
                refused: sse,
                room: x87
            }
        );
        let limited = state.limited_to(&room, Loss::Drop(sse)).unwrap();
        assert_eq!(limited.legacy().mxcsr, Mxcsr::INITIAL);
    }

    /// Found by fuzzing: dropping AVX left an MXCSR that made SSE live in an area without room for it,
    /// so that XRSTORS would have raised #GP in the kernel.
    #[test]
    fn an_mxcsr_that_avx_carried_is_not_left_behind_when_avx_is_dropped() {
        let cpu = emerald_rapids().enumeration();
        let legacy = LegacyRegion {
            mxcsr: Mxcsr::from_bits(0x1fa0),
            ..LegacyRegion::INITIAL
        };
        let (avx, sse) = (Component::Avx, ComponentSet::only(Component::Sse));
        let layout = Layout::standard(&cpu, ComponentSet::from_bits(7)).unwrap();
        let state = ImageState::new(&[], layout, legacy, ComponentSet::only(avx));
        let x87 = ComponentSet::only(Component::X87);
        let room = Layout::compacted(&cpu, x87).unwrap();
        let refused = state.limited_to(&room, Loss::Drop(ComponentSet::only(avx)));
        let (found, room_for) = (sse.with(avx), x87);
        assert_eq!(
            refused.unwrap_err(),
            LossError::NoRoom {
                found,
                refused: sse,
                room: room_for
            }
        );
        let limited = state.limited_to(&room, Loss::Drop(sse.with(avx))).unwrap();
        assert_eq!(limited.legacy().mxcsr, Mxcsr::INITIAL);
        assert_eq!(limited.live_with_mxcsr(), ComponentSet::EMPTY);
    }

    #[test]
    fn a_component_of_another_length_does_not_fit() {
        let cpu = emerald_rapids().enumeration();
        let other = emerald_rapids().with_component(9, [16, 0xa80, 0]);
        let other = other.enumeration();
        let pkru = ComponentSet::only(Component::Pkru);
        let layout = Layout::standard(&cpu, pkru).unwrap();
        let mut bytes = [0; 0xa88];
        bytes[0xa80] = 4;
        let state = ImageState::new(&bytes, layout, LegacyRegion::INITIAL, pkru);
        let room = Layout::standard(&other, pkru).unwrap();
        assert_eq!(
            state.limited_to(&room, Loss::DropInitial).unwrap_err(),
            LossError::Length {
                component: Component::Pkru,
                found: 8,
                needed: 16
            }
        );
        let limited = state.limited_to(&room, Loss::Drop(pkru)).unwrap();
        assert_eq!(limited.live(), ComponentSet::EMPTY);
    }

    #[test]
    fn every_refusal_is_given_at_once() {
        let cpu = emerald_rapids().enumeration();
        let other = emerald_rapids().with_component(9, [16, 0xa80, 0]);
        let other = other.with_user(0x203).enumeration();
        let live = ComponentSet::from_bits(0x2_0204);
        let layout = Layout::standard(&cpu, live).unwrap();
        let mut bytes = [1; 0xb00];
        bytes[576..832].fill(0);
        let state = ImageState::new(&bytes, layout, LegacyRegion::INITIAL, live);
        let room = Layout::standard(&other, other.user_components()).unwrap();
        let refused = |loss| {
            let mut refusals = state.refusals(&room, loss);
            (refusals.next(), refusals.next(), refusals.next())
        };
        let no_room = |refused| {
            Some(LossError::NoRoom {
                found: live,
                refused: ComponentSet::from_bits(refused),
                room: ComponentSet::from_bits(0x203),
            })
        };
        let length = Some(LossError::Length {
            component: Component::Pkru,
            found: 8,
            needed: 16,
        });
        assert_eq!(refused(Loss::Reject), (no_room(0x2_0004), length, None));
        assert_eq!(
            refused(Loss::DropInitial),
            (no_room(0x2_0000), length, None)
        );
        let named = |bits| Loss::Drop(ComponentSet::from_bits(bits));
        assert_eq!(refused(named(0x2_0000)), (length, None, None));
        assert_eq!(refused(named(0x2_0200)), (None, None, None));
    }

    #[test]
    fn a_refused_loss_says_what_would_be_lost() {
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        const TILES: ComponentSet = ComponentSet::TILES;
        for (shown, sentence) in [
            (
                LossError::NoRoom {
                    found: AVX.union(TILES),
                    refused: TILES,
                    room: AVX,
                }
                .to_string(),
                "the image has XTILECFG+XTILEDATA; there is room for AVX",
            ),
            (
                LossError::Length {
                    component: Component::Avx,
                    found: 128,
                    needed: 256,
                }
                .to_string(),
                "AVX has 128 bytes in the image and 256 here",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}

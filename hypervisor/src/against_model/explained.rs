//! Differences that are the emulator's: each has a name, the manual's sentence, and covers no more
//! than it must.

use alloc::vec::Vec;

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{Component, ComponentSet, Enumeration, XsaveHeader};

use super::case::Case;
use super::difference::{Difference, NO_EXCEPTION, Place};
use super::explained_bochs;
use super::explained_qemu;
use super::places::{self, header_of, most_bytes};
use super::tested::{Operand, Tested};
use super::this_emulator::Emulator;

/// A difference that is the emulator's.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// What the emulator does, words joined by `-`.
    pub name: &'static str,
    /// What the manual says.
    pub manual: &'static str,
    /// Whether a difference is this one.
    pub covers: fn(&Seen<'_>) -> bool,
}

/// Those of `emulator`.
#[must_use]
pub const fn of(emulator: Emulator) -> &'static [Explained] {
    match emulator {
        Emulator::Qemu => explained_qemu::ALL,
        Emulator::Bochs => explained_bochs::ALL,
    }
}

/// A difference with what is around it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'s> {
    /// Where components lie in it.
    pub layouts: &'s Layouts,
    /// The case.
    pub case: &'s Case,
    /// The difference.
    pub difference: &'s Difference,
}

/// Where components lie in the areas of a case.
#[derive(Clone, Debug)]
pub struct Layouts {
    user_len: usize,
    user: Vec<places::Place>,
    supervisor: Vec<places::Place>,
    area: Vec<places::Place>,
    /// Components that Bochs looks for elsewhere than the manual.
    pub misplaced_by_bochs: ComponentSet,
}

impl Layouts {
    /// Those of `case`.
    #[must_use]
    pub fn of(enumeration: &Enumeration, case: &Case) -> Self {
        let user = places::standard(enumeration);
        Self {
            user_len: most_bytes(enumeration),
            supervisor: places::compacted(enumeration, enumeration.supervisor_components()),
            area: match case.tested {
                Tested::Xsavec | Tested::Xsaves => places::compacted(enumeration, case.requested()),
                Tested::Xsave
                | Tested::Xsaveopt
                | Tested::Xrstor
                | Tested::Xrstors
                | Tested::Fxsave
                | Tested::Fxrstor
                | Tested::XgetbvInUse => user.clone(),
            },
            user,
            misplaced_by_bochs: explained_bochs::misplaced(enumeration, case),
        }
    }
}

/// Bits that MXCSR has on both emulators.
const MXCSR_EXISTING: u32 = 0xffff;

impl Seen<'_> {
    /// Whether the model refuses with #GP what the emulator executes.
    #[must_use]
    pub fn is_only_refused_by_model(&self) -> bool {
        let Difference {
            place,
            model,
            emulator,
        } = *self.difference;
        place == Place::Exception && model == 13 && emulator == u64::from(NO_EXCEPTION)
    }

    /// Whether it is in the operand.
    #[must_use]
    pub const fn is_in_area(&self) -> bool {
        matches!(self.difference.place, Place::Area(_))
    }

    /// The offset in a legacy region, of the operand or of the registers.
    #[must_use]
    pub fn legacy_offset(&self) -> Option<usize> {
        match self.difference.place {
            Place::Area(offset) | Place::Registers(offset) if offset < LEGACY_REGION_LEN => {
                Some(offset)
            }
            Place::Area(_)
            | Place::Registers(_)
            | Place::Exception
            | Place::Result
            | Place::BeforeArea => None,
        }
    }

    /// Whether it is the bit of `component` in XSTATE_BV, of the operand or of the registers, or in
    /// what XGETBV(1) says.
    #[must_use]
    pub fn is_in_use_bit_of(&self, component: Component) -> bool {
        self.in_use_bit() == ComponentSet::only(component)
    }

    /// That component's set, or nothing.
    #[must_use]
    pub fn in_use_bit(&self) -> ComponentSet {
        const FIRST: usize = LEGACY_REGION_LEN;
        let bit = self.difference.model ^ self.difference.emulator;
        let offset = match self.difference.place {
            Place::Result => FIRST,
            Place::Area(offset) => offset,
            Place::Registers(offset) => offset % self.layouts.user_len,
            Place::Exception | Place::BeforeArea => return ComponentSet::EMPTY,
        };
        match offset.checked_sub(FIRST) {
            Some(byte @ 0..8) => ComponentSet::from_bits(bit << (8 * byte)),
            Some(_) | None => ComponentSet::EMPTY,
        }
    }

    /// The byte of which extended component it is, where the manual places it.
    #[must_use]
    pub fn component(&self) -> Option<(Component, usize)> {
        let layouts = self.layouts;
        let (offset, places) = match self.difference.place {
            Place::Registers(offset) => match offset.checked_sub(layouts.user_len) {
                Some(offset) => (offset, &layouts.supervisor),
                None => (offset, &layouts.user),
            },
            Place::Area(offset) => (offset, &layouts.area),
            Place::Exception | Place::Result | Place::BeforeArea => return None,
        };
        let found = places.iter().find(|(_, place)| place.contains(&offset));
        found.map(|(component, place)| (*component, offset - place.start))
    }

    /// Whether the emulator left the byte of the operand as it was, or, among the registers, as the
    /// zero that it was.
    #[must_use]
    pub fn is_unwritten_by_emulator(&self) -> bool {
        let before = self.byte_before();
        before.is_some_and(|before| u64::from(before) == self.difference.emulator)
    }

    /// Whether the model did so.
    #[must_use]
    pub fn is_unwritten_by_model(&self) -> bool {
        let before = self.byte_before();
        before.is_some_and(|before| u64::from(before) == self.difference.model)
    }

    fn byte_before(&self) -> Option<u8> {
        match self.difference.place {
            Place::Area(offset) => self.case.area.get(offset).copied(),
            Place::Registers(_) => Some(0),
            Place::Exception | Place::Result | Place::BeforeArea => None,
        }
    }

    /// Whether the operand, which is restored, has a reserved bit in MXCSR.
    #[must_use]
    pub fn area_has_reserved_mxcsr_bit(&self) -> bool {
        let restored = matches!(
            self.case.tested.operand(),
            Operand::Restored | Operand::Fxrestored
        );
        restored && mxcsr_of(&self.case.area) & !MXCSR_EXISTING != 0
    }

    /// MXCSR when the instruction begins.
    #[must_use]
    pub fn mxcsr_before(&self) -> u32 {
        mxcsr_of(&self.case.registers)
    }

    /// The operand's header before.
    #[must_use]
    pub fn header(&self) -> XsaveHeader {
        header_of(&self.case.area)
    }
}

fn mxcsr_of(area: &[u8]) -> u32 {
    area.get(24..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_explanation_has_the_name_of_another_and_each_has_a_sentence() {
        let both = [of(Emulator::Qemu), of(Emulator::Bochs)].concat();
        for (number, explained) in both.iter().enumerate() {
            assert!(explained.manual.starts_with("SDM "), "{}", explained.name);
            assert!(
                both[..number]
                    .iter()
                    .all(|other| other.name != explained.name)
            );
        }
    }
}

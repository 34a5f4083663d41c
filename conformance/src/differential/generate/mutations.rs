//! What is done to a valid image, mostly so that XRSTOR refuses it.

use fpstate_arch::xsave_header::COMPACTED_BIT;
use fpstate_arch::{ComponentSet, Mxcsr, XsaveHeader};

use super::Generator;
use crate::differential::case::{Case, header_of, legacy_of, set_header, set_legacy};

/// What is done to an image that XRSTOR would take.
pub(super) const MUTATIONS: [fn(&mut Generator, &mut Case); 10] = [
    Generator::misalign,
    Generator::set_reserved_mxcsr_bit,
    Generator::set_reserved_byte_23_to_16,
    Generator::set_reserved_byte_63_to_24,
    Generator::set_foreign_xstate_bv,
    Generator::set_xstate_bv_63,
    Generator::set_any_xstate_bv,
    Generator::set_foreign_xcomp_bv,
    Generator::flip_xcomp_bv_bit,
    Generator::randomise_header,
];

impl Generator {
    pub(super) fn misalign(&mut self, case: &mut Case) {
        case.misalignment = self.random.usize(1..64);
    }

    pub(super) fn set_reserved_mxcsr_bit(&mut self, case: &mut Case) {
        let mut legacy = legacy_of(&case.area);
        let bits = legacy.mxcsr.bits() | self.reserved_mxcsr_bit();
        legacy.mxcsr = Mxcsr::from_bits(bits);
        set_legacy(&mut case.area, &legacy);
    }

    fn set_reserved_byte_23_to_16(&mut self, case: &mut Case) {
        case.area[512 + self.random.usize(16..24)] = 1 << self.random.u8(0..8);
    }

    fn set_reserved_byte_63_to_24(&mut self, case: &mut Case) {
        case.area[512 + self.random.usize(24..64)] = 1 << self.random.u8(0..8);
    }

    fn change_header(case: &mut Case, change: impl FnOnce(&mut XsaveHeader)) {
        let mut header = header_of(&case.area);
        change(&mut header);
        set_header(&mut case.area, &header);
    }

    fn foreign(&mut self) -> ComponentSet {
        let components = ComponentSet::from_bits(!COMPACTED_BIT);
        self.member_of(components.difference(self.this.xcr0()))
    }

    fn set_foreign_xstate_bv(&mut self, case: &mut Case) {
        let foreign = self.foreign();
        Self::change_header(case, |header| {
            header.xstate_bv = header.xstate_bv.union(foreign);
        });
    }

    fn set_xstate_bv_63(&mut self, case: &mut Case) {
        let bit_63 = ComponentSet::from_bits(COMPACTED_BIT);
        Self::change_header(case, |header| {
            header.xstate_bv = header.xstate_bv.union(bit_63);
        });
    }

    fn set_any_xstate_bv(&mut self, case: &mut Case) {
        let any = self.subset_of(self.this.xcr0());
        Self::change_header(case, |header| header.xstate_bv = any);
    }

    fn set_foreign_xcomp_bv(&mut self, case: &mut Case) {
        let foreign = self.foreign();
        Self::change_header(case, |header| header.xcomp_bv |= foreign.bits());
    }

    fn flip_xcomp_bv_bit(&mut self, case: &mut Case) {
        let bit = 1 << self.random.u8(0..64);
        Self::change_header(case, |header| header.xcomp_bv ^= bit);
    }

    fn randomise_header(&mut self, case: &mut Case) {
        self.random.fill(&mut case.area[512..576]);
    }
}

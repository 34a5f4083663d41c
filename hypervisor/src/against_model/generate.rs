//! Random cases: valid images are common, and each rule is broken alone often.

use alloc::vec;
use alloc::vec::Vec;

use fastrand::Rng;
use fpstate_arch::xsave_header::COMPACTED_BIT;
use fpstate_arch::{ComponentSet, Enumeration, Instruction, Xcr0, XsaveHeader, Xss};

use super::case::Case;
use super::contents::{Room, fillable, image};
use super::explained_bochs;
use super::places::{header_of, most_bytes, set_header};
use super::tested::{Operand, Tested};
use super::this_emulator::ThisEmulator;

/// Cases of one instruction, the same for the same seed.
#[derive(Debug)]
pub struct Generator<'e> {
    random: Rng,
    this: &'e ThisEmulator,
    tested: Tested,
}

impl<'e> Generator<'e> {
    /// Cases for `this` emulator.
    #[must_use]
    pub fn new(this: &'e ThisEmulator, tested: Tested, seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            this,
            tested,
        }
    }

    const fn enumeration(&self) -> &'e Enumeration {
        self.this.enumeration()
    }

    /// The next case.
    pub fn case(&mut self) -> Case {
        let mut case = Case {
            tested: self.tested,
            rfbm: self.rfbm(),
            xcr0: self.xcr0(),
            xss: self.xss(),
            registers: self.registers(),
            supervisor_registers: self.supervisor_registers(),
            area: Vec::new(),
            misalignment: 0,
        };
        match self.tested.operand() {
            Operand::Saved | Operand::None => {
                case.area = self.garbage();
                case.misalignment = self.misalignment(8);
            }
            Operand::Restored => {
                case.area = self.restored(&case);
                explained_bochs::keep_memory_writable(self.enumeration(), &mut case);
                for _ in 0..self.random.choice([0, 0, 0, 1, 1, 1, 2]).unwrap_or(0) {
                    self.mutate(&mut case);
                }
            }
            Operand::Fxsaved => {
                case.area = self.garbage();
                case.misalignment = 16 * self.random.usize(0..4) + self.misalignment(8) % 16;
            }
            Operand::Fxrestored => {
                case.area = self.registers();
                case.misalignment = 16 * self.random.usize(0..4) + self.misalignment(8) % 16;
                if self.one_in(4) {
                    self.set_reserved_mxcsr_bit(&mut case);
                }
            }
        }
        case
    }

    fn one_in(&mut self, n: u8) -> bool {
        self.random.u8(0..n) == 0
    }

    fn subset_of(&mut self, set: ComponentSet) -> ComponentSet {
        ComponentSet::from_bits(self.random.u64(..)).intersection(set)
    }

    fn member_of(&mut self, set: ComponentSet) -> ComponentSet {
        let members: Vec<_> = set.iter().collect();
        let member = self.random.choice(members);
        member.map_or(ComponentSet::EMPTY, ComponentSet::only)
    }

    fn rfbm(&mut self) -> ComponentSet {
        let all = self.enumeration().components();
        match self.random.u8(0..8) {
            0 | 1 => ComponentSet::from_bits(!0),
            2 => self.member_of(all),
            3 => ComponentSet::from_bits(self.random.u64(..)),
            4.. => self.subset_of(all),
        }
    }

    /// Everything, or a legal part of it.
    fn xcr0(&mut self) -> Xcr0 {
        let user = self.enumeration().user_components();
        if self.random.bool() {
            return self.this.full_xcr0();
        }
        let legal = (0..16).find_map(|_| {
            let some = self.subset_of(user).union(Xcr0::AFTER_RESET.components());
            Xcr0::new(some, user).ok()
        });
        legal.unwrap_or(Xcr0::AFTER_RESET)
    }

    fn xss(&mut self) -> Option<Xss> {
        let full = self.this.full_xss()?;
        if self.random.bool() {
            return Some(full);
        }
        let some = self.subset_of(full.components());
        Xss::new(some, full.components()).ok()
    }

    fn registers(&mut self) -> Vec<u8> {
        let enumeration = self.enumeration();
        let user = enumeration.user_components();
        image(&mut self.random, enumeration, user, Room::Standard)
    }

    fn supervisor_registers(&mut self) -> Vec<u8> {
        let enumeration = self.enumeration();
        let supervisor = enumeration.supervisor_components();
        let filled = self.fillable().intersection(supervisor);
        let room = Room::Compacted(supervisor);
        image(&mut self.random, enumeration, filled, room)
    }

    fn garbage(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; most_bytes(self.enumeration())];
        match self.random.u8(0..4) {
            0 => {}
            1 => bytes.fill(0xaa),
            2.. => self.random.fill(&mut bytes),
        }
        bytes
    }

    /// 0, but once in `n`.
    fn misalignment(&mut self, n: u8) -> usize {
        if self.one_in(n) {
            return self.random.choice([1, 8, 16, 24, 32, 48]).unwrap_or(8);
        }
        0
    }

    /// An image in either format of what is enabled in this case.
    fn restored(&mut self, case: &Case) -> Vec<u8> {
        let enumeration = self.enumeration();
        let enabled = case.enabled();
        let compacted = match case.tested {
            Tested::Xrstors => !self.one_in(16),
            Tested::Xrstor if enumeration.has(Instruction::Xsavec) => self.random.bool(),
            Tested::Xrstor => self.one_in(8),
            Tested::Xsave
            | Tested::Xsaveopt
            | Tested::Xsavec
            | Tested::Xsaves
            | Tested::Fxsave
            | Tested::Fxrstor
            | Tested::XgetbvInUse => false,
        };
        let room = match self.random.u8(0..4) {
            _ if !compacted => Room::Standard,
            0 => Room::Compacted(enabled),
            1.. => Room::Compacted(self.subset_of(enabled)),
        };
        let filled = match room {
            Room::Standard => enabled,
            Room::Compacted(room) => enabled.intersection(room),
        };
        let filled = filled.intersection(fillable(enumeration));
        image(&mut self.random, enumeration, filled, room)
    }

    fn mutate(&mut self, case: &mut Case) {
        let enabled = case.enabled();
        let foreign = ComponentSet::from_bits(!COMPACTED_BIT).difference(enabled);
        let header = header_of(&case.area);
        let mut changed = header;
        match self.random.u8(0..9) {
            0 => case.misalignment = self.misalignment(1),
            1 => self.set_reserved_mxcsr_bit(case),
            2 => case.area[512 + self.random.usize(16..24)] = 1 << self.random.u8(0..8),
            3 => case.area[512 + self.random.usize(24..64)] = 1 << self.random.u8(0..8),
            4 => changed.xstate_bv = header.xstate_bv.union(self.member_of(foreign)),
            5 => {
                changed.xstate_bv = header
                    .xstate_bv
                    .union(ComponentSet::from_bits(COMPACTED_BIT))
            }
            6 => changed.xstate_bv = self.subset_of(enabled.intersection(self.fillable())),
            7 => changed.xcomp_bv |= self.member_of(foreign).bits(),
            8.. => self.flip_xcomp_bv_bit(&mut changed),
        }
        if changed != header {
            set_header(&mut case.area, &changed);
        }
    }

    fn fillable(&self) -> ComponentSet {
        fillable(self.enumeration())
    }

    /// A bit whose change does not only move the components that are there: their bytes would become
    /// those of others, which have other reserved bits.
    fn flip_xcomp_bv_bit(&mut self, header: &mut XsaveHeader) {
        let bit = 1u64 << self.random.u8(0..64);
        let moves_others = header.xcomp_bv & COMPACTED_BIT != 0
            && self.enumeration().components().bits() & bit != 0
            && header.xstate_bv.bits() & bit == 0;
        if !moves_others {
            header.xcomp_bv ^= bit;
        }
    }

    fn set_reserved_mxcsr_bit(&mut self, case: &mut Case) {
        let bit = self.random.usize(16..32);
        case.area[24 + bit / 8] |= 1 << (bit % 8);
    }
}

//! Random cases.
//!
//! Valid images are common and each rule is broken alone often enough to be met in a short run;
//! combinations come by chance.

mod mutations;

use fastrand::Rng;
use fpstate_arch::{
    AbridgedTagWord, Component, ComponentSet, Instruction, LegacyRegion, Mxcsr, XsaveHeader,
};

use self::mutations::MUTATIONS;
use super::case::{Case, LoadedFrom, header_of, set_header, set_legacy};
use super::instruction::{Between, Operand, Tested};
use super::this_cpu::ThisCpu;

/// Cases for one CPU, the same for the same seed.
#[derive(Debug)]
pub struct Generator {
    random: Rng,
    this: ThisCpu,
    instructions: Vec<Tested>,
}

/// How often an instruction is chosen, of all the weights.
const fn weight(tested: Tested) -> usize {
    match tested {
        Tested::Xrstor => 80,
        Tested::Xsaveopt => 36,
        Tested::Xsavec => 28,
        Tested::Xsave => 24,
        Tested::Fxrstor | Tested::Ldmxcsr => 8,
        Tested::Fxsave | Tested::Fninit | Tested::XgetbvInUse => 6,
        Tested::Stmxcsr => 3,
        Tested::Xsaves
        | Tested::Xrstors
        | Tested::Xgetbv
        | Tested::Xsetbv
        | Tested::ReadXss
        | Tested::WriteXss
        | Tested::ReadXfd
        | Tested::WriteXfd
        | Tested::ReadXfdErr
        | Tested::WriteXfdErr => 1,
    }
}

impl Generator {
    /// Cases for `this` CPU.
    #[must_use]
    pub fn new(this: &ThisCpu, seed: u64) -> Self {
        let comparable = Tested::ALL
            .into_iter()
            .filter(|tested| tested.is_comparable_on(this.enumeration()));
        Self {
            random: Rng::with_seed(seed),
            instructions: comparable
                .flat_map(|tested| std::iter::repeat_n(tested, weight(tested)))
                .collect(),
            this: this.clone(),
        }
    }

    /// The next case.
    pub fn case(&mut self) -> Case {
        let tested = self.instructions[self.random.usize(0..self.instructions.len())];
        let mut case = Case {
            tested,
            rfbm: self.rfbm(),
            registers: self.registers(),
            loaded_from: LoadedFrom::Elsewhere,
            between: Between::Nothing,
            area: Vec::new(),
            misalignment: 0,
        };
        match tested.operand() {
            Operand::SavedArea => {
                case.area = self.garbage();
                self.place_saved_area(&mut case);
            }
            Operand::RestoredArea => {
                case.area = self.image();
                self.mutate(&mut case);
            }
            Operand::FxsaveArea => {
                case.area = self.image();
                case.misalignment = 16 * self.random.usize(0..4);
                self.mutate_fxsave_area(&mut case);
            }
            Operand::Mxcsr => {
                case.area = self.garbage();
                case.misalignment = self.random.usize(0..64);
                let mxcsr = self.mxcsr_mostly_legal();
                case.area[..4].copy_from_slice(&mxcsr.bits().to_le_bytes());
            }
            Operand::None => case.area = self.garbage(),
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
        let member = self.random.choice(set.iter().collect::<Vec<_>>());
        member.map_or(ComponentSet::EMPTY, ComponentSet::only)
    }

    /// Never anything of XCR0 that is not compared; what is not in XCR0 does not count.
    fn rfbm(&mut self) -> ComponentSet {
        let compared = self.this.compared();
        let withheld = self.this.xcr0().difference(compared);
        match self.random.u8(0..8) {
            0 | 1 => ComponentSet::from_bits(!0).difference(withheld),
            2 => compared,
            3 => self.member_of(compared),
            4 => ComponentSet::from_bits(self.random.u64(..)).difference(withheld),
            5 => self.subset_of(compared).without(Component::Sse),
            6.. => self.subset_of(compared),
        }
    }

    /// An image that XRSTOR takes; bytes that it does not look at are random.
    fn registers(&mut self) -> Vec<u8> {
        let mut image = vec![0; self.this.area_len()];
        self.random.fill(&mut image);
        let mut xstate_bv = ComponentSet::EMPTY;
        let mut legacy = self.legacy();
        for component in self.this.compared().iter() {
            match self.random.u8(0..8) {
                0 | 1 => continue,
                2 => self.initialise(component, &mut legacy, &mut image),
                3 => {
                    self.initialise(component, &mut legacy, &mut image);
                    self.change_one_byte(component, &mut legacy, &mut image);
                }
                4.. => {}
            }
            xstate_bv = xstate_bv.with(component);
        }
        set_legacy(&mut image, &legacy);
        set_header(&mut image, &XsaveHeader::standard(xstate_bv));
        image
    }

    fn initialise(&self, component: Component, legacy: &mut LegacyRegion, image: &mut [u8]) {
        if component == Component::X87 {
            legacy.initialise_x87();
        } else if component == Component::Sse {
            legacy.initialise_xmm();
        } else if let Some(entry) = self.this.enumeration().entry(component) {
            let (offset, len) = (number(entry.standard_offset), number(entry.len));
            image[offset..offset + len].fill(0);
        }
    }

    fn change_one_byte(
        &mut self,
        component: Component,
        legacy: &mut LegacyRegion,
        image: &mut [u8],
    ) {
        let value = self.random.u8(1..);
        if component == Component::X87 {
            let register = &mut legacy.st[self.random.usize(0..8)];
            register[self.random.usize(0..10)] = value;
        } else if component == Component::Sse {
            legacy.xmm[self.random.usize(0..16)][self.random.usize(0..16)] = value;
        } else if let Some(entry) = self.this.enumeration().entry(component) {
            let (offset, len) = (number(entry.standard_offset), number(entry.len));
            image[offset + self.random.usize(0..len)] = value;
        }
    }

    /// x87 is either what the CPU itself could have put there, or 24 and 128 random bytes.
    fn legacy(&mut self) -> LegacyRegion {
        let mut bytes = [0; 512];
        self.random.fill(&mut bytes);
        let mut legacy = LegacyRegion::from_bytes(&bytes);
        legacy.mxcsr = self.legal_mxcsr();
        if self.one_in(2) {
            legacy.fcw = legacy.fcw & 0x1f3f | 0x40;
            legacy.fsw &= 0x7f00 | legacy.fcw & 0x3f;
            legacy.fop &= 0x7ff;
        }
        if self.one_in(4) {
            legacy.ftw = AbridgedTagWord::ALL_EMPTY;
        }
        legacy
    }

    fn legal_mxcsr(&mut self) -> Mxcsr {
        if self.one_in(3) {
            return Mxcsr::INITIAL;
        }
        Mxcsr::from_bits(self.random.u32(..) & self.this.vendor().mxcsr_mask)
    }

    fn mxcsr_mostly_legal(&mut self) -> Mxcsr {
        let legal = self.legal_mxcsr();
        if self.one_in(4) {
            return Mxcsr::from_bits(legal.bits() | self.reserved_mxcsr_bit());
        }
        legal
    }

    fn reserved_mxcsr_bit(&mut self) -> u32 {
        let mask = self.this.vendor().mxcsr_mask;
        let reserved = (0..32)
            .map(|bit| 1_u32 << bit)
            .filter(|bit| mask & bit == 0);
        let reserved: Vec<_> = reserved.collect();
        self.random.choice(reserved).unwrap_or(0)
    }

    fn garbage(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.this.area_len()];
        match self.random.u8(0..4) {
            0 => {}
            1 => bytes.fill(0xaa),
            2.. => self.random.fill(&mut bytes),
        }
        bytes
    }

    fn place_saved_area(&mut self, case: &mut Case) {
        if self.one_in(8) {
            self.misalign(case);
        } else if case.tested == Tested::Xsaveopt && self.one_in(2) {
            case.loaded_from = LoadedFrom::TheOperand;
        }
        if case.tested == Tested::Xsaveopt && self.one_in(2) {
            let has_opmask = self.this.compared().contains(Component::Opmask);
            let usable = Between::ALL
                .into_iter()
                .filter(|&between| has_opmask || between != Between::SetK5);
            let usable: Vec<_> = usable.collect();
            case.between = self.random.choice(usable).unwrap_or(Between::Nothing);
        }
    }

    /// An image of either format.
    fn image(&mut self) -> Vec<u8> {
        let mut image = self.registers();
        let xcr0 = self.this.xcr0();
        let named = header_of(&image).xstate_bv;
        let foreign = self.subset_of(xcr0.difference(self.this.compared()));
        let xstate_bv = named.union(foreign);
        let has_compaction = self.this.enumeration().has(Instruction::Xsavec);
        let header = if self.random.bool() && (has_compaction || self.one_in(8)) {
            let room = match self.random.u8(0..4) {
                0 => xcr0,
                1 => xstate_bv,
                2.. => xstate_bv.union(self.subset_of(xcr0)),
            };
            XsaveHeader::compacted(xstate_bv, room)
        } else {
            XsaveHeader::standard(xstate_bv)
        };
        set_header(&mut image, &header);
        image
    }

    fn mutate(&mut self, case: &mut Case) {
        let count = match self.random.u8(0..16) {
            0..7 => 0,
            7..14 => 1,
            14.. => 2,
        };
        for _ in 0..count {
            let mutation = MUTATIONS[self.random.usize(0..MUTATIONS.len())];
            mutation(self, case);
        }
    }

    fn mutate_fxsave_area(&mut self, case: &mut Case) {
        match self.random.u8(0..8) {
            0 => self.misalign(case),
            1 => self.set_reserved_mxcsr_bit(case),
            2.. => {}
        }
    }
}

fn number(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

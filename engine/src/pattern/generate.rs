//! A seed and a generation number become a register image.

use fpstate_arch::Mxcsr;

use super::register_image::{RegisterImage, TAGS_ALL_EMPTY, VectorForm};
use super::register_width::RegisterWidth;

/// The sequence of patterns for one kind of CPU.
///
/// In every pattern, registers of the same kind that are in use differ from one another. Now and
/// then a component is left in its initial configuration, the x87 stack is only partly occupied, or
/// it starts at another physical register than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patterns {
    width: RegisterWidth,
    mxcsr_mask: u32,
}

impl Patterns {
    /// Patterns for registers of `width` on a CPU whose MXCSR_MASK is `mxcsr_mask`; 0 means
    /// [`Mxcsr::DEFAULT_MASK`], as in an FXSAVE image. Only bit 6, DAZ, is ever in doubt.
    #[must_use]
    pub const fn new(width: RegisterWidth, mxcsr_mask: u32) -> Self {
        let mxcsr_mask = match mxcsr_mask {
            0 => Mxcsr::DEFAULT_MASK,
            mask => mask,
        };
        Self { width, mxcsr_mask }
    }

    /// The registers that the patterns fill.
    #[must_use]
    pub const fn width(&self) -> RegisterWidth {
        self.width
    }

    /// The pattern with this number in the sequence of `seed`: always the same one.
    #[must_use]
    pub fn pattern(&self, seed: u64, generation: u64) -> RegisterImage {
        let mut random = SplitMix64(SplitMix64(seed).next() ^ generation);
        let mut image = RegisterImage::initial_configuration();
        self.fill_vectors(&mut image, &mut random);
        self.fill_opmasks(&mut image, &mut random);
        fill_x87(&mut image, &mut random);
        image.mxcsr = self.mxcsr(&mut random);
        image
    }

    fn fill_vectors(&self, image: &mut RegisterImage, random: &mut SplitMix64) {
        let (form, len) = match (random.below(16), self.width) {
            (0, _) => (VectorForm::Zero, 0),
            (1, _) | (_, RegisterWidth::Xmm) => (VectorForm::Xmm, 16),
            (2 | 3, _) | (_, RegisterWidth::Ymm) => (VectorForm::Ymm, 32),
            (_, RegisterWidth::ZmmShortOpmasks | RegisterWidth::Zmm) => (VectorForm::Whole, 64),
        };
        image.vector_form = form;
        let hi16_zmm_len = match (random.below(8), self.width) {
            (0, _) | (_, RegisterWidth::Xmm | RegisterWidth::Ymm) => 0,
            (_, RegisterWidth::ZmmShortOpmasks | RegisterWidth::Zmm) => 64,
        };
        let (first, hi16_zmm) = image.vectors.split_at_mut(16);
        let lens = first.iter_mut().map(|vector| (vector, len));
        let hi16_lens = hi16_zmm.iter_mut().map(|vector| (vector, hi16_zmm_len));
        let base = random.byte();
        for (number, (vector, len)) in (0u8..).zip(lens.chain(hi16_lens)) {
            random.fill(vector.iter_mut().take(len), base.wrapping_add(number));
        }
    }

    fn fill_opmasks(&self, image: &mut RegisterImage, random: &mut SplitMix64) {
        if random.below(8) == 0 {
            return;
        }
        let base = random.byte();
        for (number, opmask) in (0u8..).zip(image.opmasks.iter_mut()) {
            let mut bytes = [0; 8];
            let len = usize::from(self.width.opmask_len());
            random.fill(bytes.iter_mut().take(len), base.wrapping_add(number));
            *opmask = u64::from_le_bytes(bytes);
        }
    }

    /// All exceptions masked; rounding, FTZ, DAZ and the sticky flags vary (SDM 1, figure 10-3).
    fn mxcsr(&self, random: &mut SplitMix64) -> u32 {
        const VARYING: u32 = 0x3f | 1 << 6 | 3 << 13 | 1 << 15;
        if random.below(8) == 0 {
            return Mxcsr::INITIAL.bits();
        }
        let [a, b, ..] = random.next().to_le_bytes();
        let varied = u32::from(u16::from_le_bytes([a, b])) & VARYING & self.mxcsr_mask;
        Mxcsr::INITIAL.bits() | varied
    }
}

/// One time in eight nothing, two times a part of the stack, else all of it.
fn fill_x87(image: &mut RegisterImage, random: &mut SplitMix64) {
    let depth = match random.below(8) {
        0 => return,
        1 | 2 => random.below(7).wrapping_add(1),
        _ => 8,
    };
    let top = random.below(8);
    // Sticky flags and C0 to C3; ES and B stay 0 because every exception is masked.
    let [flags, conditions, ..] = random.next().to_le_bytes();
    image.fsw = u16::from_le_bytes([flags & 0x7f, conditions & 0x47 | top << 3]);
    // Rounding any; precision 01 is reserved (SDM 1, table 8-2). Bit 6 reads as 1.
    let precision = [0, 2, 3, 3][usize::from(random.below(4))];
    image.fcw = u16::from_le_bytes([0x7f, precision | random.below(4) << 2]);
    image.tag_word = TAGS_ALL_EMPTY;
    let (base, special) = (random.byte(), random.below(16));
    for number in 0..depth {
        let physical = top.wrapping_add(number) & 7;
        image.tag_word &= !(3 << physical.wrapping_mul(2));
        let mut value = extended_precision(random, base.wrapping_add(number));
        if number == special {
            make_special(&mut value, random);
        }
        if let Some(st) = image.st.get_mut(usize::from(number)) {
            st.iter_mut().zip(value).for_each(|(to, from)| *to = from);
        }
    }
}

/// A normal number: the integer bit set, an exponent that is neither 0 nor all ones.
fn extended_precision(random: &mut SplitMix64, low_byte: u8) -> [u8; 10] {
    let mut value = [0; 10];
    random.fill(value.iter_mut(), low_byte);
    value[7] |= 0x80;
    value[8] = value[8] & 0xfe | 2;
    value[9] = value[9] & 0xbf | 1;
    value
}

/// A zero, a denormal, an infinity or a quiet NaN: the tag word knows them apart (SDM 1, 8.1.7).
fn make_special(value: &mut [u8; 10], random: &mut SplitMix64) {
    let sign = value[9] & 0x80;
    match random.below(4) {
        0 => *value = [0, 0, 0, 0, 0, 0, 0, 0, 0, sign],
        1 => {
            value[7] &= 0x7f;
            (value[8], value[9]) = (0, sign);
        }
        2 => *value = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, sign | 0x7f],
        _ => {
            value[7] |= 0xc0;
            (value[8], value[9]) = (0xff, sign | 0x7f);
        }
    }
}

/// `SplitMix64` (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn byte(&mut self) -> u8 {
        let [byte, ..] = self.next().to_le_bytes();
        byte
    }

    /// A number below `bound`, nearly evenly: only the mix of cases hangs on it.
    fn below(&mut self, bound: u8) -> u8 {
        self.byte().checked_rem(bound).unwrap_or(0)
    }

    /// Random bytes, the lowest as given: it tells registers of one kind apart.
    fn fill<'b>(&mut self, bytes: impl Iterator<Item = &'b mut u8>, low_byte: u8) {
        let mut word = [0; 8];
        for (position, byte) in bytes.enumerate() {
            if position & 7 == 0 {
                word = self.next().to_le_bytes();
            }
            *byte = word[position & 7];
            if position == 0 {
                *byte = low_byte;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::comparison::compare;
    use crate::pattern::register_name::RegisterName;
    use fpstate_arch::{AbridgedTagWord, Component, ComponentSet};
    use std::collections::HashSet;

    const SEED: u64 = 0x5eed;

    #[test]
    fn the_same_seed_and_generation_give_the_same_pattern_and_others_do_not() {
        let patterns = Patterns::new(RegisterWidth::Zmm, 0xffff);
        let differences = |left: &RegisterImage, right: &RegisterImage| {
            compare(left, right, RegisterWidth::Zmm).mismatches
        };
        let image = patterns.pattern(SEED, 7);
        assert_eq!(differences(&image, &patterns.pattern(SEED, 7)), 0);
        for other in [patterns.pattern(SEED, 8), patterns.pattern(SEED + 1, 7)] {
            assert!(differences(&image, &other) > 20);
        }
    }

    #[test]
    fn registers_of_one_kind_in_use_hold_different_values() {
        for width in RegisterWidth::ALL {
            for generation in 0..500 {
                let image = Patterns::new(width, 0xffff).pattern(SEED, generation);
                let mut seen = HashSet::new();
                for name in RegisterName::every(width) {
                    let control = [
                        RegisterName::Fcw,
                        RegisterName::Fsw,
                        RegisterName::Ftw,
                        RegisterName::Mxcsr,
                    ];
                    let value = image.value(name, width);
                    if !control.contains(&name) && value.bytes().iter().any(|byte| *byte != 0) {
                        assert!(
                            seen.insert(value.bytes().to_vec()),
                            "{name} of {generation}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn control_registers_are_values_that_every_cpu_accepts() {
        for generation in 0..5000 {
            let image = Patterns::new(RegisterWidth::Zmm, 0).pattern(SEED, generation);
            assert!(image.mxcsr().is_valid_under(Mxcsr::DEFAULT_MASK));
            assert_eq!(image.mxcsr().bits() & 0x1f80, 0x1f80);
            assert_eq!(image.fcw() & 0xf07f, 0x007f);
            assert_ne!(image.fcw() >> 8 & 3, 1, "reserved precision");
            assert_eq!(image.fsw() & 0x8080, 0, "no exception is pending");
        }
    }

    #[test]
    fn every_value_of_every_control_field_turns_up() {
        let patterns = Patterns::new(RegisterWidth::Zmm, 0xffff);
        let images: Vec<_> = (0..5000).map(|n| patterns.pattern(SEED, n)).collect();
        let count = |field: &dyn Fn(&RegisterImage) -> u32| {
            images.iter().map(field).collect::<HashSet<_>>().len()
        };
        assert_eq!(count(&|image| u32::from(image.fcw() >> 8 & 0xf)), 12);
        assert_eq!(count(&|image| u32::from(image.top())), 8);
        assert_eq!(count(&|image| image.mxcsr().bits() >> 13 & 3), 4);
        assert_eq!(count(&|image| image.mxcsr().bits() & (1 << 15 | 1 << 6)), 4);
        assert_eq!(count(&|image| image.mxcsr().bits() & 0x3f), 64);
    }

    #[test]
    fn now_and_then_a_component_is_left_in_its_initial_configuration() {
        let patterns = Patterns::new(RegisterWidth::Zmm, 0xffff);
        let images: Vec<_> = (0..500).map(|n| patterns.pattern(SEED, n)).collect();
        let all = RegisterWidth::Zmm.components();
        for component in all.iter() {
            let without = |image: &&RegisterImage| !image.in_use().contains(component);
            assert!(images.iter().filter(without).count() > 10, "{component}");
        }
        assert!(images.iter().filter(|image| image.in_use() == all).count() > 200);
        let empty = |image: &&RegisterImage| image.tag_word() == AbridgedTagWord::ALL_EMPTY;
        assert!(
            images
                .iter()
                .filter(empty)
                .all(|image| image.fcw() == 0x37f)
        );
    }

    #[test]
    fn a_pattern_stays_within_its_width() {
        for generation in 0..500 {
            let image = Patterns::new(RegisterWidth::Xmm, 0xffff).pattern(SEED, generation);
            assert!(ComponentSet::LEGACY.contains_all(image.in_use()));
            let image = Patterns::new(RegisterWidth::Ymm, 0xffff).pattern(SEED, generation);
            let avx = ComponentSet::LEGACY.with(Component::Avx);
            assert!(avx.contains_all(image.in_use()));
            let short = Patterns::new(RegisterWidth::ZmmShortOpmasks, 0xffff);
            let image = short.pattern(SEED, generation);
            assert!(image.opmasks.iter().all(|opmask| *opmask <= 0xffff));
        }
    }
}

//! The memory form of a pattern: our own layout, which no instruction knows.

use std::mem::offset_of;

use fpstate_arch::legacy_region::INITIAL_FCW;
use fpstate_arch::{AbridgedTagWord, Component, ComponentSet, Mxcsr};

/// The full x87 tag word of an empty stack: `11` for each register (SDM 1, 8.1.7).
pub(super) const TAGS_ALL_EMPTY: u16 = 0xffff;

/// Every register that user code can hold, as the moves of this folder read and write it.
///
/// Not an image of XSAVE or FXSAVE. The fields are private so that whoever has an image has one
/// that can be loaded: no MXCSR bit that the CPU refuses, no exception unmasked.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct RegisterImage {
    /// ZMM0 to ZMM31; a narrower width uses the first bytes of the first sixteen.
    pub(super) vectors: [[u8; 64]; 32],
    /// K0 to K7.
    pub(super) opmasks: [u64; 8],
    /// ST0 to ST7: ten bytes each.
    pub(super) st: [[u8; 16]; 8],
    pub(super) fcw: u16,
    pub(super) fsw: u16,
    /// The full tag word, by physical register, as FNSTENV stores it.
    pub(super) tag_word: u16,
    pub(super) reserved: u16,
    pub(super) mxcsr: u32,
    pub(super) vector_form: VectorForm,
}

/// How much of vector registers 0 to 15 is loaded after VZEROALL. A narrower move leaves the upper
/// components in their initial configuration and untouched, which XINUSE shows; moving zeros into
/// them would mark them in use on some CPUs (seen on AMD with XGETBV(1): ZMM_Hi256 stays in use
/// after a VMOVUPS of zeros, and only VZEROALL ends it).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VectorForm {
    /// Nothing: all sixteen are zero.
    Zero = 0,
    /// Bits 127:0.
    Xmm = 1,
    /// Bits 255:0.
    Ymm = 2,
    /// All 512 bits, or as many as the width has. Also what the store routines leave.
    Whole = 3,
}

// The assembly in `moves` addresses the fields by these offsets.
const _: () = assert!(offset_of!(RegisterImage, vectors) == 0);
const _: () = assert!(offset_of!(RegisterImage, opmasks) == 32 * 64);
const _: () = assert!(offset_of!(RegisterImage, st) == 2048 + 8 * 8);
const _: () = assert!(offset_of!(RegisterImage, fcw) == 2112 + 8 * 16);
const _: () = assert!(offset_of!(RegisterImage, fsw) == 2242);
const _: () = assert!(offset_of!(RegisterImage, tag_word) == 2244);
const _: () = assert!(offset_of!(RegisterImage, reserved) == 2246);
const _: () = assert!(offset_of!(RegisterImage, mxcsr) == 2248);
const _: () = assert!(offset_of!(RegisterImage, vector_form) == 2252);
const _: () = assert!(size_of::<RegisterImage>() == 2304 && align_of::<RegisterImage>() == 64);

impl RegisterImage {
    /// Every register in its initial configuration (SDM 1, 13.6): zeros, an empty x87 stack, all
    /// exceptions masked.
    #[must_use]
    pub const fn initial_configuration() -> Self {
        Self {
            vectors: [[0; 64]; 32],
            opmasks: [0; 8],
            st: [[0; 16]; 8],
            fcw: INITIAL_FCW,
            fsw: 0,
            tag_word: TAGS_ALL_EMPTY,
            reserved: 0,
            mxcsr: Mxcsr::INITIAL.bits(),
            vector_form: VectorForm::Zero,
        }
    }

    /// The x87 control word.
    #[must_use]
    pub const fn fcw(&self) -> u16 {
        self.fcw
    }

    /// The x87 status word.
    #[must_use]
    pub const fn fsw(&self) -> u16 {
        self.fsw
    }

    /// Which x87 registers are occupied, by physical register.
    #[must_use]
    pub fn tag_word(&self) -> AbridgedTagWord {
        AbridgedTagWord::from_full_tag_word(self.tag_word)
    }

    /// The SSE control and status register.
    #[must_use]
    pub const fn mxcsr(&self) -> Mxcsr {
        Mxcsr::from_bits(self.mxcsr)
    }

    /// TOP of the status word: the physical register that is ST0 (SDM 1, 8.1.3).
    #[must_use]
    pub const fn top(&self) -> u8 {
        let [_, high] = self.fsw.to_le_bytes();
        high >> 3 & 7
    }

    /// Whether ST(`number`) is occupied.
    #[must_use]
    pub fn st_is_occupied(&self, number: u8) -> bool {
        let physical = self.top().wrapping_add(number) & 7;
        self.tag_word().bits() >> physical & 1 == 1
    }

    /// The state components whose registers here differ from their initial configuration. MXCSR is
    /// counted to none of them.
    #[must_use]
    pub fn in_use(&self) -> ComponentSet {
        let (first, hi16_zmm) = self.vectors.split_at(16);
        let any_in = |from: usize, to: usize| {
            let mut parts = first.iter().filter_map(|vector| vector.get(from..to));
            parts.any(|part| part.iter().any(|byte| *byte != 0))
        };
        let x87 = (self.fcw, self.fsw, self.tag_word) != (INITIAL_FCW, 0, TAGS_ALL_EMPTY);
        let opmask = self.opmasks.iter().any(|opmask| *opmask != 0);
        let hi16_zmm = hi16_zmm.as_flattened().iter().any(|byte| *byte != 0);
        [
            (Component::X87, x87),
            (Component::Sse, any_in(0, 16)),
            (Component::Avx, any_in(16, 32)),
            (Component::Opmask, opmask),
            (Component::ZmmHi256, any_in(32, 64)),
            (Component::Hi16Zmm, hi16_zmm),
        ]
        .into_iter()
        .filter(|(_, in_use)| *in_use)
        .fold(ComponentSet::EMPTY, |set, (component, _)| {
            set.with(component)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_configuration_is_an_empty_stack_and_masked_exceptions() {
        let image = RegisterImage::initial_configuration();
        assert_eq!(image.tag_word(), AbridgedTagWord::ALL_EMPTY);
        assert_eq!((image.fcw(), image.fsw()), (0x37f, 0));
        assert_eq!(image.mxcsr().bits(), 0x1f80);
        assert!((0..8).all(|number| !image.st_is_occupied(number)));
    }

    #[test]
    fn the_place_on_the_stack_is_counted_from_top() {
        let mut image = RegisterImage::initial_configuration();
        image.fsw = 6 << 11;
        // Physical registers 6, 7 and 0 occupied: ST0, ST1 and ST2.
        image.tag_word = 0b0000_1111_1111_1100;
        let occupied = [0, 1, 2, 3, 4, 5, 6, 7].map(|number| image.st_is_occupied(number));
        assert_eq!(
            occupied,
            [true, true, true, false, false, false, false, false]
        );
    }
}

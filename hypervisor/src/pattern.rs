//! What a user program's registers should hold: the image that it fills them from and compares them
//! with.

use alloc::vec;
use alloc::vec::Vec;

use crate::user_code::{OPMASKS, PATTERN_LEN, VECTORS, Width};

/// MXCSR with every exception masked.
const MXCSR_INITIAL: u32 = 0x1f80;
const FCW_INITIAL: u16 = 0x37f;

/// An image in the form that the programs know: FXSAVE's, then vector registers, then opmasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// The initial configuration.
    #[must_use]
    pub fn initial() -> Self {
        let mut pattern = Self(vec![0; PATTERN_LEN]);
        pattern.set(0, &FCW_INITIAL.to_le_bytes());
        pattern.set(24, &MXCSR_INITIAL.to_le_bytes());
        pattern
    }

    /// Values that another seed does not have. No exception is pending and all are masked.
    #[must_use]
    pub fn of_seed(seed: u64, width: Width) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut pattern = Self::initial();
        let [low, high, flags, top, mxcsr, ..] = random.next().to_le_bytes();
        // Masks stay set; rounding and precision control, condition codes and TOP vary.
        pattern.set(
            0,
            &[0x7f, [0, 2, 3][usize::from(low % 3)] | (high & 3) << 2],
        );
        pattern.set(2, &[0, flags & 0x47 | (top & 7) << 3, 0xff]);
        let mxcsr = MXCSR_INITIAL | u32::from(mxcsr) << 8 & 0xe000 | u32::from(mxcsr & 0x1f);
        pattern.set(24, &mxcsr.to_le_bytes());
        for register in 0..8 {
            let at = 32 + 16 * register;
            let [exponent, sign, ..] = random.next().to_le_bytes();
            // A normal number: the integer bit is set, the exponent is not extreme.
            pattern.set(at, &(random.next() | 1 << 63).to_le_bytes());
            pattern.set(at + 8, &[exponent, 0x3f | sign & 0x80]);
        }
        let (bytes, count) = width.extent();
        for register in 0..count {
            for at in (0..bytes).step_by(8) {
                let value = random.next().to_le_bytes();
                pattern.set(VECTORS + 64 * register + at, &value);
                if register < 16 && at < 16 {
                    pattern.set(160 + 16 * register + at, &value);
                }
            }
        }
        match width {
            Width::Xmm => pattern.0[VECTORS..].fill(0),
            Width::Ymm => {}
            Width::Zmm => {
                for register in 0..8 {
                    pattern.set(OPMASKS + 8 * register, &random.next().to_le_bytes());
                }
            }
        }
        pattern
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Xorshift: equal seeds give equal values.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

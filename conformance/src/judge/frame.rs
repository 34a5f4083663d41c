//! Signal frames: an image, Linux's words in its software bytes, and a magic number behind it.

use std::ops::Range;

use fastrand::Rng;

use super::legal::{number, set_number, subset};
use super::mutation::Mutation;
use super::shape::Shape;

/// `magic1`: "FPXS".
pub const MAGIC1: Range<usize> = 464..468;
/// `extended_size`: bytes of the image and of the second magic number.
pub const EXTENDED_SIZE: Range<usize> = 468..472;
/// `xfeatures`.
pub const XFEATURES: Range<usize> = 472..480;
/// `xstate_size`: bytes of the image.
pub const XSTATE_SIZE: Range<usize> = 480..484;
/// The value of `magic1`.
pub const MAGIC1_VALUE: u64 = 0x4650_5853;
/// The value of the word behind the image: "FPXE".
pub const MAGIC2_VALUE: u64 = 0x4650_5845;

/// Makes `image` a frame as Linux writes it, as long as a multiple of 64.
pub fn complete(shape: &Shape, image: &mut Vec<u8>) {
    let len = shape.image_len();
    image.resize((len + 4).next_multiple_of(64), 0);
    set_number(image, MAGIC1, MAGIC1_VALUE);
    set_number(image, EXTENDED_SIZE, len as u64 + 4);
    set_number(image, XFEATURES, shape.components().bits());
    set_number(image, XSTATE_SIZE, len as u64);
    set_number(image, len..len + 4, MAGIC2_VALUE);
}

/// Changes to what makes an image a frame.
pub(super) const OF_THE_FRAME: [Mutation; 8] = [
    Mutation {
        name: "a bit of the software bytes",
        apply: |random, _, frame| {
            let bit = random.usize(MAGIC1.start * 8..512 * 8);
            if let Some(byte) = frame.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        },
    },
    Mutation {
        name: "extended_size",
        apply: |random, shape, frame| {
            let size = size(random, shape);
            set_number(frame, EXTENDED_SIZE, size);
        },
    },
    Mutation {
        name: "xfeatures of another kernel",
        apply: |random, shape, frame| {
            let room = subset(random, shape.components());
            set_number(frame, XFEATURES, room.bits());
        },
    },
    Mutation {
        name: "xfeatures",
        apply: |random, _, frame| set_number(frame, XFEATURES, random.u64(..)),
    },
    Mutation {
        name: "xstate_size",
        apply: |random, shape, frame| {
            let size = size(random, shape);
            set_number(frame, XSTATE_SIZE, size);
        },
    },
    Mutation {
        name: "xstate_size with the magic number behind it",
        apply: |random, shape, frame| {
            let size = size(random, shape);
            set_number(frame, XSTATE_SIZE, size);
            set_magic2(frame, size);
        },
    },
    Mutation {
        name: "a shorter frame, consistent",
        apply: |random, shape, frame| {
            let room = subset(random, shape.components());
            let ends = shape.places().iter().filter(|(it, _)| room.contains(*it));
            let size = ends.map(|(_, place)| place.end).max().unwrap_or(576) as u64;
            set_number(frame, XFEATURES, room.bits());
            set_number(frame, EXTENDED_SIZE, size + 4);
            set_number(frame, XSTATE_SIZE, size);
            set_magic2(frame, size);
        },
    },
    Mutation {
        name: "a bit of the second magic number",
        apply: |random, _, frame| {
            let magic2 = usize::try_from(number(frame, XSTATE_SIZE)).unwrap_or(0);
            if let Some(byte) = frame.get_mut(magic2 + random.usize(..4)) {
                *byte ^= 1 << random.u8(..8);
            }
        },
    },
];

fn set_magic2(frame: &mut [u8], xstate_size: u64) {
    let start = usize::try_from(xstate_size).unwrap_or(usize::MAX - 4);
    set_number(frame, start..start.saturating_add(4), MAGIC2_VALUE);
}

fn size(random: &mut Rng, shape: &Shape) -> u64 {
    let len = shape.image_len() as u64;
    match random.u8(0..8) {
        0 => 575,
        1 => 576,
        2 => len - random.u64(0..8),
        3 => len + random.u64(0..8),
        4 => random.u64(0..len),
        5 => random.u64(0..len) / 64 * 64,
        6 => random.u32(..).into(),
        _ => 832,
    }
}

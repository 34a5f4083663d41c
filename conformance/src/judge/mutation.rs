//! What is done to a legal image: single bits, whole fields, and lengths.

use fastrand::Rng;

use super::legal::{MXCSR, RESERVED, XCOMP_BV, XSTATE_BV, number, set_number, subset};
use super::shape::Shape;

/// A change to an image.
#[derive(Clone, Copy)]
pub struct Mutation {
    /// What it does.
    pub name: &'static str,
    pub(super) apply: fn(&mut Rng, &Shape, &mut Vec<u8>),
}

impl std::fmt::Debug for Mutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Changes to the image itself.
pub(super) const OF_THE_IMAGE: [Mutation; 11] = [
    Mutation {
        name: "a bit of XSTATE_BV",
        apply: |random, _, image| flip(image, XSTATE_BV.start * 8 + random.usize(..64)),
    },
    Mutation {
        name: "XSTATE_BV",
        apply: |random, shape, image| {
            let live = subset(random, shape.components());
            set_number(image, XSTATE_BV, live.bits());
        },
    },
    Mutation {
        name: "a bit of XCOMP_BV",
        apply: |random, _, image| flip(image, XCOMP_BV.start * 8 + random.usize(..64)),
    },
    Mutation {
        name: "XCOMP_BV of a compacted image",
        apply: |random, shape, image| {
            let more = subset(random, shape.components()).bits();
            let live = number(image, XSTATE_BV);
            set_number(image, XCOMP_BV, 1 << 63 | live | more);
        },
    },
    Mutation {
        name: "a reserved byte of the header",
        apply: |random, _, image| {
            let offset = random.usize(RESERVED);
            set_number(image, offset..offset + 1, random.u64(1..256));
        },
    },
    Mutation {
        name: "a bit of the header",
        apply: |random, _, image| {
            flip(image, random.usize(XSTATE_BV.start * 8..RESERVED.end * 8));
        },
    },
    Mutation {
        name: "a bit of MXCSR",
        apply: |random, _, image| flip(image, MXCSR.start * 8 + random.usize(..32)),
    },
    Mutation {
        name: "MXCSR",
        apply: |random, _, image| set_number(image, MXCSR, random.u32(..).into()),
    },
    Mutation {
        name: "any bit",
        apply: |random, _, image| {
            if !image.is_empty() {
                let bits = image.len() * 8;
                flip(image, random.usize(..bits));
            }
        },
    },
    Mutation {
        name: "a bit of a component",
        apply: |random, shape, image| {
            if let Some((_, place)) = random.choice(shape.places()) {
                flip(image, random.usize(place.start * 8..place.end * 8));
            }
        },
    },
    Mutation {
        name: "any bytes from somewhere on",
        apply: |random, _, image| {
            let start = random.usize(..=image.len());
            random.fill(&mut image[start..]);
        },
    },
];

/// Changes to the length; `image_len` is the one that an image has.
pub(super) fn length(random: &mut Rng, image_len: usize, longest: usize) -> usize {
    let len = match random.u8(0..8) {
        0 => image_len + 8,
        1 => image_len - 8,
        2 => image_len + random.usize(..64),
        3 => image_len - random.usize(..64),
        4 => *random
            .choice(&[0, 8, 24, 28, 464, 511, 512, 520, 575, 576, 640])
            .expect("one"),
        5 => random.usize(..=longest) / 8 * 8,
        6 => random.usize(..=longest) / 64 * 64,
        _ => random.usize(..=longest),
    };
    len.min(longest)
}

/// Flips bit `bit`, if the image is that long.
fn flip(image: &mut [u8], bit: usize) {
    if let Some(byte) = image.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

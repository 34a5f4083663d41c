//! Legal images: what the mutations start from.

use std::ops::Range;

use fastrand::Rng;
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{ComponentSet, XsaveHeader};

use super::shape::Shape;
use crate::generators;

/// MXCSR in the legacy region (SDM 1, 10.5.1).
pub const MXCSR: Range<usize> = 24..28;
/// MXCSR_MASK.
pub const MXCSR_MASK: Range<usize> = 28..32;
/// Reserved, and for software.
const TAIL: Range<usize> = 416..512;
/// XSTATE_BV (SDM 1, 13.4.2).
pub const XSTATE_BV: Range<usize> = 512..520;
/// XCOMP_BV.
pub const XCOMP_BV: Range<usize> = 520..528;
/// The reserved bytes of the header.
pub const RESERVED: Range<usize> = 528..576;

/// A standard-format image that XRSTOR and every system call take: any registers, any subset of the
/// components, anything in the bytes that nobody reads.
pub fn image(random: &mut Rng, shape: &Shape) -> Vec<u8> {
    let mut image = vec![0; shape.image_len()];
    random.fill(&mut image[..EXTENDED_REGION_OFFSET]);
    let xstate_bv = subset(random, shape.components());
    let header = XsaveHeader::standard(xstate_bv).to_bytes();
    image[XSTATE_BV.start..RESERVED.end].copy_from_slice(&header);
    let mxcsr = generators::mxcsr(random).bits();
    image[MXCSR].copy_from_slice(&mxcsr.to_le_bytes());
    if random.bool() {
        image[MXCSR_MASK].copy_from_slice(&shape.mxcsr_mask().to_le_bytes());
    }
    if random.bool() {
        image[TAIL].fill(0);
    }
    if random.bool() {
        // What lies between components too, and what XSTATE_BV says nobody reads.
        random.fill(&mut image[EXTENDED_REGION_OFFSET..]);
    } else {
        for (component, place) in shape.places() {
            if xstate_bv.contains(*component) {
                random.fill(&mut image[place.clone()]);
            }
        }
    }
    image
}

/// Some of `components`; all, none and one of them more often than their number says.
pub fn subset(random: &mut Rng, components: ComponentSet) -> ComponentSet {
    match random.u8(0..6) {
        0 => components,
        1 => ComponentSet::EMPTY,
        2 => ComponentSet::only(one_of(random, components)),
        _ => ComponentSet::from_bits(components.bits() & random.u64(..)),
    }
}

fn one_of(random: &mut Rng, components: ComponentSet) -> fpstate_arch::Component {
    let all: Vec<_> = components.iter().collect();
    all[random.usize(..all.len())]
}

/// The eight bytes at `place`, as a number.
pub fn number(image: &[u8], place: Range<usize>) -> u64 {
    let bytes = image.get(place).unwrap_or(&[]);
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Writes `number` to the bytes of `place` that there are.
pub fn set_number(image: &mut [u8], place: Range<usize>, number: u64) {
    if let Some(bytes) = image.get_mut(place) {
        let len = bytes.len();
        bytes.copy_from_slice(&number.to_le_bytes()[..len]);
    }
}

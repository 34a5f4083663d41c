//! What tests put into registers: images of all components, recognisable by a seed.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use fpstate::{Layout, LayoutError};
use fpstate_arch::{Component, ComponentSet, Enumeration};

const MXCSR_MASK: Range<usize> = 28..32;
/// Bytes of the legacy region that no instruction writes.
const UNUSED: Range<usize> = 416..512;
/// XSTATE_BV and the rest of the header.
const HEADER: Range<usize> = 512..576;

/// A standard-format image for XRSTOR, every one of `components` in use.
///
/// # Errors
/// [`LayoutError`], of a CPUID that contradicts itself.
pub fn image(
    enumeration: &Enumeration,
    components: ComponentSet,
    seed: u64,
) -> Result<Vec<u8>, LayoutError> {
    let layout = Layout::standard(enumeration, components)?;
    let mut image = vec![0; layout.area_len()];
    let mut words = Words(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let [low, high, ..] = seed.to_le_bytes();
    image[0..2].copy_from_slice(&[0x7f, low & 0x0f]); // FCW: exceptions masked
    image[3] = (high & 7) << 3; // FSW: TOP
    image[4] = 0xff; // FTW: all occupied
    let mxcsr = 0x1f80 | (u32::from(low) & 3) << 13;
    image[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    for register in image[32..160].chunks_mut(16) {
        words.fill(&mut register[..10]);
    }
    words.fill(&mut image[160..416]);
    image[512..520].copy_from_slice(&components.bits().to_le_bytes());
    for placed in layout.extended_components() {
        let bytes = &mut image[placed.range()];
        // 4 bytes are PKRU; low bits of BNDCFGU would switch bounds checks on.
        if placed.component() == Component::Pkru {
            words.fill(&mut bytes[..4]);
            // Bochs 3.0 applies key 0 to the kernel's own pages (docs/surprises.md).
            bytes[0] &= !3;
        } else if placed.component() == Component::BndCsr {
            words.fill(&mut bytes[9..16]);
        } else {
            words.fill(bytes);
        }
    }
    Ok(image)
}

/// The first byte at which registers differ that are saved in two images, bookkeeping aside.
pub fn first_difference(given: &[u8], found: &[u8]) -> Option<usize> {
    let differs = |&at: &usize| given[at] != found[at];
    (0..given.len().min(found.len()))
        .filter(|at| !MXCSR_MASK.contains(at) && !UNUSED.contains(at) && !HEADER.contains(at))
        .find(differs)
}

/// Xorshift.
struct Words(u64);

impl Words {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let [_, _, _, middle, ..] = self.0.to_le_bytes();
            *byte = middle | 1; // in use, whatever the CPU goes by
        }
    }
}

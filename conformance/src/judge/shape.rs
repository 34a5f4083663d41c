//! What images of this machine look like, from CPUID alone.

use std::ops::Range;

use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{Component, ComponentSet, Enumeration};

use crate::images::standard_place;

/// The components an image may have, and where they are in the standard format; nothing of it is from
/// the library.
#[derive(Clone, Debug)]
pub struct Shape {
    enumeration: Enumeration,
    components: ComponentSet,
    places: Vec<(Component, Range<usize>)>,
    mxcsr_mask: u32,
}

impl Shape {
    /// Images of `components` on a CPU with `enumeration`, whose MXCSR has the bits of `mxcsr_mask`.
    ///
    /// # Panics
    /// If CPUID does not place one of the components.
    #[must_use]
    pub fn new(enumeration: &Enumeration, components: ComponentSet, mxcsr_mask: u32) -> Self {
        let extended = components.difference(ComponentSet::LEGACY);
        let places = extended
            .iter()
            .map(|component| (component, standard_place(enumeration, component)))
            .collect();
        Self {
            enumeration: enumeration.clone(),
            components,
            places,
            mxcsr_mask,
        }
    }

    /// What the CPU enumerates.
    #[must_use]
    pub const fn enumeration(&self) -> &Enumeration {
        &self.enumeration
    }

    /// The components.
    #[must_use]
    pub const fn components(&self) -> ComponentSet {
        self.components
    }

    /// The extended components and their bytes.
    #[must_use]
    pub fn places(&self) -> &[(Component, Range<usize>)] {
        &self.places
    }

    /// The bits MXCSR has.
    #[must_use]
    pub const fn mxcsr_mask(&self) -> u32 {
        self.mxcsr_mask
    }

    /// Bytes of a standard-format image.
    #[must_use]
    pub fn image_len(&self) -> usize {
        let ends = self.places.iter().map(|(_, place)| place.end);
        ends.max().unwrap_or(EXTENDED_REGION_OFFSET)
    }
}

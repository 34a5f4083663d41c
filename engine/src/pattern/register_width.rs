//! Which registers the CPU has, as XCR0 and CPUID say at run time.

use std::is_x86_feature_detected;

use fpstate_arch::{Component, ComponentSet};

/// The vector and opmask registers that code can use here. The x87 registers, FCW, FSW and MXCSR
/// are there at every width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterWidth {
    /// SSE: XMM0 to XMM15.
    Xmm,
    /// AVX: YMM0 to YMM15.
    Ymm,
    /// AVX-512 without AVX512BW: ZMM0 to ZMM31, and K0 to K7 of which only 16 bits can be moved.
    ZmmShortOpmasks,
    /// AVX-512 with AVX512BW: ZMM0 to ZMM31 and K0 to K7 with 64 bits.
    Zmm,
}

impl RegisterWidth {
    /// Every width, narrowest first.
    pub const ALL: [Self; 4] = [Self::Xmm, Self::Ymm, Self::ZmmShortOpmasks, Self::Zmm];

    /// The widest registers that this CPU has and `xcr0` enables.
    #[must_use]
    pub fn of(xcr0: ComponentSet) -> Self {
        Self::ALL
            .into_iter()
            .rev()
            .find(|width| xcr0.contains_all(width.components()) && width.is_available())
            .unwrap_or(Self::Xmm)
    }

    /// Whether this CPU, under the XCR0 of this process, executes the moves of this width.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Xmm => true,
            Self::Ymm => is_x86_feature_detected!("avx"),
            Self::ZmmShortOpmasks => is_x86_feature_detected!("avx512f"),
            Self::Zmm => {
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
            }
        }
    }

    /// The state components that hold these registers, x87 among them.
    #[must_use]
    pub const fn components(self) -> ComponentSet {
        match self {
            Self::Xmm => ComponentSet::LEGACY,
            Self::Ymm => ComponentSet::LEGACY.with(Component::Avx),
            Self::ZmmShortOpmasks | Self::Zmm => ComponentSet::LEGACY
                .with(Component::Avx)
                .union(ComponentSet::AVX512),
        }
    }

    /// How many vector registers there are.
    #[must_use]
    pub const fn vector_count(self) -> u8 {
        match self {
            Self::Xmm | Self::Ymm => 16,
            Self::ZmmShortOpmasks | Self::Zmm => 32,
        }
    }

    /// The length of one vector register in bytes.
    #[must_use]
    pub const fn vector_len(self) -> u8 {
        match self {
            Self::Xmm => 16,
            Self::Ymm => 32,
            Self::ZmmShortOpmasks | Self::Zmm => 64,
        }
    }

    /// How many opmask registers there are.
    #[must_use]
    pub const fn opmask_count(self) -> u8 {
        match self {
            Self::Xmm | Self::Ymm => 0,
            Self::ZmmShortOpmasks | Self::Zmm => 8,
        }
    }

    /// The length in bytes of what can be moved of one opmask register.
    #[must_use]
    pub const fn opmask_len(self) -> u8 {
        match self {
            Self::Xmm | Self::Ymm => 0,
            Self::ZmmShortOpmasks => 2,
            Self::Zmm => 8,
        }
    }

    /// How many registers one comparison checks: the vectors, the opmasks, ST0 to ST7, and FCW,
    /// FSW, the tag word and MXCSR.
    #[must_use]
    pub fn registers_per_check(self) -> u32 {
        u32::from(self.vector_count())
            .saturating_add(u32::from(self.opmask_count()))
            .saturating_add(8 + 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xcr0_limits_the_width_even_where_the_cpu_has_more() {
        assert_eq!(RegisterWidth::of(ComponentSet::LEGACY), RegisterWidth::Xmm);
        let avx = ComponentSet::LEGACY.with(Component::Avx);
        assert!(RegisterWidth::of(avx) <= RegisterWidth::Ymm);
        let everything = RegisterWidth::of(ComponentSet::from_bits(u64::MAX));
        assert!(everything.is_available());
    }

    #[test]
    fn the_components_of_a_width_are_the_usual_values_of_xcr0() {
        let bits = RegisterWidth::ALL.map(|width| width.components().bits());
        assert_eq!(bits, [0x3, 0x7, 0xe7, 0xe7]);
    }

    #[test]
    fn a_check_counts_every_register() {
        let counts = RegisterWidth::ALL.map(RegisterWidth::registers_per_check);
        assert_eq!(counts, [28, 28, 52, 52]);
    }
}

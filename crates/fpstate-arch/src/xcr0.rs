//! XCR0: which user state components are enabled (SDM 1, 13.3; SDM 2, XSETBV).

use core::fmt;

use crate::component::{Component, ComponentSet};

/// A value that XSETBV accepts for XCR0 on a CPU that supports its components.
///
/// Nothing outside this module knows the rules: whoever holds an `Xcr0` holds the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Xcr0(ComponentSet);

impl Xcr0 {
    /// The value after RESET: x87 alone.
    pub const AFTER_RESET: Self = Self(ComponentSet::only(Component::X87));

    /// Checks `requested` by the rules of XSETBV, against the `supported` user components of
    /// CPUID.(EAX=0DH,ECX=0):EDX:EAX.
    ///
    /// # Errors
    /// The first rule broken, in the order of [`Xcr0Error`]'s variants.
    pub const fn new(requested: ComponentSet, supported: ComponentSet) -> Result<Self, Xcr0Error> {
        let found = requested;
        if !requested.contains(Component::X87) {
            return Err(Xcr0Error::WithoutX87 { found });
        }
        if !supported.contains_all(requested) {
            return Err(Xcr0Error::Unsupported { found, supported });
        }
        if requested.contains(Component::Avx) && !requested.contains(Component::Sse) {
            return Err(Xcr0Error::AvxWithoutSse { found });
        }
        if is_partial(requested, ComponentSet::MPX) {
            return Err(Xcr0Error::PartialMpx { found });
        }
        if is_partial(requested, ComponentSet::AVX512) {
            return Err(Xcr0Error::PartialAvx512 { found });
        }
        if requested.intersects(ComponentSet::AVX512) && !requested.contains(Component::Avx) {
            return Err(Xcr0Error::Avx512WithoutAvx { found });
        }
        if is_partial(requested, ComponentSet::TILES) {
            return Err(Xcr0Error::PartialTiles { found });
        }
        if requested.contains(Component::Apx) && requested.intersects(ComponentSet::MPX) {
            return Err(Xcr0Error::ApxWithMpx { found });
        }
        Ok(Self(requested))
    }

    /// The enabled user components.
    #[must_use]
    pub const fn components(self) -> ComponentSet {
        self.0
    }
}

/// Whether `set` has some of `group` and not all of it.
const fn is_partial(set: ComponentSet, group: ComponentSet) -> bool {
    set.intersects(group) && !set.contains_all(group)
}

/// The rule of XSETBV that a value for XCR0 breaks; the instruction raises #GP(0) for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Xcr0Error {
    /// Bit 0 must be 1.
    WithoutX87 {
        /// The value refused.
        found: ComponentSet,
    },
    /// A component, or a bit that names none, is not supported by the CPU.
    Unsupported {
        /// The value refused.
        found: ComponentSet,
        /// What CPUID offers.
        supported: ComponentSet,
    },
    /// AVX needs SSE.
    AvxWithoutSse {
        /// The value refused.
        found: ComponentSet,
    },
    /// BNDREGS and BNDCSR go together.
    PartialMpx {
        /// The value refused.
        found: ComponentSet,
    },
    /// Opmask, ZMM_Hi256 and Hi16_ZMM go together.
    PartialAvx512 {
        /// The value refused.
        found: ComponentSet,
    },
    /// AVX-512 needs AVX.
    Avx512WithoutAvx {
        /// The value refused.
        found: ComponentSet,
    },
    /// XTILECFG and XTILEDATA go together.
    PartialTiles {
        /// The value refused.
        found: ComponentSet,
    },
    /// APX and MPX exclude each other: they share bytes 960 to 1087 of the standard format
    /// (APX specification, 355828, section 3.1.4).
    ApxWithMpx {
        /// The value refused.
        found: ComponentSet,
    },
}

impl fmt::Display for Xcr0Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, rule) = match *self {
            Self::Unsupported { found, supported } => {
                let unsupported = found.difference(supported);
                return write!(
                    f,
                    "XCR0 {:#x} enables {unsupported}, which this CPU lacks (it has {supported})",
                    found.bits()
                );
            }
            Self::WithoutX87 { found } => (found, "x87 cannot be disabled"),
            Self::AvxWithoutSse { found } => (found, "AVX needs SSE"),
            Self::PartialMpx { found } => (found, "BNDREGS and BNDCSR go together"),
            Self::PartialAvx512 { found } => (found, "opmask, ZMM_Hi256 and Hi16_ZMM go together"),
            Self::Avx512WithoutAvx { found } => (found, "AVX-512 needs AVX"),
            Self::PartialTiles { found } => (found, "XTILECFG and XTILEDATA go together"),
            Self::ApxWithMpx { found } => (found, "APX and MPX exclude each other"),
        };
        write!(f, "XCR0 {:#x} ({found}): {rule}", found.bits())
    }
}

impl core::error::Error for Xcr0Error {}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: ComponentSet = ComponentSet::from_bits(!(1 << 63));

    /// (value, the manual's rule it breaks), from the table of XSETBV's #GP conditions.
    const REFUSED: [(u64, Xcr0Error); 12] = {
        const fn set(bits: u64) -> ComponentSet {
            ComponentSet::from_bits(bits)
        }
        [
            (0x0, Xcr0Error::WithoutX87 { found: set(0x0) }),
            (0x6, Xcr0Error::WithoutX87 { found: set(0x6) }),
            (0x5, Xcr0Error::AvxWithoutSse { found: set(0x5) }),
            (0xb, Xcr0Error::PartialMpx { found: set(0xb) }),
            (0x13, Xcr0Error::PartialMpx { found: set(0x13) }),
            (0x27, Xcr0Error::PartialAvx512 { found: set(0x27) }),
            (0xc7, Xcr0Error::PartialAvx512 { found: set(0xc7) }),
            (0xe3, Xcr0Error::Avx512WithoutAvx { found: set(0xe3) }),
            (
                0x2_0003,
                Xcr0Error::PartialTiles {
                    found: set(0x2_0003),
                },
            ),
            (
                0x4_0003,
                Xcr0Error::PartialTiles {
                    found: set(0x4_0003),
                },
            ),
            (
                0x8_001b,
                Xcr0Error::ApxWithMpx {
                    found: set(0x8_001b),
                },
            ),
            (
                1 << 63 | 1,
                Xcr0Error::Unsupported {
                    found: set(1 << 63 | 1),
                    supported: EVERYTHING,
                },
            ),
        ]
    };

    /// C8 · peers · `x86_vcpu`, barevisor, Hedron, ax-cpu · the rules of XCR0 were checked wrongly, or by a panic
    #[test]
    fn each_rule_of_xsetbv_is_named_when_it_is_broken() {
        for (value, error) in REFUSED {
            assert_eq!(
                Xcr0::new(ComponentSet::from_bits(value), EVERYTHING),
                Err(error)
            );
        }
    }

    #[test]
    fn legal_values_are_accepted_and_kept() {
        for value in [
            0x1, 0x3, 0x7, 0x1b, 0x1f, 0xe7, 0x2e7, 0x6_0003, 0x6_02e7, 0x8_02e7,
        ] {
            let set = ComponentSet::from_bits(value);
            assert_eq!(Xcr0::new(set, EVERYTHING).unwrap().components(), set);
        }
    }

    #[test]
    fn a_component_the_cpu_lacks_is_refused_with_both_sets() {
        let (found, supported) = (ComponentSet::from_bits(0x7), ComponentSet::LEGACY);
        let error = Xcr0::new(found, supported).unwrap_err();
        assert_eq!(error, Xcr0Error::Unsupported { found, supported });
        extern crate alloc;
        assert_eq!(
            alloc::string::ToString::to_string(&error),
            "XCR0 0x7 enables AVX, which this CPU lacks (it has x87+SSE)"
        );
    }

    #[test]
    fn a_broken_rule_is_shown_with_the_value() {
        extern crate alloc;
        let found = ComponentSet::from_bits(0x5);
        assert_eq!(
            alloc::string::ToString::to_string(&Xcr0Error::AvxWithoutSse { found }),
            "XCR0 0x5 (x87+AVX): AVX needs SSE"
        );
    }
}

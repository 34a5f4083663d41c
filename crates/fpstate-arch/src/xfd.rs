//! Extended feature disable (SDM 1, 13.14): IA32_XFD (MSR 1C4H) and IA32_XFD_ERR (MSR 1C5H).

use core::fmt;

use crate::component::ComponentSet;

/// A value for IA32_XFD: an instruction that needs one of these components raises #NM.
///
/// 0 is the value after RESET.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Xfd(ComponentSet);

impl Xfd {
    /// Nothing disabled: the value after RESET, and the only one on a CPU without XFD.
    pub const NOTHING: Self = Self(ComponentSet::EMPTY);

    /// Checks `disabled` against the components whose CPUID.(EAX=0DH,ECX=i):ECX\[2\] is 1.
    ///
    /// # Errors
    /// [`XfdError`] when a bit of `disabled` is not in `supported`; WRMSR raises #GP(0).
    pub const fn new(disabled: ComponentSet, supported: ComponentSet) -> Result<Self, XfdError> {
        if supported.contains_all(disabled) {
            Ok(Self(disabled))
        } else {
            Err(XfdError {
                found: disabled,
                supported,
            })
        }
    }

    /// The disabled components.
    #[must_use]
    pub const fn components(self) -> ComponentSet {
        self.0
    }
}

/// A value read from IA32_XFD_ERR: the disabled components that the last #NM was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct XfdErr(ComponentSet);

impl XfdErr {
    /// No #NM pending, the value software writes back after handling one.
    pub const NOTHING: Self = Self(ComponentSet::EMPTY);

    /// The register's content, or a value to put there.
    #[must_use]
    pub const fn from_components(components: ComponentSet) -> Self {
        Self(components)
    }

    /// The components an instruction needed while they were disabled.
    #[must_use]
    pub const fn components(self) -> ComponentSet {
        self.0
    }
}

/// A value for IA32_XFD disables a component that cannot be disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XfdError {
    /// The value refused.
    pub found: ComponentSet,
    /// What CPUID offers.
    pub supported: ComponentSet,
}

impl fmt::Display for XfdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, supported } = self;
        let refused = found.difference(*supported);
        write!(
            f,
            "IA32_XFD {:#x} disables {refused}; allowed: {supported}",
            found.bits()
        )
    }
}

impl core::error::Error for XfdError {}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use crate::component::Component;
    use alloc::string::ToString;

    #[test]
    fn only_components_with_the_xfd_bit_can_be_disabled() {
        let supported = ComponentSet::only(Component::TileData);
        assert_eq!(
            Xfd::new(supported, supported).unwrap().components(),
            supported
        );
        let found = ComponentSet::only(Component::Avx);
        assert_eq!(
            Xfd::new(found, supported),
            Err(XfdError { found, supported })
        );
    }

    #[test]
    fn a_refused_value_is_shown_with_what_is_allowed() {
        let supported = ComponentSet::only(Component::TileData);
        let found = supported.with(Component::Avx);
        assert_eq!(
            XfdError { found, supported }.to_string(),
            "IA32_XFD 0x40004 disables AVX; allowed: XTILEDATA"
        );
    }

    #[test]
    fn the_cause_of_an_exception_is_kept_as_it_was_read() {
        let tiles = ComponentSet::only(Component::TileData);
        assert_eq!(XfdErr::from_components(tiles).components(), tiles);
    }
}

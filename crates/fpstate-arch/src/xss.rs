//! IA32_XSS: which supervisor state components are enabled (SDM 1, 13.3; MSR 0DA0H).

use core::fmt;

use crate::component::ComponentSet;

/// A value that WRMSR accepts for IA32_XSS on a CPU that supports its components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Xss(ComponentSet);

impl Xss {
    /// The value after RESET: no supervisor component.
    pub const AFTER_RESET: Self = Self(ComponentSet::EMPTY);

    /// Checks `requested` against the `supported` supervisor components of
    /// CPUID.(EAX=0DH,ECX=1):EDX:ECX.
    ///
    /// # Errors
    /// [`XssError`] when a bit of `requested` is not in `supported`; WRMSR raises #GP(0).
    pub const fn new(requested: ComponentSet, supported: ComponentSet) -> Result<Self, XssError> {
        if supported.contains_all(requested) {
            Ok(Self(requested))
        } else {
            Err(XssError {
                found: requested,
                supported,
            })
        }
    }

    /// The enabled supervisor components.
    #[must_use]
    pub const fn components(self) -> ComponentSet {
        self.0
    }
}

/// A value for IA32_XSS enables what the CPU does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XssError {
    /// The value refused.
    pub found: ComponentSet,
    /// What CPUID offers.
    pub supported: ComponentSet,
}

impl fmt::Display for XssError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, supported } = self;
        let unsupported = found.difference(*supported);
        write!(
            f,
            "IA32_XSS {:#x} enables {unsupported}; allowed: {supported}",
            found.bits()
        )
    }
}

impl core::error::Error for XssError {}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use crate::component::Component;
    use alloc::string::ToString;

    #[test]
    fn only_supported_supervisor_components_are_accepted() {
        let supported = ComponentSet::only(Component::CetU);
        assert_eq!(
            Xss::new(supported, supported).unwrap().components(),
            supported
        );
        let found = supported.with(Component::Lbr);
        assert_eq!(
            Xss::new(found, supported),
            Err(XssError { found, supported })
        );
    }

    #[test]
    fn a_refused_value_is_shown_with_what_is_allowed() {
        let supported = ComponentSet::only(Component::CetU);
        let found = supported.with(Component::Lbr);
        assert_eq!(
            XssError { found, supported }.to_string(),
            "IA32_XSS 0x8800 enables LBR; allowed: CET_U"
        );
    }
}

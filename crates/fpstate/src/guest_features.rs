//! [`GuestFeatures`]: what CPUID leaf 0DH offers to one guest.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::xcr0::{Xcr0, Xcr0Error};

use crate::errno::Errno;
use crate::layout::Layout;
use crate::left_out::ON_DEMAND;
use crate::offer::{Grantee, Offer};
use crate::permission_error::NotPermitted;
use crate::permissions::GuestPermit;

/// The components that one guest may enable: the most its XCR0 and its IA32_XSS may have.
///
/// The guest can enable all of them at once, so what its CPUID announces never raises #GP in XSETBV
/// (Linux 55cd57b596e8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestFeatures {
    user: ComponentSet,
    supervisor: ComponentSet,
}

impl GuestFeatures {
    /// A guest without XSAVE. It has x87 and SSE all the same; its XCR0, which it cannot reach, stays as
    /// after RESET.
    pub const WITHOUT_XSAVE: Self = Self {
        user: ComponentSet::only(Component::X87),
        supervisor: ComponentSet::EMPTY,
    };

    /// Checks what CPUID is to offer: `user` in (0DH,0):EDX:EAX, `supervisor` in (0DH,1):EDX:ECX.
    ///
    /// # Errors
    /// The first rule broken, in the order of [`GuestFeaturesError`]'s variants.
    pub const fn new(
        offer: &Offer<'_>,
        permit: GuestPermit,
        user: ComponentSet,
        supervisor: ComponentSet,
    ) -> Result<Self, GuestFeaturesError> {
        if let Err(error) = Xcr0::new(user, offer.user_components()) {
            return Err(GuestFeaturesError::User(error));
        }
        let allowed = offer.guest_supervisor();
        if !allowed.contains_all(supervisor) {
            return Err(GuestFeaturesError::Supervisor {
                found: supervisor,
                allowed,
            });
        }
        let on_demand = user.intersection(offer.on_demand());
        let granted = permit.on_demand();
        if !granted.contains_all(on_demand) {
            return Err(GuestFeaturesError::NotPermitted(NotPermitted {
                grantee: Grantee::Guests,
                needed: on_demand,
                granted,
            }));
        }
        Ok(Self { user, supervisor })
    }

    /// What a state of `layout` has room for, and PKRU, which needs none.
    pub(crate) fn of_room(layout: &Layout<'_>) -> Self {
        let enumeration = layout.enumeration();
        let room = layout.components().with(Component::Pkru);
        Self {
            user: room.intersection(enumeration.user_components()),
            supervisor: room.intersection(enumeration.supervisor_components()),
        }
    }

    /// All but the on-demand components and PKRU: what its state must have room for.
    pub(crate) const fn default_components(self) -> ComponentSet {
        let all = self.user.union(self.supervisor);
        all.difference(self.on_demand()).without(Component::Pkru)
    }

    /// The user components it may enable in XCR0.
    #[must_use]
    pub const fn user(self) -> ComponentSet {
        self.user
    }

    /// The supervisor components it may enable in IA32_XSS.
    #[must_use]
    pub const fn supervisor(self) -> ComponentSet {
        self.supervisor
    }

    /// Those of the user components that its state grows for: what its IA32_XFD may disable.
    #[must_use]
    pub const fn on_demand(self) -> ComponentSet {
        self.user.intersection(ON_DEMAND)
    }
}

/// Why a guest cannot be offered a set of components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestFeaturesError {
    /// No XCR0 has all the user components, or the kernel does not offer one.
    User(Xcr0Error),
    /// Supervisor components that guests are not offered.
    Supervisor {
        /// The supervisor components.
        found: ComponentSet,
        /// What guests are offered.
        allowed: ComponentSet,
    },
    /// The process has no permission to offer them.
    NotPermitted(NotPermitted),
}

impl GuestFeaturesError {
    /// What a Linux-compatible kernel answers.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::User(_) | Self::Supervisor { .. } => Errno::Einval,
            Self::NotPermitted(error) => error.errno(),
        }
    }
}

impl fmt::Display for GuestFeaturesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(error) => write!(f, "as a guest's highest XCR0: {error}"),
            Self::Supervisor { found, allowed } => {
                write!(
                    f,
                    "supervisor components {found} for a guest; allowed: {allowed}"
                )
            }
            Self::NotPermitted(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GuestFeaturesError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::User(error) => Some(error),
            // Displayed as it is, and without a source.
            Self::Supervisor { .. } | Self::NotPermitted(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::errno::Errno::{Einval, Eperm};
    use crate::permissions::{Permissions, SignalStacks};
    use crate::recorded_cpu::{RecordedCpu, emerald_rapids};
    use std::string::ToString;

    const fn set(bits: u64) -> ComponentSet {
        ComponentSet::from_bits(bits)
    }

    fn permit(offer: &Offer<'_>, asked: &[u32]) -> GuestPermit {
        let mut permissions = Permissions::new(offer);
        for number in asked {
            permissions
                .request(offer, Grantee::Guests, *number, SignalStacks::none())
                .unwrap();
        }
        permissions.freeze_guests()
    }

    fn features(
        cpu: &RecordedCpu,
        asked: &[u32],
        user: u64,
        supervisor: u64,
    ) -> Result<GuestFeatures, GuestFeaturesError> {
        let cpu = cpu.enumeration();
        let offer = Offer::for_ring0(&cpu);
        GuestFeatures::new(&offer, permit(&offer, asked), set(user), set(supervisor))
    }

    #[test]
    fn what_is_legal_offered_and_permitted_is_accepted() {
        let cpu = emerald_rapids();
        for (user, supervisor, on_demand) in [
            (0x1, 0, 0),
            (0x3, 0, 0),
            (0x7, 0x1800, 0),
            (0x2e7, 0x800, 0),
            (0x6_02e7, 0x1800, 1 << 18),
        ] {
            let features = features(&cpu, &[18], user, supervisor).unwrap();
            assert_eq!(features.user(), set(user));
            assert_eq!(features.supervisor(), set(supervisor));
            assert_eq!(features.on_demand(), set(on_demand));
        }
    }

    #[test]
    fn an_xcr0_that_could_not_be_enabled_is_refused() {
        let with_mpx = emerald_rapids()
            .with_component(3, [0x40, 0x3c0, 0])
            .with_component(4, [0x40, 0x400, 0]);
        // Without x87; AVX without SSE; half of MPX; part of AVX-512; AVX-512 without AVX; half of
        // the tiles (Linux 55cd57b596e8); not offered.
        for user in [
            0x0,
            0x6,
            0x5,
            0xb,
            0x67,
            0xe3,
            0x2_0003,
            0x4_0003,
            0x8_0003,
            0x803,
            1 << 63 | 3,
        ] {
            let refused = features(&with_mpx, &[18], user, 0).unwrap_err();
            assert!(matches!(refused, GuestFeaturesError::User(_)), "{user:#x}");
            assert_eq!(refused.errno(), Einval);
        }
    }

    #[test]
    fn tiles_need_the_process_to_have_asked_before_its_first_vcpu() {
        let cpu = emerald_rapids();
        let refused = features(&cpu, &[], 0x6_02e7, 0).unwrap_err();
        assert_eq!(
            refused,
            GuestFeaturesError::NotPermitted(NotPermitted {
                grantee: Grantee::Guests,
                needed: set(1 << 18),
                granted: ComponentSet::EMPTY
            })
        );
        assert_eq!(refused.errno(), Eperm);
    }

    #[test]
    fn only_cet_is_offered_of_the_supervisor_components_and_only_with_xsaves() {
        let cpu = emerald_rapids();
        for supervisor in [1 << 8, 1 << 10, 1 << 14, 1 << 15, 0x1c00] {
            let refused = features(&cpu, &[], 3, supervisor).unwrap_err();
            let (found, allowed) = (set(supervisor), set(0x1800));
            assert_eq!(refused, GuestFeaturesError::Supervisor { found, allowed });
            assert_eq!(refused.errno(), Einval);
        }
        let refused = features(&cpu.without_xsaves(), &[], 3, 0x1800).unwrap_err();
        let (found, allowed) = (set(0x1800), ComponentSet::EMPTY);
        assert_eq!(refused, GuestFeaturesError::Supervisor { found, allowed });
    }

    #[test]
    fn a_refused_offer_says_what_was_allowed() {
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        for (shown, sentence) in [
            (
                GuestFeaturesError::Supervisor {
                    found: ComponentSet::only(Component::CetU),
                    allowed: ComponentSet::EMPTY,
                }
                .to_string(),
                "supervisor components CET_U for a guest; allowed: none",
            ),
            (
                GuestFeaturesError::User(Xcr0Error::WithoutX87 { found: AVX }).to_string(),
                "as a guest's highest XCR0: XCR0 0x4 (AVX): x87 cannot be disabled",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }

    #[test]
    fn the_broken_rule_of_xcr0_is_the_source_of_a_refused_offer() {
        use core::error::Error as _;
        let rule = Xcr0Error::WithoutX87 {
            found: ComponentSet::EMPTY,
        };
        assert_eq!(
            GuestFeaturesError::User(rule)
                .source()
                .map(ToString::to_string),
            Some(rule.to_string())
        );
        let (found, allowed) = (ComponentSet::LEGACY, ComponentSet::EMPTY);
        assert!(
            GuestFeaturesError::Supervisor { found, allowed }
                .source()
                .is_none()
        );
    }
}

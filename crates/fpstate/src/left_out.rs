//! Which components a CPU has and a kernel does not offer, and why.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::enumeration::{Enumeration, Instruction};

/// Why a component that CPUID enumerates is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeftOut {
    /// The manuals did not name it when this was written, so its initial configuration is unknown.
    Unnamed,
    /// PT, HDC, HWP: not of a thread or a guest but of the logical processor or of a tracer, whose
    /// owner reads and writes the MSRs themselves. Switched with threads, a trace would end and a
    /// power setting change at every switch.
    OfTheProcessor,
    /// UINTR: a save by XSAVES takes the notification vector out of the registers (SDM 1, 13.11), so what
    /// they hold after it is no copy of the area, which a skipped restore relies on.
    ChangedBySaving,
    /// The command line hides it.
    Hidden,
    /// The CPUID bit of its feature is 0: firmware, a hypervisor or `clearcpuid=` hides it.
    NotAnnounced,
    /// A supervisor component on a CPU without XSAVES.
    NeedsXsaves,
    /// Too large to have room in every state, and the CPU cannot keep it disabled: XFD is missing,
    /// or XSAVES, or the component's own XFD bit.
    NeedsXfd,
    /// A component that it goes together with, or needs, is missing.
    PartnerMissing,
    /// CPUID contradicts itself, so XSAVE is not used at all.
    XsaveGivenUp,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unnamed => "no manual names it",
            Self::OfTheProcessor => "it belongs to the processor, not to threads or guests",
            Self::ChangedBySaving => "saving changes the registers",
            Self::Hidden => "hidden on request",
            Self::NotAnnounced => "CPUID does not announce its feature",
            Self::NeedsXsaves => "it needs XSAVES",
            Self::NeedsXfd => "it needs XFD and XSAVES",
            Self::PartnerMissing => "a component that it goes together with is missing",
            Self::XsaveGivenUp => "CPUID contradicts itself, XSAVE is not used",
        })
    }
}

/// Components that every state having room for them would make too large: a state grows for them,
/// and until then IA32_XFD disables them. The 8 KiB of the tiles.
pub(crate) const ON_DEMAND: ComponentSet = ComponentSet::only(Component::TileData);
/// Supervisor components that threads, guests or their owners use.
pub(crate) const SUPERVISOR: ComponentSet = ComponentSet::EMPTY
    .with(Component::Pasid)
    .with(Component::CetU)
    .with(Component::CetS)
    .with(Component::Uintr)
    .with(Component::Lbr);
/// Components of the logical processor.
const OF_THE_PROCESSOR: ComponentSet = ComponentSet::EMPTY
    .with(Component::Pt)
    .with(Component::Hdc)
    .with(Component::Hwp);
const CET: ComponentSet = ComponentSet::EMPTY
    .with(Component::CetU)
    .with(Component::CetS);

/// What the rules judge by: the CPU, and the components that are not hidden.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidates<'e> {
    pub(crate) enumeration: &'e Enumeration,
    pub(crate) visible: ComponentSet,
}

/// Which of the components that are `left` a rule takes out.
type Rule = fn(Candidates<'_>, left: ComponentSet) -> ComponentSet;

/// In this order: a component has the first reason that applies, and partners are looked for among
/// what the other rules left.
const RULES: [(LeftOut, Rule); 8] = [
    (LeftOut::Unnamed, |_, left| {
        left.iter()
            .filter(|component| matches!(component, Component::Unnamed(_)))
            .fold(ComponentSet::EMPTY, ComponentSet::with)
    }),
    (LeftOut::OfTheProcessor, |_, _| OF_THE_PROCESSOR),
    (LeftOut::ChangedBySaving, |_, _| {
        ComponentSet::only(Component::Uintr)
    }),
    (LeftOut::Hidden, |candidates, left| {
        left.difference(candidates.visible)
    }),
    (LeftOut::NotAnnounced, |candidates, left| {
        left.difference(candidates.enumeration.announced_components())
    }),
    (LeftOut::NeedsXsaves, |candidates, _| {
        let Candidates { enumeration, .. } = candidates;
        if enumeration.has(Instruction::Xsaves) {
            ComponentSet::EMPTY
        } else {
            enumeration.supervisor_components()
        }
    }),
    (LeftOut::NeedsXfd, |candidates, _| {
        let Candidates { enumeration, .. } = candidates;
        // No CPU has XFD without XSAVES; one that says so has been tampered with.
        if enumeration.has(Instruction::Xfd) && enumeration.has(Instruction::Xsaves) {
            ON_DEMAND.difference(enumeration.xfd_components())
        } else {
            ON_DEMAND
        }
    }),
    (LeftOut::PartnerMissing, |_, left| {
        // CET_S for guests is of no use without CET_U; CET_U is, for threads.
        [
            (ComponentSet::MPX, ComponentSet::MPX),
            (
                ComponentSet::AVX512,
                ComponentSet::AVX512.with(Component::Avx),
            ),
            (ComponentSet::TILES, ComponentSet::TILES),
            (ComponentSet::only(Component::CetS), CET),
        ]
        .into_iter()
        .filter(|&(_, needed)| !left.contains_all(needed))
        .fold(ComponentSet::EMPTY, |missing, (group, _)| {
            missing.union(group)
        })
    }),
];

impl Candidates<'_> {
    /// The components that no rule takes out.
    pub(crate) fn offered(self) -> ComponentSet {
        RULES
            .into_iter()
            .fold(self.enumeration.components(), |left, (_, rule)| {
                left.difference(rule(self, left))
            })
    }

    /// The rule that takes `component` out.
    pub(crate) fn reason(self, component: Component) -> Option<LeftOut> {
        let mut left = self.enumeration.components();
        for (reason, rule) in RULES {
            let remaining = left.difference(rule(self, left));
            if left.contains(component) && !remaining.contains(component) {
                return Some(reason);
            }
            left = remaining;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::recorded_cpu::{RecordedCpu, emerald_rapids};
    use std::string::ToString;

    const EVERYTHING: ComponentSet = ComponentSet::from_bits(u64::MAX);

    /// Each component that is left out, by number, with the reason.
    fn left_out(cpu: &RecordedCpu, visible: ComponentSet) -> [Option<LeftOut>; 20] {
        let enumeration = cpu.enumeration();
        let candidates = Candidates {
            enumeration: &enumeration,
            visible,
        };
        let offered = candidates.offered();
        let mut reasons = [None; 20];
        for component in enumeration.components().iter() {
            let reason = candidates.reason(component);
            assert_eq!(reason.is_none(), offered.contains(component));
            if let Some(slot) = reasons.get_mut(usize::from(component.number())) {
                *slot = reason;
            }
        }
        reasons
    }

    fn of(reasons: &[(usize, LeftOut)]) -> [Option<LeftOut>; 20] {
        let mut expected = [None; 20];
        expected[8] = Some(LeftOut::OfTheProcessor); // PT, on all CPUs here
        expected[14] = Some(LeftOut::ChangedBySaving); // UINTR
        for (number, reason) in reasons {
            expected[*number] = Some(*reason);
        }
        expected
    }

    #[test]
    fn of_a_recorded_cpu_only_processor_trace_is_left_out() {
        assert_eq!(left_out(&emerald_rapids(), EVERYTHING), of(&[]));
    }

    #[test]
    fn power_management_and_components_without_a_name_are_left_out() {
        let cpu = emerald_rapids()
            .with_component(13, [8, 0, 1])
            .with_component(16, [8, 0, 1])
            .with_component(20, [64, 0x2b00, 0]);
        let expected = of(&[(13, LeftOut::OfTheProcessor), (16, LeftOut::OfTheProcessor)]);
        assert_eq!(left_out(&cpu, EVERYTHING), expected);
        let enumeration = cpu.enumeration();
        let candidates = Candidates {
            enumeration: &enumeration,
            visible: EVERYTHING,
        };
        let twenty = Component::from_number(20).unwrap();
        assert_eq!(candidates.reason(twenty), Some(LeftOut::Unnamed));
    }

    #[test]
    fn what_the_command_line_hides_is_left_out_with_what_needs_it() {
        let visible = EVERYTHING.without(Component::Avx).without(Component::CetU);
        let expected = of(&[
            (2, LeftOut::Hidden),
            (5, LeftOut::PartnerMissing),
            (6, LeftOut::PartnerMissing),
            (7, LeftOut::PartnerMissing),
            (11, LeftOut::Hidden),
            (12, LeftOut::PartnerMissing),
        ]);
        assert_eq!(left_out(&emerald_rapids(), visible), expected);
    }

    #[test]
    fn threads_have_cet_where_guests_cannot() {
        let visible = EVERYTHING.without(Component::CetS);
        let expected = of(&[(12, LeftOut::Hidden)]);
        assert_eq!(left_out(&emerald_rapids(), visible), expected);
    }

    #[test]
    fn a_component_whose_feature_is_not_announced_is_left_out() {
        let no_leaf_7 = emerald_rapids().with(7, 0, |r| *r = Default::default());
        let announced_by_leaf_7 = [5, 6, 7, 9, 10, 11, 12, 15, 17, 18];
        let expected = of(&announced_by_leaf_7.map(|number| (number, LeftOut::NotAnnounced)));
        assert_eq!(left_out(&no_leaf_7, EVERYTHING), expected);
    }

    #[test]
    fn each_of_a_group_is_left_out_when_one_is_missing() {
        let hidden = |user| emerald_rapids().with_user(user);
        let partner = |numbers: &[usize]| {
            let mut expected = of(&[]);
            for number in numbers {
                expected[*number] = Some(LeftOut::PartnerMissing);
            }
            expected
        };
        assert_eq!(left_out(&hidden(0xa7), EVERYTHING), partner(&[5, 7]));
        assert_eq!(left_out(&hidden(0x67), EVERYTHING), partner(&[5, 6]));
        assert_eq!(left_out(&hidden(0xe3), EVERYTHING), partner(&[5, 6, 7]));
        assert_eq!(left_out(&hidden(0x2_0003), EVERYTHING), partner(&[17]));
        assert_eq!(left_out(&hidden(0x4_0003), EVERYTHING), partner(&[18]));
        let half_mpx = hidden(0x3).with_component(3, [0x40, 0x3c0, 0]);
        assert_eq!(left_out(&half_mpx, EVERYTHING), partner(&[3]));
    }

    #[test]
    fn without_xsaves_neither_supervisor_components_nor_tiles_are_left() {
        let mut expected = of(&[(17, LeftOut::PartnerMissing), (18, LeftOut::NeedsXfd)]);
        for number in [10, 11, 12, 15] {
            expected[number] = Some(LeftOut::NeedsXsaves);
        }
        assert_eq!(
            left_out(&emerald_rapids().without_xsaves(), EVERYTHING),
            expected
        );
    }

    #[test]
    fn tiles_that_cannot_be_disabled_are_left_out() {
        let expected = of(&[(17, LeftOut::PartnerMissing), (18, LeftOut::NeedsXfd)]);
        let no_xfd = emerald_rapids().with(0xd, 1, |r| r.eax &= !(1 << 4));
        assert_eq!(left_out(&no_xfd, EVERYTHING), expected);
        let no_bit = emerald_rapids().with(0xd, 18, |r| r.ecx &= !(1 << 2));
        assert_eq!(left_out(&no_bit, EVERYTHING), expected);
    }

    /// L50 · 2024 · 2848ff28d180 · IA32_XSS got the bit of LBR where XSAVES does not manage it: #GP
    ///
    /// Linux 2848ff28d180: architectural LBR may be announced without XSAVES managing it.
    #[test]
    fn lbr_that_xsaves_does_not_manage_is_no_component() {
        let cpu = emerald_rapids().with(0xd, 1, |r| r.ecx &= !(1 << 15));
        let enumeration = cpu.enumeration();
        let candidates = Candidates {
            enumeration: &enumeration,
            visible: EVERYTHING,
        };
        assert!(!candidates.offered().contains(Component::Lbr));
    }

    #[test]
    fn each_reason_is_a_sentence_of_its_own() {
        for (shown, sentence) in [
            (LeftOut::Unnamed.to_string(), "no manual names it"),
            (
                LeftOut::OfTheProcessor.to_string(),
                "it belongs to the processor, not to threads or guests",
            ),
            (
                LeftOut::ChangedBySaving.to_string(),
                "saving changes the registers",
            ),
            (LeftOut::Hidden.to_string(), "hidden on request"),
            (
                LeftOut::NotAnnounced.to_string(),
                "CPUID does not announce its feature",
            ),
            (LeftOut::NeedsXsaves.to_string(), "it needs XSAVES"),
            (LeftOut::NeedsXfd.to_string(), "it needs XFD and XSAVES"),
            (
                LeftOut::PartnerMissing.to_string(),
                "a component that it goes together with is missing",
            ),
            (
                LeftOut::XsaveGivenUp.to_string(),
                "CPUID contradicts itself, XSAVE is not used",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}

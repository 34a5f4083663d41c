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
const RULES: [(LeftOut, Rule); 7] = [
    (LeftOut::Unnamed, |_, left| {
        left.iter()
            .filter(|component| matches!(component, Component::Unnamed(_)))
            .fold(ComponentSet::EMPTY, ComponentSet::with)
    }),
    (LeftOut::OfTheProcessor, |_, _| OF_THE_PROCESSOR),
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

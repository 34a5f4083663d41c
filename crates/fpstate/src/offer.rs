//! [`Offer`]: what a kernel offers to threads and guests on CPUs of one kind.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::enumeration::{Enumeration, Instruction};
use fpstate_arch::xcr0::Xcr0;
use fpstate_arch::xfd::Xfd;
use fpstate_arch::xss::Xss;

use crate::contradiction::{Contradiction, check_components, check_standard_len};
use crate::cpu_life::ControlRegisters;
use crate::instructions::SwitchInstructions;
use crate::layout::Layout;
use crate::left_out::{Candidates, LeftOut, ON_DEMAND};

/// Components that guests' states have and threads' have not: a kernel has no supervisor shadow
/// stack of its own in them (Linux 6.17, 7bc4ed75f2d6).
const GUEST_ONLY: ComponentSet = ComponentSet::only(Component::CetS);
/// Components that have one owner per CPU, who saves and restores them with an XSAVES and XRSTORS of
/// their own: 808 bytes that most threads never need (SDM 3, 19.1).
const INDEPENDENT: ComponentSet = ComponentSet::only(Component::Lbr);
const CET: ComponentSet = ComponentSet::EMPTY
    .with(Component::CetU)
    .with(Component::CetS);

/// Whose state, or whose permission: the threads of a process, or the guests it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grantee {
    /// The process's own threads.
    Threads,
    /// Its guests' vCPUs.
    Guests,
}

/// What a kernel offers on CPUs of one kind: which components, in which role, and with it the
/// control registers, instructions and layouts, which therefore always agree.
///
/// It is decided once, from CPUID. Where CPUID contradicts itself XSAVE is given up as a whole and
/// the machine runs with FXSAVE, x87 and SSE (invariant I48); [`contradiction`](Self::contradiction)
/// says why.
///
/// ```
/// use fpstate::offer::{Grantee, Offer};
/// # use fpstate::{CpuFpu, Identities};
/// # use fpstate_arch::{Enumeration, Processor};
/// # fn f<P: Processor>(processor: P, enumeration: &Enumeration, identities: &Identities)
/// # -> Result<(), fpstate::BringUpError> {
/// let offer = Offer::for_ring0(enumeration);
/// let cpu = CpuFpu::bring_up(
///     processor,
///     0,
///     identities,
///     offer.instructions(),
///     offer.control_registers(),
/// )?;
/// let small = offer.thread_layout();
/// let with_tiles = offer.layout_with(Grantee::Threads, offer.on_demand());
/// assert!(small.area_len() <= with_tiles.area_len());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Offer<'e> {
    candidates: Candidates<'e>,
    contradiction: Option<Contradiction>,
    instructions: SwitchInstructions,
    registers: ControlRegisters,
    /// Components in XCR0 and IA32_XSS; with FXSAVE x87 and SSE.
    components: ComponentSet,
    /// Room for every component that a state can have.
    widest: Layout<'e>,
    /// Room for every user component, as user space sees them.
    user: Layout<'e>,
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Threads => "threads",
            Self::Guests => "guests",
        })
    }
}

impl<'e> Offer<'e> {
    /// What ring 0 can offer on a CPU with this enumeration.
    #[must_use]
    pub fn for_ring0(enumeration: &'e Enumeration) -> Self {
        Self::limited_to(enumeration, ComponentSet::from_bits(u64::MAX))
    }

    /// The same without the components that are not in `visible`, which a command line hides. x87
    /// and SSE cannot be hidden.
    #[must_use]
    pub fn limited_to(enumeration: &'e Enumeration, visible: ComponentSet) -> Self {
        let candidates = Candidates {
            enumeration,
            visible: visible.union(ComponentSet::LEGACY),
        };
        if !enumeration.has(Instruction::Xsave) {
            return Self::without_xsave(candidates, None);
        }
        Self::with_xsave(candidates)
            .unwrap_or_else(|found| Self::without_xsave(candidates, Some(found)))
    }

    fn without_xsave(candidates: Candidates<'e>, contradiction: Option<Contradiction>) -> Self {
        let layout = Layout::of_last_resort(candidates.enumeration);
        Self {
            candidates,
            contradiction,
            instructions: SwitchInstructions::fxsave_only(),
            registers: ControlRegisters {
                xcr0: Xcr0::AFTER_RESET,
                xss: Xss::AFTER_RESET,
                xfd: Xfd::NOTHING,
            },
            components: ComponentSet::LEGACY,
            widest: layout,
            user: layout,
        }
    }

    fn with_xsave(candidates: Candidates<'e>) -> Result<Self, Contradiction> {
        let Candidates { enumeration, .. } = candidates;
        let components = candidates.offered();
        let user = components.intersection(enumeration.user_components());
        let supervisor = components.difference(user);
        if !user.contains_all(ComponentSet::LEGACY) {
            let found = enumeration.user_components();
            return Err(Contradiction::WithoutLegacy { found });
        }
        check_components(enumeration, components)?;
        let xcr0 = Xcr0::new(user, user).map_err(Contradiction::Xcr0)?;
        let xss = Xss::new(supervisor, supervisor).unwrap_or_default();
        let on_demand = components.intersection(ON_DEMAND);
        let xfd = Xfd::new(on_demand, on_demand).unwrap_or_default();

        let withheld = components.intersection(INDEPENDENT);
        let guest_only = components.intersection(GUEST_ONLY);
        let mut instructions =
            SwitchInstructions::for_ring0(enumeration).with_roles(withheld, guest_only);
        if on_demand.is_empty() {
            instructions = instructions.without_xfd();
        }
        let in_states = components.difference(withheld).without(Component::Pkru);
        let widest = Layout::for_instructions(enumeration, instructions, in_states)
            .map_err(Contradiction::Layout)?;
        let user = Layout::standard(enumeration, user).map_err(Contradiction::Layout)?;
        check_standard_len(&user)?;
        Ok(Self {
            candidates,
            contradiction: None,
            instructions,
            registers: ControlRegisters { xcr0, xss, xfd },
            components,
            widest,
            user,
        })
    }

    /// The CPU figures it was decided from.
    #[must_use]
    pub const fn enumeration(&self) -> &'e Enumeration {
        self.candidates.enumeration
    }

    /// Why XSAVE is not used, though the CPU has it.
    #[must_use]
    pub const fn contradiction(&self) -> Option<Contradiction> {
        self.contradiction
    }

    /// What CPUs of this kind switch with.
    #[must_use]
    pub const fn instructions(&self) -> SwitchInstructions {
        self.instructions
    }

    /// What [`CpuFpu::bring_up`](crate::CpuFpu::bring_up) writes: every component offered is
    /// enabled, those on demand are disabled by IA32_XFD.
    #[must_use]
    pub const fn control_registers(&self) -> ControlRegisters {
        self.registers
    }

    /// All user components that programs can use, PKRU and those on demand included: what XCR0
    /// has. With FXSAVE x87 and SSE. Linux: `ARCH_GET_XCOMP_SUPP`.
    #[must_use]
    pub const fn user_components(&self) -> ComponentSet {
        self.user.components()
    }

    /// Components that every state has room for. PKRU is not one: it is switched on its own.
    #[must_use]
    pub const fn default_components(&self) -> ComponentSet {
        self.widest
            .components()
            .difference(ON_DEMAND)
            .difference(GUEST_ONLY)
    }

    /// Components that a state grows for when they are first used.
    #[must_use]
    pub const fn on_demand(&self) -> ComponentSet {
        self.widest.components().intersection(ON_DEMAND)
    }

    /// Components that guests' states have room for and threads' have not.
    #[must_use]
    pub const fn guest_only(&self) -> ComponentSet {
        self.widest.components().intersection(GUEST_ONLY)
    }

    /// Components that are enabled and in no state: one owner per CPU switches them.
    #[must_use]
    pub const fn independent(&self) -> ComponentSet {
        self.instructions.withheld()
    }

    /// What a guest's IA32_XSS may have: both CET components or none. With one of them a guest
    /// would find half of what its CPUID announces (Linux 69cc3e886582).
    #[must_use]
    pub const fn guest_supervisor(&self) -> ComponentSet {
        if self.components.contains_all(CET) {
            CET
        } else {
            ComponentSet::EMPTY
        }
    }

    /// The layout of a thread's state that has not grown.
    #[must_use]
    pub fn thread_layout(&self) -> Layout<'e> {
        self.layout_with(Grantee::Threads, ComponentSet::EMPTY)
    }

    /// The layout of a guest's state that has not grown.
    #[must_use]
    pub fn guest_layout(&self) -> Layout<'e> {
        self.layout_with(Grantee::Guests, ComponentSet::EMPTY)
    }

    /// The layout of a state that has grown for those of `on_demand` that are offered.
    #[must_use]
    pub fn layout_with(&self, whose: Grantee, on_demand: ComponentSet) -> Layout<'e> {
        let own = match whose {
            Grantee::Threads => ComponentSet::EMPTY,
            Grantee::Guests => self.guest_only(),
        };
        let grown = self.on_demand().intersection(on_demand);
        let components = self.default_components().union(own).union(grown);
        self.widest.narrowed_to(components)
    }

    /// The layout of an image for user space, with room for those of `components` that XCR0 has:
    /// the standard format, PKRU too; with FXSAVE 512 bytes.
    #[must_use]
    pub fn image_layout(&self, components: ComponentSet) -> Layout<'e> {
        self.user.narrowed_to(components)
    }

    /// The components that CPUID enumerates and that are not offered, with the reason for each.
    pub fn left_out(&self) -> impl Iterator<Item = (Component, LeftOut)> {
        let (candidates, offered) = (self.candidates, self.components);
        let given_up = self.contradiction.map(|_| LeftOut::XsaveGivenUp);
        let enumerated = candidates.enumeration.components().difference(offered);
        enumerated.iter().filter_map(move |component| {
            let reason = given_up.or_else(|| candidates.reason(component))?;
            Some((component, reason))
        })
    }
}

//! [`Offer`]: what a kernel offers to threads and guests on CPUs of one kind.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::enumeration::{Enumeration, Instruction};
use fpstate_arch::processor::Processor;
use fpstate_arch::xcr0::Xcr0;
use fpstate_arch::xfd::Xfd;
use fpstate_arch::xsave_header::Format;
use fpstate_arch::xss::Xss;

use crate::contradiction::{
    Contradiction, check_components, check_enabled_len, check_standard_len,
};
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

    /// x87 and SSE by FXSAVE, whatever the CPU has: for a command line, and for a CPU that
    /// [`confirm`](Self::confirm) finds wrong.
    #[must_use]
    pub fn fxsave_only(enumeration: &'e Enumeration) -> Self {
        let candidates = Candidates {
            enumeration,
            visible: ComponentSet::LEGACY,
        };
        Self::without_xsave(candidates, None)
    }

    fn without_xsave(candidates: Candidates<'e>, contradiction: Option<Contradiction>) -> Self {
        let layout = Layout::of_last_resort(candidates.enumeration);
        Self {
            candidates,
            contradiction,
            instructions: SwitchInstructions::fxsave_only(candidates.enumeration),
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

    /// On a CPU that was brought up with this offer: whether it gives areas of what is enabled the
    /// length that we do (Linux `init_xstate_size()`). The enumeration alone cannot tell, because
    /// these figures follow XCR0 and IA32_XSS.
    ///
    /// # Errors
    /// [`Contradiction::EnabledLen`]: bring the CPU up again with
    /// [`fxsave_only`](Self::fxsave_only), CR4.OSXSAVE being 0.
    pub fn confirm(&self, processor: &mut impl Processor) -> Result<(), Contradiction> {
        let (enumeration, registers) = (self.enumeration(), self.registers);
        let xcr0 = registers.xcr0.components();
        let enabled = xcr0.union(registers.xss.components());
        let format = self.instructions.save().format();
        if format == Format::Fxsave {
            return Ok(());
        }
        let standard = Layout::standard(enumeration, xcr0).map_err(Contradiction::Layout)?;
        check_enabled_len(&standard, processor.cpuid(0xd, 0).ebx)?;
        if format == Format::Compacted {
            let compacted =
                Layout::compacted(enumeration, enabled).map_err(Contradiction::Layout)?;
            check_enabled_len(&compacted, processor.cpuid(0xd, 1).ebx)?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::layout::LayoutError;
    use crate::recorded_cpu::{RecordedCpu, emerald_rapids};
    use crate::save_and_restore::SaveInstruction;
    use fpstate_arch::xsave_header::Format;
    use std::vec::Vec;

    const fn set(bits: u64) -> ComponentSet {
        ComponentSet::from_bits(bits)
    }

    #[test]
    fn every_component_has_its_role_and_the_registers_enable_them_all() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::for_ring0(&cpu);
        assert_eq!(offer.contradiction(), None);
        assert_eq!(offer.user_components(), set(0x6_02e7));
        // Without PKRU and UINTR (9, 14); with PASID and CET_U (10, 11).
        assert_eq!(offer.default_components(), set(0x2_0ce7));
        assert_eq!(offer.on_demand(), set(1 << 18));
        assert_eq!(offer.guest_only(), set(1 << 12));
        assert_eq!(offer.independent(), set(1 << 15));
        assert_eq!(offer.guest_supervisor(), set(0x1800));
        let ControlRegisters { xcr0, xss, xfd } = offer.control_registers();
        assert_eq!(xcr0.components(), set(0x6_02e7));
        assert_eq!(xss.components(), set(0x9c00));
        assert_eq!(xfd.components(), set(1 << 18));
        let instructions = offer.instructions();
        assert_eq!(instructions.save(), SaveInstruction::Xsaves);
        assert_eq!(instructions.withheld(), offer.independent());
        assert_eq!(instructions.guest_only(), offer.guest_only());
        assert!(instructions.has_xfd());
        let left_out: Vec<_> = offer.left_out().collect();
        let expected = [
            (Component::Pt, LeftOut::OfTheProcessor),
            (Component::Uintr, LeftOut::ChangedBySaving),
        ];
        assert_eq!(left_out, expected);
    }

    /// L67 · 2025 · 7bc4ed75f2d6 · every thread had room for CET_S, which only guests use
    #[test]
    fn states_have_room_for_what_is_theirs() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::for_ring0(&cpu);
        let everything = set(u64::MAX);
        for (layout, components, len) in [
            (offer.thread_layout(), 0x2_0ce7, 2560),
            (offer.guest_layout(), 0x2_1ce7, 2560),
            (
                offer.layout_with(Grantee::Threads, everything),
                0x6_0ce7,
                10752,
            ),
            (
                offer.layout_with(Grantee::Guests, everything),
                0x6_1ce7,
                10752,
            ),
        ] {
            assert_eq!(layout.components(), set(components));
            assert_eq!(layout.format(), Format::Compacted);
            assert_eq!(layout.area_len(), len);
            // As if it had been made for these components alone.
            let alone = Layout::compacted(&cpu, set(components)).unwrap();
            assert_eq!(layout.area_len(), alone.area_len());
            assert!(layout.extended_components().eq(alone.extended_components()));
        }
        let image = offer.image_layout(set(0x2e7));
        assert_eq!(
            (image.format(), image.area_len()),
            (Format::Standard, 0xa88)
        );
        assert_eq!(offer.image_layout(everything).area_len(), 0x2b00);
    }

    /// Linux a758ae2885ea: APX ends below the components with lower numbers.
    #[test]
    fn an_image_with_apx_is_as_long_as_its_last_component_needs() {
        let cpu = emerald_rapids().with_component(19, [0x80, 0x3c0, 0]);
        let cpu = cpu.enumeration();
        let offer = Offer::for_ring0(&cpu);
        assert_eq!(offer.contradiction(), None);
        assert_eq!(offer.image_layout(set(0x8_02e7)).area_len(), 0xa88);
        assert_eq!(offer.image_layout(set(0x8_0007)).area_len(), 0x440);
    }

    #[test]
    fn hidden_tiles_leave_xfd_alone_and_x87_and_sse_cannot_be_hidden() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::limited_to(&cpu, ComponentSet::only(Component::Avx));
        assert_eq!(offer.user_components(), set(7));
        assert_eq!(offer.control_registers().xfd, Xfd::NOTHING);
        assert!(!offer.instructions().has_xfd());
        assert_eq!(offer.guest_supervisor(), ComponentSet::EMPTY);
        let hidden = (Component::TileData, LeftOut::Hidden);
        assert!(offer.left_out().any(|left_out| left_out == hidden));
    }

    /// L64 · 2025 · 69cc3e886582 · guests were offered one of the two CET components
    #[test]
    fn guests_have_both_cet_components_or_none() {
        for hidden in [Component::CetU, Component::CetS] {
            let cpu = emerald_rapids().enumeration();
            let offer = Offer::limited_to(&cpu, set(u64::MAX).without(hidden));
            assert_eq!(offer.guest_supervisor(), ComponentSet::EMPTY);
        }
    }

    #[test]
    fn without_xsaves_states_have_user_components_only() {
        let cpu = emerald_rapids().without_xsaves().enumeration();
        let offer = Offer::for_ring0(&cpu);
        assert_eq!(offer.contradiction(), None);
        assert_eq!(offer.instructions().save(), SaveInstruction::Xsavec);
        assert_eq!(offer.control_registers().xss, Xss::AFTER_RESET);
        assert_eq!(offer.guest_layout().components(), set(0xe7));
    }

    fn assert_runs_with_fxsave(offer: &Offer<'_>) {
        assert_eq!(
            offer.instructions(),
            SwitchInstructions::fxsave_only(offer.enumeration())
        );
        let after_reset = ControlRegisters {
            xcr0: Xcr0::AFTER_RESET,
            xss: Xss::AFTER_RESET,
            xfd: Xfd::NOTHING,
        };
        assert_eq!(offer.control_registers(), after_reset);
        assert_eq!(offer.user_components(), ComponentSet::LEGACY);
        assert_eq!(offer.default_components(), ComponentSet::LEGACY);
        for roles in [offer.on_demand(), offer.guest_only(), offer.independent()] {
            assert_eq!(roles, ComponentSet::EMPTY);
        }
        assert_eq!(offer.guest_supervisor(), ComponentSet::EMPTY);
        let all = set(u64::MAX);
        for layout in [
            offer.thread_layout(),
            offer.guest_layout(),
            offer.layout_with(Grantee::Guests, all),
            offer.image_layout(all),
        ] {
            assert_eq!((layout.format(), layout.area_len()), (Format::Fxsave, 512));
        }
    }

    #[test]
    fn a_cpu_without_xsave_contradicts_nothing_and_runs_with_fxsave() {
        let cpu = emerald_rapids().without_xsave().enumeration();
        let offer = Offer::for_ring0(&cpu);
        assert_eq!(offer.contradiction(), None);
        assert_runs_with_fxsave(&offer);
        assert_eq!(offer.left_out().count(), 0);
    }

    #[track_caller]
    fn assert_given_up(cpu: &RecordedCpu, contradiction: Contradiction) {
        let cpu = cpu.enumeration();
        let offer = Offer::for_ring0(&cpu);
        assert_eq!(offer.contradiction(), Some(contradiction));
        assert_runs_with_fxsave(&offer);
        let given_up: Vec<_> = offer.left_out().collect();
        let beyond_legacy = cpu.components().difference(ComponentSet::LEGACY);
        let expected: Vec<_> = beyond_legacy
            .iter()
            .map(|component| (component, LeftOut::XsaveGivenUp))
            .collect();
        assert_eq!(given_up, expected);
    }

    #[test]
    fn xsave_without_x87_or_sse_is_given_up() {
        for user in [0, 1, 2, 6] {
            let found = set(user.into());
            let contradiction = Contradiction::WithoutLegacy { found };
            assert_given_up(&emerald_rapids().with_user(user), contradiction);
        }
    }

    /// L52 · 2025 · ea68e39190cf · APX and MPX, which share bytes of the standard format, were both enabled
    ///
    /// Linux ea68e39190cf.
    #[test]
    fn xsave_with_apx_beside_mpx_is_given_up_unless_one_is_hidden() {
        let cpu = emerald_rapids()
            .with_component(3, [0x40, 0x3c0, 0])
            .with_component(4, [0x40, 0x400, 0])
            .with_component(19, [0x80, 0x3c0, 0]);
        let error = Xcr0::new(set(0xe_02ff), set(0xe_02ff)).unwrap_err();
        assert_given_up(&cpu, Contradiction::Xcr0(error));
        let cpu = cpu.enumeration();
        let visible = set(u64::MAX).difference(ComponentSet::MPX);
        assert_eq!(Offer::limited_to(&cpu, visible).contradiction(), None);
    }

    #[test]
    fn xsave_is_given_up_when_components_have_no_place() {
        let avx = Component::Avx;
        let contradiction = Contradiction::Layout(LayoutError::WithoutLength { component: avx });
        assert_given_up(&emerald_rapids().with(0xd, 2, |r| r.eax = 0), contradiction);

        let pkru = Component::Pkru;
        let contradiction = Contradiction::Layout(LayoutError::InsideHeader {
            component: pkru,
            offset: 512,
        });
        let cpu = emerald_rapids().with(0xd, 9, |r| r.ebx = 512);
        assert_given_up(&cpu, contradiction);

        let (first, second) = (Component::Opmask, Component::ZmmHi256);
        let contradiction = Contradiction::Layout(LayoutError::Overlap { first, second });
        let cpu = emerald_rapids().with(0xd, 6, |r| r.ebx = 0x440 + 63);
        assert_given_up(&cpu, contradiction);
    }

    #[test]
    fn xsave_is_given_up_when_a_component_is_not_what_the_manuals_say() {
        let component = Component::CetU;
        let longer = emerald_rapids().with(0xd, 11, |r| r.eax = 24);
        let (found, allowed) = (24, 16);
        let contradiction = Contradiction::Len {
            component,
            found,
            allowed,
        };
        assert_given_up(&longer, contradiction);
        let user = emerald_rapids().with(0xd, 11, |r| r.ecx = 0);
        assert_given_up(&user, Contradiction::WrongKind { component });
    }

    #[test]
    fn xsave_is_given_up_when_cpuids_own_length_is_too_short() {
        let cpu = emerald_rapids().with(0xd, 0, |r| r.ecx = 0x2b00 - 1);
        let (found, needed) = (0x2b00 - 1, 0x2b00);
        assert_given_up(&cpu, Contradiction::StandardLen { found, needed });
    }

    #[test]
    fn what_is_left_out_may_be_as_wrong_as_it_likes() {
        let cpu = emerald_rapids()
            .with(0xd, 8, |r| r.eax = 0)
            .with(0xd, 15, |r| r.eax = 64);
        let cpu = cpu.enumeration();
        assert_eq!(Offer::for_ring0(&cpu).contradiction(), None);
    }
}

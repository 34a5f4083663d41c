//! CPUID read at the wrong moment, from the wrong place, or believed where it should not be.

use conformance::cpus::{self, GENOA, GENOA_WITHOUT_XSAVES, Leaf, RecordedCpu, SAPPHIRE_RAPIDS};
use conformance::machine::Machine;
use conformance::pair::{Pair, observed, visible};
use fpstate::offer::Grantee;
use fpstate::{Offer, SaveInstruction};
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{Component, ComponentSet, Enumeration, Format, Processor, Xcr0, Xss};

/// `kind`'s CPUID, with one leaf changed.
fn with_leaf(
    kind: &RecordedCpu,
    (leaf, subleaf): (u32, u32),
    change: impl Fn(&mut Leaf),
) -> Enumeration {
    let mut leaves = kind.leaves();
    let wanted = leaves
        .iter_mut()
        .find(|found| (found.0, found.1) == (leaf, subleaf));
    change(wanted.expect("the leaf"));
    Enumeration::read(RecordedLeaves(&leaves))
}

/// L16 · 2023 · 2c66ca3949dc · XSAVE was taken to be missing where CR4.OSXSAVE was not set yet when CPUID was read
#[test]
fn xsave_was_taken_to_be_missing_before_the_kernel_had_enabled_it() {
    const OSXSAVE: u32 = 1 << 27;
    for kind in cpus::with_xsave() {
        let early = with_leaf(kind, (1, 0), |leaf| leaf.2.ecx &= !OSXSAVE);
        let enabled = with_leaf(kind, (1, 0), |leaf| leaf.2.ecx |= OSXSAVE);
        assert_eq!(early, enabled, "{}", kind.name);
        let offer = Offer::for_ring0(&early);
        assert_ne!(offer.instructions().save(), SaveInstruction::Fxsave);
    }
}

/// C3 · peers · Redox, the shape of raw-cpuid · the length of an area was read from EBX before XCR0 was set
#[test]
fn a_length_read_before_xcr0_was_set_was_too_short() {
    for kind in cpus::with_xsave() {
        let early = with_leaf(kind, (0xd, 0), |leaf| leaf.2.ebx = 576);
        let usual = kind.enumeration();
        let (early, usual) = (Offer::for_ring0(&early), Offer::for_ring0(&usual));
        assert_eq!(early.contradiction(), None, "{}", kind.name);
        let lens = |offer: &Offer<'_>| {
            let image = offer.image_layout(offer.user_components());
            [offer.guest_layout(), offer.thread_layout(), image].map(|layout| layout.area_len())
        };
        assert_eq!(lens(&early), lens(&usual), "{}", kind.name);
    }
}

/// L42 · 2025 · c8161e5304ab · where there is no component but x87 and SSE, an empty list of components was taken for a failure
///
/// There it truncated a core dump behind the note with the layout.
#[test]
fn a_layout_without_extended_components_was_taken_for_a_failure() {
    let legacy = Xcr0::new(ComponentSet::LEGACY, ComponentSet::LEGACY).unwrap();
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0_with(kind, legacy, Xss::AFTER_RESET);
        let layout = machine.layout(ComponentSet::LEGACY);
        assert_eq!(layout.extended_components().count(), 0);
        assert_eq!(layout.area_len(), 576, "{}", kind.name);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let threads = pair.use_registers(&mut cpu).unwrap();
        pair.run_guest(&mut cpu);
        let found = visible(&mut cpu, &machine);
        assert_eq!(threads.difference(&found), None, "{}", kind.name);
    }
}

/// L48 · 2023 · b0563468eeac · XSAVES of AMD family 17H may lose XMM registers, and was used
///
/// Who knows of the erratum hides XSAVES in the CPUID that the library reads.
#[test]
fn xsaves_was_used_on_a_cpu_on_which_it_loses_registers() {
    let enumeration = GENOA_WITHOUT_XSAVES.enumeration();
    let offer = Offer::for_ring0(&enumeration);
    assert_eq!(offer.instructions().save(), SaveInstruction::Xsavec);
    assert_eq!(offer.guest_layout().format(), Format::Compacted);
    assert_eq!(offer.guest_supervisor(), ComponentSet::EMPTY);
    let machine = Machine::offered(&GENOA_WITHOUT_XSAVES);
    let mut cpu = observed(&GENOA_WITHOUT_XSAVES, &machine, 0);
    let mut pair = Pair::new(&machine);
    let threads = pair.use_registers(&mut cpu).unwrap();
    pair.run_guest(&mut cpu);
    assert_eq!(threads.difference(&visible(&mut cpu, &machine)), None);
}

/// L53 · 2025 · 1937e18cc3cf · a guest's buffer had the length of user components alone, and XSAVES wrote supervisor components behind its end
#[test]
fn a_guests_buffer_had_no_room_for_its_supervisor_components() {
    for kind in [&GENOA, &SAPPHIRE_RAPIDS] {
        let enumeration = kind.enumeration();
        let offer = Offer::for_ring0(&enumeration);
        let layout = offer.layout_with(Grantee::Guests, offer.on_demand());
        let supervisor = layout
            .components()
            .intersection(enumeration.supervisor_components());
        assert!(supervisor.contains(Component::CetS), "{}", kind.name);
        let user = layout.components().difference(supervisor);
        let mut processor = Machine::offered(kind).reader(kind.model());
        processor.xsetbv(Xcr0::new(user, user).unwrap()).unwrap();
        processor
            .write_xss(Xss::new(supervisor, supervisor).unwrap())
            .unwrap();
        let written = processor.cpuid(0xd, 1).ebx;
        assert_eq!(
            u32::try_from(layout.area_len()),
            Ok(written),
            "{}",
            kind.name
        );
        let threads = offer.layout_with(Grantee::Threads, offer.on_demand());
        assert!(threads.area_len() <= layout.area_len(), "{}", kind.name);
    }
}

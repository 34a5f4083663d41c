//! What a kernel offers on each recorded CPU, and that the CPU takes it.

use conformance::cpus::{self, RecordedCpu};
use fpstate::offer::{Grantee, Offer};
use fpstate::{Contradiction, CpuFpu, Identities, LeftOut};
use fpstate_arch::{Component, ComponentSet, Format, Instruction, Processor};
use fpstate_model::Profile;

fn kinds() -> impl Iterator<Item = RecordedCpu> {
    cpus::ALL
        .into_iter()
        .chain(Profile::ALL.iter().copied().map(RecordedCpu::of))
}

#[test]
fn no_recorded_cpu_contradicts_itself() {
    for kind in kinds() {
        let enumeration = kind.enumeration();
        let contradiction = Offer::for_ring0(&enumeration).contradiction();
        assert_eq!(contradiction, None, "{}", kind.name);
    }
}

/// Only what no thread or guest uses is left out, and on Rome PKRU: XCR0 may have it, though the CPU
/// has no protection keys.
#[test]
fn of_a_recorded_cpu_nothing_else_is_left_out() {
    for kind in kinds() {
        let enumeration = kind.enumeration();
        for (component, reason) in Offer::for_ring0(&enumeration).left_out() {
            let expected = match (kind.name, component) {
                ("rome", Component::Pkru) => LeftOut::NotAnnounced,
                (_, Component::Uintr) => LeftOut::ChangedBySaving,
                _ => LeftOut::OfTheProcessor,
            };
            assert_eq!(reason, expected, "{}: {component}", kind.name);
        }
    }
}

#[test]
fn each_recorded_cpu_is_brought_up_with_what_is_offered() {
    let identities = Identities::new();
    for kind in kinds() {
        let enumeration = kind.enumeration();
        let offer = Offer::for_ring0(&enumeration);
        let (instructions, registers) = (offer.instructions(), offer.control_registers());
        let mut cpu = CpuFpu::bring_up(kind.model(), 0, &identities, instructions, registers)
            .unwrap_or_else(|error| panic!("{}: {error}", kind.name));
        assert_eq!(offer.confirm(cpu.processor()), Ok(()), "{}", kind.name);
        let switched = cpu.switched_components();
        let states = offer.layout_with(Grantee::Guests, offer.on_demand());
        assert_eq!(switched, states.components(), "{}", kind.name);
        if enumeration.has(Instruction::Xsave) {
            let enabled = cpu.processor().xgetbv().unwrap();
            assert_eq!(enabled, offer.user_components(), "{}", kind.name);
        }
    }
}

/// Another XCR0 than was offered stands for a CPU whose figures are wrong.
#[test]
fn a_cpu_that_gives_what_is_enabled_another_length_is_not_trusted() {
    let kind = &cpus::GENOA;
    let enumeration = kind.enumeration();
    let offer = Offer::for_ring0(&enumeration);
    let mut processor = kind.model();
    let found = offer.confirm(&mut processor);
    assert!(matches!(found, Err(Contradiction::EnabledLen { .. })));
    let fallback = Offer::fxsave_only(&enumeration);
    assert_eq!(fallback.thread_layout().area_len(), 512);
    assert_eq!(fallback.confirm(&mut processor), Ok(()));
}

#[test]
fn every_state_has_a_layout_without_pkru_and_grows_for_what_is_on_demand() {
    for kind in kinds() {
        let enumeration = kind.enumeration();
        let offer = Offer::for_ring0(&enumeration);
        for grantee in [Grantee::Threads, Grantee::Guests] {
            let small = offer.layout_with(grantee, ComponentSet::EMPTY);
            let grown = offer.layout_with(grantee, offer.on_demand());
            assert_eq!(small.format(), offer.instructions().save().format());
            assert!(!grown.components().contains(Component::Pkru));
            assert!(!grown.components().intersects(offer.independent()));
            assert_eq!(
                grown.components().difference(small.components()),
                offer.on_demand()
            );
            let shrinks = offer.on_demand().is_empty() || small.area_len() < grown.area_len();
            assert!(shrinks, "{}", kind.name);
        }
        let threads = offer.thread_layout().components();
        assert!(!threads.contains(Component::CetS), "{}", kind.name);
        let image = offer.image_layout(offer.user_components());
        let by_cpuid = usize::try_from(enumeration.standard_len()).unwrap();
        assert!(image.format() == Format::Fxsave || image.area_len() <= by_cpuid);
    }
}

#[test]
fn tiles_are_on_demand_where_there_are_any() {
    for kind in kinds() {
        let enumeration = kind.enumeration();
        let offer = Offer::for_ring0(&enumeration);
        let tiles = enumeration
            .components()
            .intersection(ComponentSet::only(Component::TileData));
        assert_eq!(offer.on_demand(), tiles, "{}", kind.name);
        assert_eq!(offer.control_registers().xfd.components(), tiles);
    }
}

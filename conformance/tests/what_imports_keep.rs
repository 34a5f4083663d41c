//! What an import leaves alone: supervisor components, and what its caller keeps elsewhere.

use conformance::contents::Contents;
use conformance::cpus;
use conformance::images::standard_image;
use conformance::machine::Machine;
use conformance::memory::Memory;
use conformance::pair::{Pair, in_memory, observed, visible};
use fpstate::{GuestStateError, ImportError, Layout, StandardImage};
use fpstate_arch::{Component, ComponentSet};

const NOTHING: ComponentSet = ComponentSet::EMPTY;

/// The image of all user components of `values`.
fn image_memory(machine: &Machine, values: &Contents) -> Memory {
    standard_image(&machine.enumeration, values, machine.user_components())
}

fn parse<'b>(machine: &'b Machine, memory: &'b Memory) -> StandardImage<'b> {
    let layout = Layout::standard(&machine.enumeration, machine.user_components());
    StandardImage::parse(memory.bytes(), layout.expect("a layout"), 0xffff).expect("a valid image")
}

/// Also L13.
///
/// Invariant I35. A signal frame would switch its thread's shadow stack off.
#[test]
fn an_import_keeps_the_shadow_stack_whether_it_is_named_or_not() {
    for kind in [cpus::GENOA, cpus::SAPPHIRE_RAPIDS] {
        let machine = Machine::ring0(&kind);
        for kept_elsewhere in [NOTHING, cpus::CET, ComponentSet::only(Component::CetU)] {
            let (mut cpu, mut pair) = (observed(&kind, &machine, 0), Pair::new(&machine));
            let mut expected = pair.use_registers(&mut cpu).unwrap();
            pair.thread.save_before_switch(&mut cpu).unwrap();
            let user = machine.user_components();
            let values = pair.new_values_for(user);
            let memory = image_memory(&machine, &values);
            let area = pair.thread.edit_own().unwrap();
            area.import(&parse(&machine, &memory), kept_elsewhere)
                .unwrap();
            expected.take_all_of(user, &values);
            let found = in_memory(&kind, &machine, pair.thread.own());
            assert_eq!(expected.difference(&found), None, "{}", kind.name);
            pair.thread.restore_before_use(&mut cpu).unwrap();
            assert_eq!(expected.difference(&visible(&mut cpu, &machine)), None);
        }
    }
}

/// Live or initial, in the area and in the image: all four.
#[test]
fn an_import_leaves_what_is_kept_elsewhere_alone() {
    let kept = ComponentSet::only(Component::Avx);
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let everything = machine.components();
        for before in [everything, everything.difference(kept)] {
            for live in [machine.user_components(), ComponentSet::LEGACY] {
                let mut pair = Pair::new(&machine);
                let mut expected = pair.new_values_for(before);
                let mut cpu = observed(kind, &machine, 0);
                pair.thread.restore_before_use(&mut cpu).unwrap();
                conformance::pair::write(&mut cpu, &expected);
                pair.thread.save_before_switch(&mut cpu).unwrap();
                let values = pair.new_values_for(live);
                let memory = standard_image(&machine.enumeration, &values, live);
                let area = pair.thread.edit_own().unwrap();
                area.import(&parse(&machine, &memory), kept).unwrap();
                expected.take_all_of(machine.user_components().difference(kept), &values);
                let found = in_memory(kind, &machine, pair.thread.own());
                assert_eq!(expected.difference(&found), None, "{}", kind.name);
            }
        }
    }
}

#[test]
fn x87_and_sse_cannot_be_kept_elsewhere_and_nothing_is_changed() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let guests = pair.run_guest(&mut cpu);
        let memory = image_memory(&machine, &machine.initial_contents());
        let image = parse(&machine, &memory);
        for component in [Component::X87, Component::Sse] {
            let found = ComponentSet::only(component).with(Component::Avx);
            let refused = ImportError::LegacyKeptElsewhere { found };
            let imported = pair.guest.import(&image, found);
            assert_eq!(imported, Err(GuestStateError::Import(refused)));
        }
        let state = pair.guest.fpstate().unwrap();
        assert_eq!(in_memory(kind, &machine, state), guests, "{}", kind.name);
    }
}

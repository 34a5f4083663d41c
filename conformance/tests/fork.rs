//! Fork: what a child has of its parent.

use conformance::contents::Contents;
use conformance::cpus;
use conformance::images::standard_image;
use conformance::machine::Machine;
use conformance::pair::{Observed, Pair, in_memory, observed, visible};
use conformance::user_code::UserCode;
use fastrand::Rng;
use fpstate::{
    BoxedArea, ControlRegisters, CpuFpu, ForkError, Fpstate, ImportError, Layout, Restore,
    Restoring, StandardImage, SwitchError, ThreadFpu,
};
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{Component, ComponentSet, Enumeration, Mxcsr, Processor, Xcr0, Xfd, Xss};

/// `test` on every kind of CPU.
fn on_every_cpu(test: impl Fn(&cpus::RecordedCpu, &Machine, CpuFpu<Observed>, Pair<'_>)) {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        test(
            kind,
            &machine,
            observed(kind, &machine, 0),
            Pair::new(&machine),
        );
    }
}

#[test]
fn a_child_begins_with_its_parents_registers_but_for_on_demand_ones_and_the_parent_keeps_them() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let parents = pair.use_registers(&mut cpu).unwrap();
        let state = pair.new_state();
        let mut child = pair.thread.fork(&mut cpu, state).unwrap();
        let mut inherited = parents;
        inherited.initialise(machine.on_demand_components());
        let found = in_memory(kind, machine, child.own());
        assert_eq!(inherited.difference(&found), None, "{}", kind.name);
        let switch = pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(switch.restore, Restore::AlreadyInRegisters);
        let later = pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        child.restore_before_use(&mut cpu).unwrap();
        assert_eq!(inherited.difference(&visible(&mut cpu, machine)), None);
        child.save_before_switch(&mut cpu).unwrap();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(later.difference(&visible(&mut cpu, machine)), None);
    });
}

/// L44 · 2025 · 5d3b81d4d852, 2d299e3d773d · fork copied more than the parent's object had
///
/// The child is not for this CPU: only tiles could be without room here.
#[test]
fn a_child_with_less_room_begins_with_what_has_room() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let parents = pair.use_registers(&mut cpu).unwrap();
        let state = pair.new_state_for(ComponentSet::LEGACY);
        let child = pair.thread.fork(&mut cpu, state).unwrap();
        let mut expected = parents;
        expected.initialise(machine.components().difference(ComponentSet::LEGACY));
        assert_eq!(in_memory(kind, machine, child.own()), expected);
    });
}

/// The child is for another CPU, whose AVX has another length; no such CPU is known.
#[test]
fn a_child_whose_room_for_a_component_has_another_length_is_refused() {
    let kind = &cpus::GENOA;
    let machine = Machine::ring0(kind);
    let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
    pair.use_registers(&mut cpu).unwrap();
    let mut leaves = kind.leaves();
    for (leaf, subleaf, registers) in &mut leaves {
        if (*leaf, *subleaf) == (0xd, 2) {
            registers.eax = 128;
        }
    }
    let other = Enumeration::read(RecordedLeaves(&leaves));
    let avx = ComponentSet::LEGACY.with(Component::Avx);
    let layout = Layout::compacted(&other, avx).unwrap();
    let memory = BoxedArea::for_layout(&layout).unwrap();
    let child = Fpstate::new(layout, memory, machine.identities()).unwrap();
    let forked = pair
        .thread
        .fork(&mut cpu, child)
        .map_err(|(error, _)| error);
    let refused = ForkError::TakeOver(ImportError::Length {
        component: Component::Avx,
        found: 256,
        needed: 128,
    });
    assert_eq!(forked.err(), Some(refused));
}

/// A compacted area has an MXCSR only along with SSE (SDM 1, 13.8.2), and SSE is initial here.
#[test]
fn a_child_has_its_parents_mxcsr_though_no_component_is_live() {
    let flush_to_zero = Mxcsr::from_bits(0x9f80);
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.thread.restore_before_use(&mut cpu).unwrap();
        cpu.processor().ldmxcsr(flush_to_zero).unwrap();
        let state = pair.new_state();
        let child = pair.thread.fork(&mut cpu, state).unwrap();
        let mut expected = machine.initial_contents();
        expected.set_mxcsr(flush_to_zero);
        let found = in_memory(kind, machine, child.own());
        assert_eq!(expected.difference(&found), None, "{}", kind.name);
    });
}

#[test]
fn a_child_in_a_compacted_area_has_the_mxcsr_of_a_parent_in_a_standard_one() {
    let machine = Machine::ring0(&cpus::GENOA_WITHOUT_XSAVES);
    let (enumeration, everything) = (&machine.enumeration, machine.components());
    let mut cpu = observed(&cpus::GENOA_WITHOUT_XSAVES, &machine, 0);
    let mut values = machine.initial_contents();
    values.set_mxcsr(Mxcsr::from_bits(0x9f80));
    let layout = Layout::standard(enumeration, everything).unwrap();
    let memory = BoxedArea::for_layout(&layout).unwrap();
    let mut state = Fpstate::new(layout, memory, machine.identities()).unwrap();
    let image = standard_image(enumeration, &values, ComponentSet::EMPTY);
    let image = StandardImage::parse(image.bytes(), layout, 0xffff).unwrap();
    state.import(&image, ComponentSet::EMPTY).unwrap();
    let child = machine.state(everything, machine.memory());
    let mut child = ThreadFpu::new(state).fork(&mut cpu, child).unwrap();
    child.restore_before_use(&mut cpu).unwrap();
    assert_eq!(values.difference(&visible(&mut cpu, &machine)), None);
}

/// A PASID belongs to the thread that asked for it, tile data to a function.
#[test]
fn a_child_does_not_have_its_parents_pasid_and_tile_data() {
    let kind = &cpus::SAPPHIRE_RAPIDS;
    let machine = Machine::ring0(kind);
    let supervisor = ComponentSet::only(Component::Pasid).union(cpus::CET);
    let everything = machine.user_components().union(supervisor);
    let user = machine.user_components();
    let registers = ControlRegisters {
        xcr0: Xcr0::new(user, user).unwrap(),
        xss: Xss::new(supervisor, supervisor).unwrap(),
        xfd: Xfd::NOTHING,
    };
    let (identities, instructions) = (machine.identities(), machine.instructions());
    let mut cpu = CpuFpu::bring_up(kind.model(), 0, identities, instructions, registers).unwrap();
    let layout = machine.layout(everything);
    let new_state = || {
        let memory = BoxedArea::for_layout(&layout).unwrap();
        Fpstate::new(layout, memory, identities).unwrap()
    };
    let mut parent = ThreadFpu::new(new_state());
    parent.restore_before_use(&mut cpu).unwrap();
    let mut values = Contents::initial(&machine.enumeration, everything);
    let mut random = Rng::with_seed(5);
    while values.not_initial() != everything {
        values.write_all(everything, &mut random, machine.error_pointers);
    }
    cpu.processor().write_all(everything, &values);
    let mut child = parent.fork(&mut cpu, new_state()).unwrap();
    child.restore_before_use(&mut cpu).unwrap();
    values.initialise(ComponentSet::only(Component::Pasid).with(Component::TileData));
    let found = cpu.processor().contents(everything);
    assert_eq!(values.difference(&found), None);
}

#[test]
fn a_child_of_a_thread_in_a_guest_has_nothing_of_the_guest() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let mut inherited = pair.use_registers(&mut cpu).unwrap();
        inherited.initialise(machine.on_demand_components());
        let now = Restoring::Now;
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        let guests = pair.use_registers(&mut cpu).unwrap();
        let state = pair.new_state();
        let child = pair.thread.fork(&mut cpu, state).unwrap();
        let found = in_memory(kind, machine, child.own());
        assert_eq!(inherited.difference(&found), None);
        assert_eq!(child.running_guest(), None);
        assert_eq!(guests.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_fork_on_the_wrong_cpu_is_refused_with_the_childs_memory() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        let mut there = observed(kind, machine, 1);
        let state = pair.new_state();
        let id = state.id();
        let (error, given_back) = pair.thread.fork(&mut there, state).unwrap_err();
        assert!(matches!(
            error,
            ForkError::Save(SwitchError::InRegistersOf { .. })
        ));
        assert_eq!(given_back.id(), id);
    });
}

//! States that a CPU could not save whole are refused before it takes them, not when it is too late.

use conformance::cpus::{self, RecordedCpu};
use conformance::intercept::Executed;
use conformance::machine::Machine;
use conformance::pair::{Observed, Pair, observed, visible, write};
use fpstate::switch::RegisterContent;
use fpstate::{
    BoxedArea, CpuFpu, EnterError, Fpstate, GuestFpu, Layout, Restoring, SwitchError,
    SwitchInstructions, ThreadFpu,
};
use fpstate_arch::{Component, ComponentSet, Format, Processor, Xfd};

const BOTH: [Restoring; 2] = [Restoring::Now, Restoring::Deferred];
const TILE_DATA: ComponentSet = ComponentSet::only(Component::TileData);

/// A state of `layout`, whatever the machine switches with.
fn state_of<'e>(machine: &'e Machine, layout: Layout<'e>) -> Fpstate<'e, BoxedArea> {
    let memory = BoxedArea::for_layout(&layout).expect("memory");
    Fpstate::new(layout, memory, machine.identities()).expect("memory that does")
}

/// Neither a thread nor a guest with this state gets into `cpu`'s registers, now or later.
fn assert_refused<'e>(
    cpu: &mut CpuFpu<Observed>,
    pair: &mut Pair<'e>,
    state: impl Fn() -> Fpstate<'e, BoxedArea>,
    refused: SwitchError,
) {
    cpu.processor().take_trace();
    let mut thread = ThreadFpu::new(state());
    assert_eq!(thread.restore_before_use(cpu), Err(refused));
    let mut guest = GuestFpu::new(state());
    for restoring in BOTH {
        let entered = pair.thread.enter_guest(&mut guest, cpu, restoring);
        assert_eq!(entered, Err(EnterError::Switch(refused)), "{restoring:?}");
        assert!(guest.fpstate().is_some());
    }
    assert_eq!(cpu.processor().take_trace(), []);
}

fn each_kind_with_xsave() -> impl Iterator<Item = (&'static RecordedCpu, Machine)> {
    cpus::with_xsave()
        .iter()
        .map(|kind| (kind, Machine::ring0(kind)))
}

/// What user code writes into a component without room would be lost at the next save.
#[test]
fn a_state_without_room_for_what_xfd_cannot_disable_is_refused_and_names_it() {
    for (kind, machine) in each_kind_with_xsave() {
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let threads = pair.use_registers(&mut cpu).unwrap();
        for component in machine.least_components().iter() {
            let found = machine.components().without(component);
            let refused = SwitchError::NoRoom {
                cpu: cpu.id(),
                found,
                missing: ComponentSet::only(component),
            };
            let memory = || machine.memory();
            let state = || machine.state(found, memory());
            assert_refused(&mut cpu, &mut pair, state, refused);
        }
        assert_eq!(threads.difference(&visible(&mut cpu, &machine)), None);
    }
}

#[test]
fn a_state_with_room_for_x87_and_sse_alone_is_refused_where_there_is_more() {
    for (kind, machine) in each_kind_with_xsave() {
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let found = ComponentSet::LEGACY;
        let refused = SwitchError::NoRoom {
            cpu: cpu.id(),
            found,
            missing: machine.least_components().difference(found),
        };
        let state = || machine.state(found, machine.memory());
        assert_refused(&mut cpu, &mut pair, state, refused);
    }
}

#[test]
fn a_state_with_room_for_what_the_cpu_has_not_enabled_is_refused_now_and_later() {
    let kind = &cpus::SAPPHIRE_RAPIDS;
    let machine = Machine::ring0(kind);
    let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
    let found = machine.components().with(Component::Uintr);
    let layout = machine.layout(found);
    let refused = SwitchError::NotEnabled {
        cpu: cpu.id(),
        found,
        enabled: machine.components(),
    };
    assert_refused(&mut cpu, &mut pair, || state_of(&machine, layout), refused);
}

/// XRSTOR would take it; the first save would write another format over it.
#[test]
fn a_state_of_another_format_than_the_cpu_saves_in_is_refused_before_it_is_used() {
    for (kind, machine) in each_kind_with_xsave() {
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let needed = machine.instructions().save().format();
        let (enumeration, user) = (&machine.enumeration, machine.user_components());
        let mut layouts = vec![Layout::fxsave(enumeration).unwrap()];
        match needed {
            Format::Compacted => layouts.push(Layout::standard(enumeration, user).unwrap()),
            Format::Standard | Format::Fxsave => {}
        }
        for layout in layouts {
            let refused = SwitchError::OtherFormat {
                cpu: cpu.id(),
                found: layout.format(),
                needed,
            };
            assert_refused(&mut cpu, &mut pair, || state_of(&machine, layout), refused);
        }
    }
}

/// FXSAVE would write 512 bytes, and XSTATE_BV would go on saying that nothing is live.
#[test]
fn a_standard_area_is_not_switched_with_fxsave() {
    let machine = Machine::ring0(&cpus::HASWELL);
    let instructions = SwitchInstructions::for_ring0(&cpus::FXSAVE_ONLY.enumeration());
    let identities = machine.identities();
    let mut cpu = CpuFpu::adopt(cpus::HASWELL.model(), 0, identities, instructions).unwrap();
    let mut thread = ThreadFpu::new(machine.state(ComponentSet::LEGACY, machine.memory()));
    let refused = SwitchError::OtherFormat {
        cpu: cpu.id(),
        found: Format::Standard,
        needed: Format::Fxsave,
    };
    assert_eq!(thread.restore_before_use(&mut cpu), Err(refused));
    assert_eq!(cpu.registers(), RegisterContent::Nobody);
}

fn xfd_of(disabled: ComponentSet) -> Xfd {
    Xfd::new(disabled, TILE_DATA).expect("a legal IA32_XFD")
}

/// Invariant I13: nothing can be used that could not be saved.
#[test]
fn a_state_disables_what_it_has_no_room_for_and_nothing_else() {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let can_be_disabled = machine.enumeration.xfd_components();
        for room in [machine.components(), machine.least_components()] {
            let state = machine.state(room, machine.memory());
            let expected = can_be_disabled.difference(room);
            assert_eq!(state.xfd().components(), expected, "{}", kind.name);
        }
    }
}

#[test]
fn xfd_armed_at_bring_up_stays_armed_for_a_state_without_room_for_tiles() {
    let kind = &cpus::SAPPHIRE_RAPIDS;
    let machine = Machine::ring0(kind);
    let mut cpu = observed(kind, &machine, 0);
    let room = machine.components().without(Component::TileData);
    let mut thread = ThreadFpu::new(machine.state(room, machine.memory()));
    let switch = thread.restore_before_use(&mut cpu).unwrap();
    assert_eq!(switch.xfd, None);
    assert_eq!(cpu.processor().read_xfd(), Ok(TILE_DATA));
}

#[test]
fn tiles_are_disabled_while_a_state_without_room_for_them_runs_and_kept_for_the_one_with_room() {
    let kind = &cpus::SAPPHIRE_RAPIDS;
    let machine = Machine::ring0(kind);
    let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
    let room = machine.components().without(Component::TileData);
    let mut small = GuestFpu::new(machine.state(room, machine.memory()));
    let threads = pair.use_registers(&mut cpu).unwrap();
    cpu.processor().take_trace();
    let now = Restoring::Now;
    pair.thread.enter_guest(&mut small, &mut cpu, now).unwrap();
    let instructions = machine.instructions();
    let all = machine.components();
    let restore = Executed::Restore(instructions.restore(), all);
    let expected = [
        // While XFD is still the thread's own (invariant I11).
        Executed::Save(instructions.save(), all),
        Executed::WriteXfd(xfd_of(TILE_DATA)),
        restore,
    ];
    assert_eq!(cpu.processor().take_trace(), expected);
    let initial = machine.initial_contents();
    assert_eq!(initial.difference(&visible(&mut cpu, &machine)), None);
    let guests = pair.new_values_for(room);
    write(&mut cpu, &guests);
    cpu.processor().take_trace();
    pair.thread.leave_guest(&mut small, &mut cpu, now).unwrap();
    let expected = [
        Executed::Save(instructions.save(), room),
        Executed::WriteXfd(Xfd::NOTHING),
        restore,
    ];
    assert_eq!(cpu.processor().take_trace(), expected);
    assert_eq!(threads.difference(&visible(&mut cpu, &machine)), None);
    pair.thread.enter_guest(&mut small, &mut cpu, now).unwrap();
    assert_eq!(guests.difference(&visible(&mut cpu, &machine)), None);
}

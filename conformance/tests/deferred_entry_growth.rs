//! Growth, release and IA32_XFD while an entry into a guest is deferred: which state IA32_XFD is for.

use conformance::contents::Contents;
use conformance::machine::Machine;
use conformance::on_demand::{
    KIND, TILE_DATA, assert_shadow, cpu, memory_for, permissions, small_pair, threads_components,
    use_all, use_tiles, xfd,
};
use conformance::pair::{Pair, in_memory, visible};
use fpstate::{
    AreaStorage, CpuFpu, DeviceNotAvailable, Expansion, MoveError, Offer, Residence, ResizeError,
    Restoring, SwitchError,
};
use fpstate_arch::{ComponentSet, Fault, Processor, Xfd};
use fpstate_model::ModelCpu;

const NOW: Restoring = Restoring::Now;
const LATER: Restoring = Restoring::Deferred;

/// A thread that used everything but tiles, and asked for those.
fn asked(machine: &Machine) -> (Pair<'_>, CpuFpu<ModelCpu>, Expansion<'_>, Contents) {
    let (mut pair, mut cpu) = (small_pair(machine), cpu(machine, 0));
    pair.thread.restore_before_use(&mut cpu).unwrap();
    use_all(&mut pair, &mut cpu, threads_components(machine));
    let found = use_tiles(cpu.processor(), 1);
    assert_eq!(found, Err(Fault::DeviceNotAvailable));
    let permissions = permissions(&Offer::for_ring0(&machine.enumeration));
    let answer = pair.thread.device_not_available(&mut cpu, &permissions);
    let Ok(DeviceNotAvailable::Expand(expansion)) = answer else {
        panic!("{answer:?}");
    };
    let own = visible(&mut cpu, machine);
    (pair, cpu, expansion, own)
}

fn enter(pair: &mut Pair<'_>, cpu: &mut CpuFpu<ModelCpu>) {
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    thread.enter_guest(guest, cpu, LATER).unwrap();
    let here = Residence::Registers(cpu.id());
    assert_eq!(thread.own().residence(), here);
}

fn leave(pair: &mut Pair<'_>, cpu: &mut CpuFpu<ModelCpu>) {
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    thread.leave_guest(guest, cpu, NOW).unwrap();
}

/// The own state has grown, and the entry is deferred.
fn grown(machine: &Machine) -> (Pair<'_>, CpuFpu<ModelCpu>) {
    let (mut pair, mut cpu, expansion, _) = asked(machine);
    let larger = machine.memory();
    pair.thread.expand(expansion, &mut cpu, larger).unwrap();
    use_tiles(cpu.processor(), 5).unwrap();
    enter(&mut pair, &mut cpu);
    (pair, cpu)
}

fn register(cpu: &mut CpuFpu<ModelCpu>) -> ComponentSet {
    assert_shadow(cpu);
    cpu.processor().read_xfd().unwrap()
}

#[test]
fn the_own_state_grows_in_the_registers_and_ia32_xfd_is_written_at_once() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut cpu, expansion, own) = asked(&machine);
    enter(&mut pair, &mut cpu);
    assert_eq!(register(&mut cpu), TILE_DATA);
    let larger = machine.memory();
    pair.thread.expand(expansion, &mut cpu, larger).unwrap();
    assert_eq!(register(&mut cpu), ComponentSet::EMPTY);
    let here = Residence::Registers(cpu.id());
    assert_eq!(pair.thread.own().residence(), here);
    leave(&mut pair, &mut cpu);
    assert_eq!(own.difference(&visible(&mut cpu, &machine)), None);
    use_tiles(cpu.processor(), 2).unwrap();
    let used = visible(&mut cpu, &machine);
    pair.thread.save_before_switch(&mut cpu).unwrap();
    assert_eq!(in_memory(&KIND, &machine, pair.thread.own()), used);
}

#[test]
fn the_own_state_does_not_grow_on_another_cpu_than_the_one_that_has_it() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut here, expansion, _) = asked(&machine);
    enter(&mut pair, &mut here);
    let mut there = cpu(&machine, 1);
    let larger = machine.memory();
    let grown = pair.thread.expand(expansion, &mut there, larger);
    let refused = ResizeError::Switch(SwitchError::InRegistersOf {
        state: pair.thread.own().id(),
        cpu: here.id(),
        here: there.id(),
    });
    assert_eq!(grown.err().map(|(error, _)| error), Some(refused));
    assert_eq!(pair.thread.own().grown_by(), ComponentSet::EMPTY);
    for cpu in [&mut here, &mut there] {
        assert_eq!(register(cpu), TILE_DATA);
    }
}

#[test]
fn a_growth_without_memory_puts_the_own_states_ia32_xfd_back() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut cpu, expansion, _) = asked(&machine);
    enter(&mut pair, &mut cpu);
    let too_small = memory_for(&machine, threads_components(&machine));
    let grown = pair.thread.expand(expansion, &mut cpu, too_small);
    assert!(matches!(grown, Err((ResizeError::Move(_), _))), "{grown:?}");
    assert_eq!(register(&mut cpu), TILE_DATA);
}

/// IA32_XFD is the own state's, whose registers these are.
#[test]
fn the_guest_grows_in_memory_and_ia32_xfd_is_not_touched() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut cpu, _, _) = asked(&machine);
    let expansion = pair.guest.expansion(TILE_DATA).unwrap();
    enter(&mut pair, &mut cpu);
    let larger = machine.memory();
    pair.thread.expand(expansion, &mut cpu, larger).unwrap();
    assert_eq!(register(&mut cpu), TILE_DATA);
    assert_eq!(pair.thread.active().grown_by(), TILE_DATA);
    pair.thread.restore_before_use(&mut cpu).unwrap();
    assert_eq!(register(&mut cpu), ComponentSet::EMPTY);
    leave(&mut pair, &mut cpu);
    assert_eq!(register(&mut cpu), TILE_DATA);
}

#[test]
fn a_guests_ia32_xfd_that_is_emulated_reaches_the_register_with_its_state() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut cpu) = grown(&machine);
    let (thread, guest) = (&mut pair.thread, &pair.guest);
    let written = thread.write_guest_xfd(guest, &mut cpu, TILE_DATA);
    written.unwrap();
    assert_eq!(register(&mut cpu), ComponentSet::EMPTY);
    thread.restore_before_use(&mut cpu).unwrap();
    assert_eq!(register(&mut cpu), TILE_DATA);
    assert_eq!(thread.own().xfd(), Xfd::NOTHING);
    assert_eq!(thread.active().xfd(), xfd(TILE_DATA));
}

#[test]
fn tiles_that_are_live_in_the_registers_are_not_given_back() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut cpu) = grown(&machine);
    let used = visible(&mut cpu, &machine);
    let smaller = memory_for(&machine, threads_components(&machine));
    let released = pair.thread.release(&mut cpu, smaller);
    let live = matches!(
        released,
        Err((ResizeError::Move(MoveError::Live { .. }), _))
    );
    assert!(live, "{released:?}");
    assert_eq!(in_memory(&KIND, &machine, pair.thread.own()), used);
    leave(&mut pair, &mut cpu);
    assert_eq!(used.difference(&visible(&mut cpu, &machine)), None);
}

#[test]
fn a_release_saves_the_own_state_first_and_keeps_the_rest_of_it() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut cpu) = grown(&machine);
    leave(&mut pair, &mut cpu);
    cpu.processor().tilerelease().unwrap();
    let rest = visible(&mut cpu, &machine);
    enter(&mut pair, &mut cpu);
    let smaller = memory_for(&machine, threads_components(&machine));
    let former = pair.thread.release(&mut cpu, smaller).unwrap();
    assert_eq!(former.bytes().len(), machine.memory().bytes().len());
    assert_eq!(pair.thread.own().grown_by(), ComponentSet::EMPTY);
    leave(&mut pair, &mut cpu);
    assert_eq!(rest.difference(&visible(&mut cpu, &machine)), None);
    assert_eq!(register(&mut cpu), TILE_DATA);
}

#[test]
fn a_release_on_another_cpu_than_the_one_that_has_it_is_refused() {
    let machine = Machine::offered(&KIND);
    let (mut pair, here) = grown(&machine);
    let mut there = cpu(&machine, 1);
    let smaller = memory_for(&machine, threads_components(&machine));
    let released = pair.thread.release(&mut there, smaller);
    let refused = ResizeError::Switch(SwitchError::InRegistersOf {
        state: pair.thread.own().id(),
        cpu: here.id(),
        here: there.id(),
    });
    assert_eq!(released.err().map(|(error, _)| error), Some(refused));
    assert_eq!(pair.thread.own().grown_by(), TILE_DATA);
}

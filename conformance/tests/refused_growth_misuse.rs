//! What a kernel could do wrong with states that grow: each is refused with its reason, the memory
//! that was lent comes back, and nothing else is changed.

use conformance::contents::Contents;
use conformance::faulting::Victim;
use conformance::intercept::Intercept;
use conformance::machine::Machine;
use conformance::memory::Memory;
use conformance::on_demand::{
    KIND, TILE_DATA, assert_shadow, cpu, guest_of, guests_components, permissions, small_pair,
    threads_components, use_all, use_tiles, xfd,
};
use conformance::pair::{Pair, in_memory, observed, visible};
use fpstate::{
    AreaError, AreaStorage, BoxedArea, CpuFpu, DeviceNotAvailable, Expansion, Fpstate,
    GuestFeatures, GuestFpu, GuestRegisterError, GuestStateError, MoveError, Offer, Permissions,
    ResizeError, Restoring, SwitchError, ThreadFpu,
};
use fpstate_arch::{Component, ComponentSet, Fault, Processor, Xcr0, XfdErr, Xss};
use fpstate_model::ModelCpu;

const NOW: Restoring = Restoring::Now;

/// The thread is in `cpu`'s registers with values in all but tiles; it needs `Expansion` for those.
fn thread_without_room<'e>(
    machine: &'e Machine,
    cpu: &mut CpuFpu<ModelCpu>,
) -> (Pair<'e>, Expansion<'e>, Contents) {
    let mut pair = small_pair(machine);
    pair.thread.restore_before_use(cpu).expect("its registers");
    let values = use_all(&mut pair, cpu, threads_components(machine));
    cpu.processor()
        .write_xfd_err(XfdErr::from_components(TILE_DATA))
        .expect("IA32_XFD_ERR");
    let offer = Offer::for_ring0(&machine.enumeration);
    let needed = pair
        .thread
        .device_not_available(cpu, &permissions(&offer))
        .expect("a remedy");
    match needed {
        DeviceNotAvailable::Expand(expansion) => (pair, expansion, values),
        DeviceNotAvailable::OtherCause | DeviceNotAvailable::Retry => panic!("{needed:?}"),
    }
}

/// The same with room, and tiles in use.
fn thread_with_tiles<'e>(
    machine: &'e Machine,
    cpu: &mut CpuFpu<ModelCpu>,
) -> (Pair<'e>, Expansion<'e>, Contents) {
    let (mut pair, expansion, _) = thread_without_room(machine, cpu);
    let memory = machine.memory();
    pair.thread.expand(expansion, cpu, memory).expect("growth");
    use_tiles(cpu.processor(), 0x5a).expect("tiles");
    let values = visible(cpu, machine);
    (pair, expansion, values)
}

fn address(memory: &impl AreaStorage) -> usize {
    memory.bytes().as_ptr().addr()
}

/// `refused` is `error`, and gave back the memory at `lent`.
fn assert_refused(
    refused: Result<BoxedArea, (ResizeError, BoxedArea)>,
    error: ResizeError,
    lent: usize,
) {
    let (found, memory) = refused.expect_err("a refusal");
    assert_eq!(found, error);
    assert_eq!(address(&memory), lent, "other memory came back");
}

/// The thread still is in the registers, with these values, and comes back with them from memory.
fn assert_keeps(pair: &mut Pair<'_>, cpu: &mut CpuFpu<ModelCpu>, values: &Contents) {
    let machine = pair.machine;
    assert_shadow(cpu);
    pair.thread.restore_before_use(cpu).expect("its registers");
    assert_shadow(cpu);
    assert_eq!(values.difference(&visible(cpu, machine)), None);
    pair.thread.save_before_switch(cpu).expect("a save");
    let found = in_memory(&KIND, machine, pair.thread.own());
    assert_eq!(values.difference(&found), None);
}

#[test]
fn what_a_guest_is_not_offered_it_cannot_enable_disable_or_grow_for() {
    let machine = Machine::offered(&KIND);
    let offer = Offer::for_ring0(&machine.enumeration);
    let permit = Permissions::new(&offer).freeze_guests();
    let avx = ComponentSet::LEGACY.with(Component::Avx);
    let nothing = ComponentSet::EMPTY;
    let features = GuestFeatures::new(&offer, permit, avx, nothing).unwrap();
    let mut pair = small_pair(&machine);
    let state = pair.new_state_for(guests_components(&machine));
    let mut guest = GuestFpu::offered(state, features)
        .map_err(|(e, _)| e)
        .unwrap();
    let einval = |written: Result<(), GuestRegisterError>| {
        let error = written.unwrap_err();
        assert_eq!(error.errno().number(), 22, "{error}");
        error
    };
    let tiles = avx.union(ComponentSet::TILES);
    let error = einval(guest.write_xcr0(tiles));
    assert!(matches!(error, GuestRegisterError::Xcr0(_)));
    let error = einval(guest.xsetbv(1, 1));
    assert_eq!(error, GuestRegisterError::NoSuchXcr { found: 1 });
    let error = einval(guest.write_xss(ComponentSet::only(Component::CetU)));
    assert!(matches!(error, GuestRegisterError::Xss(_)));
    for error in [guest.write_xfd(TILE_DATA), guest.write_xfd_err(TILE_DATA)] {
        assert!(matches!(einval(error), GuestRegisterError::Xfd(_)));
    }
    let refused = guest.expansion(TILE_DATA).map(|_| ()).unwrap_err();
    let (found, offered) = (TILE_DATA, nothing);
    assert_eq!(refused, ResizeError::NotOffered { found, offered });
    let mut cpu = cpu(&machine, 0);
    pair.thread.enter_guest(&mut guest, &mut cpu, NOW).unwrap();
    let written = pair.thread.write_guest_xfd(&guest, &mut cpu, TILE_DATA);
    assert!(matches!(einval(written), GuestRegisterError::Xfd(_)));
    assert_eq!(pair.thread.guest_xfd(&guest).unwrap().components(), nothing);
    assert_eq!(
        (guest.xcr0(), guest.xss()),
        (Xcr0::AFTER_RESET, Xss::AFTER_RESET)
    );
    assert_eq!(guest.xfd_err(), XfdErr::NOTHING);
    assert_eq!(
        cpu.processor().read_xfd(),
        Ok(TILE_DATA),
        "the host's arming"
    );
}

#[test]
fn an_expansion_of_another_state_grows_nothing() {
    let machine = Machine::offered(&KIND);
    let mut cpu = cpu(&machine, 0);
    let (mut pair, threads, values) = thread_without_room(&machine, &mut cpu);
    let guests = pair.guest.expansion(TILE_DATA).unwrap();
    let (thread, guest) = (threads.state(), guests.state());
    let memory = machine.memory();
    let lent = address(&memory);
    let refused = pair.thread.expand(guests, &mut cpu, memory);
    let (found, asked) = (thread, guest);
    assert_refused(refused, ResizeError::OtherState { found, asked }, lent);
    let memory = machine.memory();
    let lent = address(&memory);
    let refused = pair.guest.expand(threads, memory);
    let (found, asked) = (guest, thread);
    assert_refused(refused, ResizeError::OtherState { found, asked }, lent);
    assert_eq!(cpu.processor().read_xfd(), Ok(TILE_DATA));
    assert_keeps(&mut pair, &mut cpu, &values);
}

#[test]
fn an_expansion_to_what_the_state_has_grown_to_already_is_refused() {
    let machine = Machine::offered(&KIND);
    let mut cpu = cpu(&machine, 0);
    let (mut pair, expansion, values) = thread_with_tiles(&machine, &mut cpu);
    let found = threads_components(&machine).union(TILE_DATA);
    let (memory, planned) = (machine.memory(), found);
    let lent = address(&memory);
    let refused = pair.thread.expand(expansion, &mut cpu, memory);
    assert_refused(refused, ResizeError::Outgrown { found, planned }, lent);
    assert_keeps(&mut pair, &mut cpu, &values);

    let expansion = pair.guest.expansion(TILE_DATA).unwrap();
    pair.guest.expand(expansion, machine.memory()).unwrap();
    let found = guests_components(&machine).union(TILE_DATA);
    let (memory, planned) = (machine.memory(), found);
    let lent = address(&memory);
    let refused = pair.guest.expand(expansion, memory);
    assert_refused(refused, ResizeError::Outgrown { found, planned }, lent);
}

/// A guest in `memory` that runs in the registers of a CPU.
#[test]
fn memory_that_is_too_short_or_misaligned_is_given_back_and_xfd_stays_as_it_was() {
    let machine = Machine::offered(&KIND);
    let grown = machine.layout(guests_components(&machine).union(TILE_DATA));
    let needed = grown.area_len();
    let (mut own, mut guests) = (Memory::zeroed(needed), Memory::zeroed(needed));
    let (mut short_one, mut lent) = (Memory::zeroed(needed), Memory::zeroed(needed + 64));
    let small = machine.layout(guests_components(&machine));
    let state = |bytes| {
        Fpstate::new(small, bytes, machine.identities())
            .map_err(|refused| refused.error)
            .unwrap()
    };
    let mut cpu = cpu(&machine, 0);
    let mut thread = ThreadFpu::new(state(own.bytes_mut()));
    let mut guest = guest_of(&machine, state(guests.bytes_mut()));
    let expansion = guest.expansion(TILE_DATA).unwrap();
    thread.enter_guest(&mut guest, &mut cpu, NOW).unwrap();
    let values = use_all(&mut small_pair(&machine), &mut cpu, small.components());
    let (found, address) = (needed - 1, lent.bytes()[16..].as_ptr().addr());
    let bytes = short_one.bytes_mut();
    let short = AreaError::TooShort { found, needed };
    let misaligned = AreaError::Misaligned { address };
    let (error, bytes) = thread
        .expand(expansion, &mut cpu, &mut bytes[..found])
        .unwrap_err();
    assert_eq!(
        (error, bytes.len()),
        (ResizeError::Move(MoveError::Area(short)), found)
    );
    assert_shadow(&mut cpu);
    let bytes = &mut lent.bytes_mut()[16..];
    let (error, bytes) = thread.expand(expansion, &mut cpu, bytes).unwrap_err();
    assert_eq!(error, ResizeError::Move(MoveError::Area(misaligned)));
    assert_eq!(bytes.as_ptr().addr(), address);
    assert_shadow(&mut cpu);
    assert_eq!(cpu.processor().read_xfd(), Ok(TILE_DATA));
    let later = Restoring::Deferred;
    thread.leave_guest(&mut guest, &mut cpu, later).unwrap();
    let (error, bytes) = guest.expand(expansion, bytes).unwrap_err();
    assert_eq!(error, ResizeError::Move(MoveError::Area(misaligned)));
    assert_eq!(bytes.as_ptr().addr(), address);
    thread.enter_guest(&mut guest, &mut cpu, NOW).unwrap();
    assert_eq!(values.difference(&visible(&mut cpu, &machine)), None);
}

#[test]
fn tiles_in_use_are_not_released_and_a_state_that_has_not_grown_has_none_to_release() {
    let machine = Machine::offered(&KIND);
    let mut cpu = cpu(&machine, 0);
    let (mut pair, _, values) = thread_with_tiles(&machine, &mut cpu);
    let memory = machine.memory();
    let lent = address(&memory);
    let (error, memory) = pair.thread.release(&mut cpu, memory).unwrap_err();
    let is_live = matches!(error, ResizeError::Move(MoveError::Live { found, room })
        if found.contains_all(TILE_DATA) && room == threads_components(&machine));
    assert!(is_live, "{error}");
    assert_eq!(address(&memory), lent);
    assert_keeps(&mut pair, &mut cpu, &values);
    let refused = pair.guest.release(memory);
    assert_refused(refused, ResizeError::NotGrown, lent);
}

#[test]
fn growth_and_release_away_from_the_registers_are_refused() {
    let machine = Machine::offered(&KIND);
    let (mut here, mut there) = (cpu(&machine, 0), cpu(&machine, 1));
    let (mut pair, expansion, values) = thread_without_room(&machine, &mut here);
    let elsewhere = ResizeError::Switch(SwitchError::InRegistersOf {
        state: expansion.state(),
        cpu: here.id(),
        here: there.id(),
    });
    let memory = machine.memory();
    let lent = address(&memory);
    let refused = pair.thread.expand(expansion, &mut there, memory);
    assert_refused(refused, elsewhere, lent);
    let memory = machine.memory();
    let lent = address(&memory);
    let refused = pair.thread.release(&mut there, memory);
    assert_refused(refused, elsewhere, lent);
    assert_shadow(&mut there);
    assert_eq!(there.processor().read_xfd(), Ok(TILE_DATA));
    assert_keeps(&mut pair, &mut here, &values);
}

#[test]
fn the_state_of_a_guest_that_a_thread_runs_is_out_of_reach_of_whoever_has_the_guest() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut cpu) = (small_pair(&machine), cpu(&machine, 0));
    let expansion = pair.guest.expansion(TILE_DATA).unwrap();
    let Pair { thread, guest, .. } = &mut pair;
    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
    let (id, memory) = (guest.id(), machine.memory());
    let (lent, running) = (address(&memory), ResizeError::Running { guest: id });
    let (error, memory) = guest.expand(expansion, memory).unwrap_err();
    assert_eq!((error, address(&memory)), (running, lent));
    assert_refused(guest.release(memory), running, lent);
    let refused = guest.expansion(TILE_DATA).map(|_| ());
    assert_eq!(refused, Err(running));
    let running = GuestRegisterError::Running { guest: id };
    assert_eq!(guest.write_xfd(TILE_DATA), Err(running));
    assert_eq!(guest.xfd(), Err(running));
    assert_eq!((guest.init(), guest.reset()), (Err(running), Err(running)));
    assert_eq!(running.errno().number(), 16); // EBUSY
    let running = GuestStateError::Running { guest: id };
    assert_eq!(guest.edit().err(), Some(running));
    let values = use_all(&mut pair, &mut cpu, guests_components(&machine));
    let guest = pair.guest.into_storage().unwrap_err();
    pair.guest = guest;
    pair.thread
        .leave_guest(&mut pair.guest, &mut cpu, NOW)
        .unwrap();
    let found = in_memory(&KIND, &machine, pair.guest.fpstate().unwrap());
    assert_eq!(values.difference(&found), None);
}

/// What is saved under one IA32_XFD and restored under another is #NM in the kernel.
#[test]
fn a_guests_xfd_is_not_written_on_a_cpu_that_does_not_hold_the_guest() {
    let machine = Machine::offered(&KIND);
    let (mut here, mut there) = (cpu(&machine, 0), cpu(&machine, 1));
    let mut pair = small_pair(&machine);
    let Pair { thread, guest, .. } = &mut pair;
    let expansion = guest.expansion(TILE_DATA).unwrap();
    guest.expand(expansion, machine.memory()).unwrap();
    thread.enter_guest(guest, &mut here, NOW).unwrap();
    use_tiles(here.processor(), 7).unwrap();
    let elsewhere = GuestRegisterError::Switch(SwitchError::InRegistersOf {
        state: guest.id(),
        cpu: here.id(),
        here: there.id(),
    });
    let written = thread.write_guest_xfd(guest, &mut there, TILE_DATA);
    assert_eq!(written, Err(elsewhere));
    assert_eq!(thread.guest_xfd(guest), Ok(xfd(ComponentSet::EMPTY)));
    thread.save_before_switch(&mut here).unwrap();
    let restored = thread.restore_before_use(&mut there);
    assert!(restored.is_ok(), "{restored:?}");
}

#[test]
fn a_guests_xfd_whose_write_faults_is_what_it_was() {
    let machine = Machine::offered(&KIND);
    let (mut cpu, mut pair) = (observed(&KIND, &machine, 0), small_pair(&machine));
    let Pair { thread, guest, .. } = &mut pair;
    let expansion = guest.expansion(TILE_DATA).unwrap();
    guest.expand(expansion, machine.memory()).unwrap();
    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
    use_tiles(cpu.processor().inner().inner(), 7).unwrap();
    let values = visible(&mut cpu, &machine);
    cpu.processor().inner().let_fault(Victim::XfdWrite);
    let written = thread.write_guest_xfd(guest, &mut cpu, TILE_DATA);
    let fault = SwitchError::Fault(Fault::GeneralProtection);
    assert_eq!(written, Err(GuestRegisterError::Switch(fault)));
    assert_eq!(thread.guest_xfd(guest), Ok(xfd(ComponentSet::EMPTY)));
    thread.save_before_switch(&mut cpu).unwrap();
    cpu.registers_taken().unwrap();
    let restored = thread.restore_before_use(&mut cpu);
    assert!(restored.is_ok(), "{restored:?}");
    assert_eq!(values.difference(&visible(&mut cpu, &machine)), None);
}

//! A state that grows keeps everything, wherever it is (invariants I16, I17 and I23): Linux loses a
//! guest's, and once lost supervisor components from the size.

use conformance::contents::Contents;
use conformance::machine::Machine;
use conformance::memory::Memory;
use conformance::on_demand::{
    KIND, TILE_DATA, assert_shadow, cpu, guests_components, memory_for, permissions, small_pair,
    threads_components, use_all, use_tiles,
};
use conformance::pair::{Pair, in_memory, visible};
use conformance::user_code::UserCode;
use fpstate::{
    AreaStorage, CpuFpu, DeviceNotAvailable, Expansion, Fpstate, Grantee, Offer, Restoring,
    ThreadFpu,
};
use fpstate_arch::{Component, ComponentSet, Fault, Processor, Xcr0, Xss};
use fpstate_model::{ModelCpu, Optimisation};

const NOW: Restoring = Restoring::Now;
const SUPERVISOR: ComponentSet = ComponentSet::EMPTY
    .with(Component::Pasid)
    .with(Component::CetU);

/// The guest has values in every component but tile data, and what they are.
fn used_guest(machine: &Machine) -> (Pair<'_>, Contents) {
    let mut pair = small_pair(machine);
    let mut cpu = cpu(machine, 7);
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    thread.enter_guest(guest, &mut cpu, NOW).expect("an entry");
    let values = use_all(&mut pair, &mut cpu, guests_components(machine));
    assert!(values.not_initial().contains_all(SUPERVISOR));
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    let later = Restoring::Deferred;
    thread.leave_guest(guest, &mut cpu, later).expect("leaving");
    (pair, values)
}

/// H5 · Linux 6.12, 7.2 · `fpstate_realloc()` · a guest's state that grows while no thread runs it loses its content
///
/// `fpstate_realloc()` copies nothing where the guest's state is not in use.
#[test]
fn a_guest_that_no_thread_runs_grows_and_keeps_every_component() {
    let machine = Machine::offered(&KIND);
    let (mut pair, values) = used_guest(&machine);
    let expansion = pair.guest.expansion(TILE_DATA).unwrap();
    let former = pair.guest.expand(expansion, machine.memory()).unwrap();
    assert_eq!(former.bytes().len(), machine.memory().bytes().len());
    let state = pair.guest.fpstate().unwrap();
    assert_eq!(state.grown_by(), TILE_DATA);
    let found = in_memory(&KIND, &machine, state);
    assert_eq!(values.difference(&found), None);
    let mut cpu = cpu(&machine, 0);
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
    assert_eq!(values.difference(&visible(&mut cpu, &machine)), None);
    use_tiles(cpu.processor(), 3).unwrap();
}

/// Never entered, nothing written: Linux then has FCW = 0.
#[test]
fn a_guest_that_grows_before_it_ever_ran_is_in_the_initial_configuration() {
    let machine = Machine::offered(&KIND);
    let mut pair = small_pair(&machine);
    let expansion = pair.guest.expansion(TILE_DATA).unwrap();
    pair.guest.expand(expansion, machine.memory()).unwrap();
    let area = pair.guest.edit().unwrap();
    assert_eq!(area.legacy().fcw, 0x37f); // SDM 1, 13.6
    let found = in_memory(&KIND, &machine, pair.guest.fpstate().unwrap());
    assert_eq!(machine.initial_contents().difference(&found), None);
}

/// Where a running guest's state is when it grows.
#[derive(Clone, Copy, Debug)]
enum When {
    InRegisters,
    Preempted,
    RegistersReused,
}

#[test]
fn a_guest_that_runs_grows_in_registers_and_in_memory_and_keeps_every_component() {
    let machine = Machine::offered(&KIND);
    for when in [When::InRegisters, When::Preempted, When::RegistersReused] {
        let (mut pair, values) = used_guest(&machine);
        let expansion = pair.guest.expansion(TILE_DATA).unwrap();
        let mut cpu = cpu(&machine, 0);
        let Pair { thread, guest, .. } = &mut pair;
        thread.enter_guest(guest, &mut cpu, NOW).unwrap();
        match when {
            When::InRegisters => {}
            When::Preempted => drop(thread.save_before_switch(&mut cpu).unwrap()),
            When::RegistersReused => {
                thread.save_before_switch(&mut cpu).unwrap();
                cpu.registers_taken().unwrap();
                *cpu.processor().registers_mut().xmm() = [[0xee; 16]; 16];
            }
        }
        thread
            .expand(expansion, &mut cpu, machine.memory())
            .unwrap();
        assert_shadow(&mut cpu);
        thread.restore_before_use(&mut cpu).unwrap();
        assert_shadow(&mut cpu);
        let found = visible(&mut cpu, &machine);
        assert_eq!(values.difference(&found), None, "{when:?}");
        use_tiles(cpu.processor(), 3).unwrap();
        let values = visible(&mut cpu, &machine);
        thread.leave_guest(guest, &mut cpu, NOW).unwrap();
        let found = in_memory(&KIND, &machine, guest.fpstate().unwrap());
        assert_eq!(values.difference(&found), None, "{when:?}");
    }
}

/// Bytes that an area with `components` takes, as the CPU says itself: CPUID.(0DH,1):EBX.
fn len_by_cpuid(machine: &Machine, components: ComponentSet) -> usize {
    let enumeration = &machine.enumeration;
    let user = components.intersection(enumeration.user_components());
    let mut processor = KIND.model();
    processor
        .xsetbv(Xcr0::new(user, user).expect("a legal value"))
        .expect("a legal XCR0");
    let supervisor = components.difference(user);
    let xss = Xss::new(supervisor, supervisor).expect("a legal value");
    processor.write_xss(xss).expect("a legal IA32_XSS");
    usize::try_from(processor.cpuid(0xd, 1).ebx).expect("a length")
}

/// L33 · 2025 · d8414603b29f · a grant dropped what is not a user component from the permissions
/// H7 · Linux 6.12 · `__xstate_request_perm()` · the first grant drops supervisor components from the mask that sizes come from
///
/// `__state_perm` loses its supervisor bits at the first grant.
#[test]
fn no_grant_costs_a_layout_its_supervisor_components() {
    let machine = Machine::offered(&KIND);
    let offer = Offer::for_ring0(&machine.enumeration);
    let mut granted = permissions(&offer);
    let _ = granted.freeze_guests();
    for permissions in [granted.fork(), granted] {
        for (grantee, small) in [
            (Grantee::Threads, threads_components(&machine)),
            (Grantee::Guests, guests_components(&machine)),
        ] {
            let on_demand = permissions.on_demand(grantee);
            let layout = offer.layout_with(grantee, on_demand);
            let needed = small.union(TILE_DATA);
            assert!(needed.contains_all(SUPERVISOR));
            assert_eq!(layout.components(), needed, "{grantee}");
            assert_eq!(layout.area_len(), len_by_cpuid(&machine, needed));
        }
    }
}

const CANARY: u8 = 0xc5;

/// Memory of exactly the announced length, and something behind it that must stay.
struct Fenced(Memory);

impl Fenced {
    fn of(layout: &fpstate::Layout<'_>) -> Self {
        let mut memory = Memory::zeroed(layout.area_len() + 4096);
        memory.bytes_mut().fill(CANARY);
        Self(memory)
    }

    fn assert_untouched_from(&self, len: usize) {
        let behind = &self.0.bytes()[len..];
        assert!(behind.iter().all(|&byte| byte == CANARY), "from {len} on");
    }
}

impl AreaStorage for Fenced {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

/// L32 · 2022 · 781c64bfcb73, 7aa5128b5fea · the length of a grown state was computed without supervisor components
#[test]
fn what_xsaves_writes_of_a_grown_state_has_room_with_every_supervisor_component() {
    let machine = Machine::offered(&KIND);
    let offer = Offer::for_ring0(&machine.enumeration);
    let permissions = permissions(&offer);
    let (small, mut cpu) = (threads_components(&machine), cpu(&machine, 0));
    cpu.processor().set_optimisation(Optimisation::None);
    let layout = machine.layout(small);
    let own = Fpstate::new(layout, Fenced::of(&layout), machine.identities());
    let mut thread = ThreadFpu::new(own.map_err(|refused| refused.error).unwrap());
    thread.restore_before_use(&mut cpu).unwrap();
    let mut pair = Pair::new(&machine);
    let mut values = use_all(&mut pair, &mut cpu, small);
    thread.save_before_switch(&mut cpu).unwrap();
    thread.restore_before_use(&mut cpu).unwrap();
    let used = use_tiles(cpu.processor(), 9);
    assert_eq!(used, Err(Fault::DeviceNotAvailable));
    values.initialise(ComponentSet::TILES);
    let needed = thread.device_not_available(&mut cpu, &permissions).unwrap();
    let DeviceNotAvailable::Expand(expansion) = needed else {
        panic!("no expansion");
    };
    assert_eq!(expansion.layout().components(), small.union(TILE_DATA));
    let memory = Fenced::of(expansion.layout());
    let former = thread.expand(expansion, &mut cpu, memory);
    let former = former.map_err(|(error, _)| error).unwrap();
    former.assert_untouched_from(layout.area_len());
    let (found, grown) = (visible(&mut cpu, &machine), small.union(TILE_DATA));
    let unlike = values.components_unlike(&found);
    assert_eq!(unlike.difference(ComponentSet::TILES), ComponentSet::EMPTY);
    let all = use_all(&mut pair, &mut cpu, grown);
    thread.save_before_switch(&mut cpu).unwrap();
    let area = thread.own().in_memory().unwrap().bytes();
    assert_eq!(area.len(), len_by_cpuid(&machine, grown));
    let mut reader = machine.reader(KIND.model());
    reader.xrstors(area, machine.components()).unwrap();
    let found = reader.contents(machine.components());
    assert_eq!(all.difference(&found), None);
    let memory = thread.exit(&mut cpu).map_err(|(error, _)| error).unwrap();
    memory.assert_untouched_from(len_by_cpuid(&machine, grown));
}

/// A thread in `cpu`'s registers with values in all components but tiles.
fn used_thread<'e>(machine: &'e Machine, cpu: &mut CpuFpu<ModelCpu>) -> Pair<'e> {
    let mut pair = small_pair(machine);
    let components = threads_components(machine);
    let memory = memory_for(machine, components);
    pair.thread = ThreadFpu::new(machine.state(components, memory));
    pair.thread.restore_before_use(cpu).expect("its registers");
    use_all(&mut pair, cpu, components);
    pair.thread.save_before_switch(cpu).expect("a save");
    cpu.registers_taken().expect("a copy");
    pair.thread.restore_before_use(cpu).expect("its registers");
    pair
}

/// The next use of tiles of the thread, and what it takes.
fn expansion_of<'e>(pair: &mut Pair<'e>, cpu: &mut CpuFpu<ModelCpu>) -> Expansion<'e> {
    let offer = Offer::for_ring0(&pair.machine.enumeration);
    let used = use_tiles(cpu.processor(), 1);
    assert_eq!(used, Err(Fault::DeviceNotAvailable));
    let needed = pair
        .thread
        .device_not_available(cpu, &permissions(&offer))
        .expect("a remedy");
    match needed {
        DeviceNotAvailable::Expand(expansion) => expansion,
        DeviceNotAvailable::OtherCause | DeviceNotAvailable::Retry => panic!("{needed:?}"),
    }
}

/// C14 · peers · litebox works around it, HAXM · memory was used again while XSAVES judged by its address what is unmodified
///
/// What XSAVES does not write because it is unmodified since the XRSTORS from there (SDM 1, 13.6)
/// must be there.
#[test]
fn a_state_that_grows_and_is_released_into_the_memory_it_was_restored_from_loses_nothing() {
    let machine = Machine::offered(&KIND);
    let mut cpu = cpu(&machine, 0);
    let mut pair = used_thread(&machine, &mut cpu);
    let expansion = expansion_of(&mut pair, &mut cpu);
    let large = machine.memory();
    let mut small = pair.thread.expand(expansion, &mut cpu, large).unwrap();
    let first_address = small.bytes().as_ptr().addr();
    use_tiles(cpu.processor(), 2).unwrap();
    cpu.processor().tilerelease().unwrap();
    small.bytes_mut().fill(0);
    pair.thread.release(&mut cpu, small).unwrap();
    let restored = pair.thread.restore_before_use(&mut cpu).unwrap();
    let again = pair.thread.own().layout().area_len();
    assert!(matches!(restored.restore, fpstate::Restore::Area { .. }));
    *cpu.processor().registers_mut().xmm() = [[0x77; 16]; 16];
    let values = visible(&mut cpu, &machine);
    pair.thread.save_before_switch(&mut cpu).unwrap();
    let area = pair.thread.own().in_memory().unwrap().bytes();
    assert_eq!(area.as_ptr().addr(), first_address);
    assert_eq!(area.len(), again);
    let found = in_memory(&KIND, &machine, pair.thread.own());
    assert_eq!(values.difference(&found), None);
}

/// The second time the memory that the state was restored from comes back, filled with 0, and the
/// processor takes what it has in registers for unmodified.
#[test]
fn an_expansion_that_is_used_twice_loses_nothing() {
    let machine = Machine::offered(&KIND);
    let mut cpu = cpu(&machine, 0);
    let mut pair = used_thread(&machine, &mut cpu);
    let expansion = expansion_of(&mut pair, &mut cpu);
    let thread = &mut pair.thread;
    thread
        .expand(expansion, &mut cpu, machine.memory())
        .unwrap();
    use_tiles(cpu.processor(), 2).unwrap();
    thread.save_before_switch(&mut cpu).unwrap();
    cpu.registers_taken().unwrap();
    thread.restore_before_use(&mut cpu).unwrap();
    let values = visible(&mut cpu, &machine);
    let mut memory = machine.memory();
    for _ in 0..2 {
        memory = match thread.expand(expansion, &mut cpu, memory) {
            Ok(memory) | Err((_, memory)) => memory,
        };
    }
    assert_shadow(&mut cpu);
    thread.save_before_switch(&mut cpu).unwrap();
    let found = in_memory(&KIND, &machine, thread.own());
    assert_eq!(values.difference(&found), None);
}

/// The memory that a guest's state was restored from comes back while the registers still have a
/// copy: by them the processor would judge what is unmodified. Tile data that the guest disables
/// meanwhile is in no area, and XSAVES would announce what it does not write.
#[test]
fn a_guest_released_and_grown_into_the_same_memory_has_in_memory_what_it_had_in_registers() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut cpu) = (small_pair(&machine), cpu(&machine, 0));
    let Pair { thread, guest, .. } = &mut pair;
    let expansion = guest.expansion(TILE_DATA).unwrap();
    let small = guest.expand(expansion, machine.memory()).unwrap();
    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
    use_tiles(cpu.processor(), 0x5a).unwrap();
    thread.save_before_switch(&mut cpu).unwrap();
    cpu.registers_taken().unwrap();
    thread.restore_before_use(&mut cpu).unwrap();
    let disabled = TILE_DATA;
    thread.write_guest_xfd(guest, &mut cpu, disabled).unwrap();
    let later = Restoring::Deferred;
    thread.leave_guest(guest, &mut cpu, later).unwrap();

    let large = guest.release(small).unwrap();
    guest.expand(expansion, large).unwrap();
    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
    let nothing = ComponentSet::EMPTY;
    thread.write_guest_xfd(guest, &mut cpu, nothing).unwrap();
    let values = visible(&mut cpu, &machine);
    thread.leave_guest(guest, &mut cpu, later).unwrap();
    let found = in_memory(&KIND, &machine, guest.fpstate().unwrap());
    assert_eq!(values.difference(&found), None);
}

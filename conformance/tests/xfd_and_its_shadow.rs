//! IA32_XFD and what the library believes of it agree wherever either is written (invariant I10):
//! after a sleep, a life offline, idling, #NM, a guest that writes the register itself.
//!
//! Where they do not, Linux skips the next update: #NM in the kernel, or in user mode without end.

use conformance::contents::Contents;
use conformance::intercept::{Executed, Intercept};
use conformance::machine::Machine;
use conformance::on_demand::{
    KIND, TILE_DATA, assert_shadow, cpu, permissions, small_pair, threads_components, use_all,
    use_tiles, xfd,
};
use conformance::pair::{Pair, observed, visible};
use conformance::traced::Traced;
use fpstate::{
    CpuFpu, DeviceNotAvailable, KernelUse, Offer, Restore, Restoring, ThreadFpu, VmExit,
};
use fpstate_arch::{Component, ComponentSet, Fault, Instruction, Processor, Xcr0, XfdErr, Xss};
use fpstate_model::ModelCpu;

const NOW: Restoring = Restoring::Now;
const NOTHING: ComponentSet = ComponentSet::EMPTY;

/// The thread uses tiles; #NM is handled as a kernel does. How often it came.
fn use_tiles_as_often_as_it_takes(
    pair: &mut Pair<'_>,
    cpu: &mut CpuFpu<ModelCpu>,
    byte: u8,
) -> usize {
    let offer = Offer::for_ring0(&pair.machine.enumeration);
    let permissions = permissions(&offer);
    for times in 0..3 {
        match use_tiles(cpu.processor(), byte) {
            Ok(()) => return times,
            Err(fault) => assert_eq!(fault, Fault::DeviceNotAvailable),
        }
        let thread = &mut pair.thread;
        match thread
            .device_not_available(cpu, &permissions)
            .expect("a remedy")
        {
            DeviceNotAvailable::Expand(expansion) => {
                let memory = pair.machine.memory();
                thread.expand(expansion, cpu, memory).expect("growth");
            }
            DeviceNotAvailable::Retry => {}
            DeviceNotAvailable::OtherCause => panic!("another cause"),
        }
        assert_shadow(cpu);
        assert_eq!(cpu.processor().read_xfd_err(), Ok(XfdErr::NOTHING));
    }
    panic!("#NM without end");
}

/// A thread that used tiles and was switched away from, and one that never did.
struct Two<'e> {
    pair: Pair<'e>,
    values: Contents,
    plain: ThreadFpu<'e, fpstate::BoxedArea>,
}

fn two<'e>(machine: &'e Machine, cpu: &mut CpuFpu<ModelCpu>) -> Two<'e> {
    let mut pair = small_pair(machine);
    pair.thread.restore_before_use(cpu).expect("its registers");
    let own = threads_components(machine);
    use_all(&mut pair, cpu, own);
    assert_eq!(use_tiles_as_often_as_it_takes(&mut pair, cpu, 0x5a), 1);
    let values = visible(cpu, machine);
    pair.thread.save_before_switch(cpu).expect("a save");
    let plain = ThreadFpu::new(pair.new_state_for(own));
    Two {
        pair,
        values,
        plain,
    }
}

impl Two<'_> {
    /// The last one on `cpu` is one whose IA32_XFD is `disabled`.
    fn last_was(&mut self, cpu: &mut CpuFpu<ModelCpu>, disabled: ComponentSet) {
        let last = if disabled == NOTHING {
            &mut self.pair.thread
        } else {
            &mut self.plain
        };
        last.restore_before_use(cpu).expect("its registers");
        last.save_before_switch(cpu).expect("a save");
        assert_eq!(cpu.processor().read_xfd(), Ok(disabled));
    }

    /// Both find what is theirs on `cpu`, and tiles as their states have room.
    fn assert_both_run(mut self, cpu: &mut CpuFpu<ModelCpu>, machine: &Machine) {
        assert_shadow(cpu);
        self.pair
            .thread
            .restore_before_use(cpu)
            .expect("its registers");
        assert_shadow(cpu);
        assert_eq!(self.values.difference(&visible(cpu, machine)), None);
        let times = use_tiles_as_often_as_it_takes(&mut self.pair, cpu, 0xa5);
        assert_eq!(times, 0, "#NM of a thread that has room");
        self.pair.thread.save_before_switch(cpu).expect("a save");
        self.plain.restore_before_use(cpu).expect("its registers");
        assert_shadow(cpu);
        assert_eq!(cpu.processor().read_xfd(), Ok(TILE_DATA));
    }
}

const VALUES: [ComponentSet; 2] = [NOTHING, TILE_DATA];

/// H4 · Linux 6.12, 7.2 · `fpu__resume_cpu()` · IA32_XFD is written after a sleep, its shadow is not
///
/// `fpu__resume_cpu()` writes the register and not its shadow.
#[test]
fn after_a_sleep_a_thread_with_tiles_has_them_and_no_nm_whatever_the_register_lost() {
    let machine = Machine::offered(&KIND);
    for before in VALUES {
        for after_sleep in VALUES {
            let mut cpu = cpu(&machine, 0);
            let mut two = two(&machine, &mut cpu);
            two.last_was(&mut cpu, before);
            let (xcr0, xss) = (
                cpu.processor().xgetbv().unwrap(),
                cpu.processor().read_xss().unwrap(),
            );
            let processor = cpu.processor();
            *processor.registers_mut().xmm() = [[0xee; 16]; 16];
            processor.write_xss(Xss::AFTER_RESET).unwrap();
            processor.xsetbv(Xcr0::AFTER_RESET).unwrap();
            processor.write_xfd(xfd(after_sleep)).unwrap();
            cpu.resume().unwrap();
            assert_eq!(cpu.processor().xgetbv(), Ok(xcr0));
            assert_eq!(cpu.processor().read_xss(), Ok(xss));
            two.assert_both_run(&mut cpu, &machine);
        }
    }
}

/// L47 · 2024 · 10e4b5166df9, CVE-2024-35801 · IA32_XFD was written when a CPU came online, its shadow was not
///
/// CVE-2024-35801.
#[test]
fn after_a_life_offline_a_thread_with_tiles_has_them_and_no_nm() {
    let machine = Machine::offered(&KIND);
    for before in VALUES {
        for offline in VALUES {
            let mut cpu = cpu(&machine, 0);
            let mut two = two(&machine, &mut cpu);
            two.last_was(&mut cpu, before);
            let mut processor = cpu.into_processor();
            processor.write_xfd(xfd(offline)).unwrap();
            let mut cpu = machine.start(processor, 0).unwrap();
            assert_eq!(cpu.processor().read_xfd(), Ok(TILE_DATA));
            two.assert_both_run(&mut cpu, &machine);
        }
    }
}

#[test]
fn a_cpu_that_is_adopted_is_believed_to_have_the_xfd_that_it_has() {
    let machine = Machine::offered(&KIND);
    for found in VALUES {
        let mut processor = cpu(&machine, 0).into_processor();
        processor.write_xfd(xfd(found)).unwrap();
        let (identities, instructions) = (machine.identities(), machine.instructions());
        let mut cpu = CpuFpu::adopt(processor, 0, identities, instructions).unwrap();
        assert_eq!(cpu.facts().xfd.components(), found);
        assert_shadow(&mut cpu);
    }
}

/// L21 · 2023 · 821ad23d0eaf · the idle loop released tiles while their owner still believed in its registers
///
/// `fpu_idle_fpregs()`; the registers are nobody's after it.
#[test]
fn tiles_that_the_idle_loop_releases_are_the_owners_when_it_comes_back() {
    let machine = Machine::offered(&KIND);
    let mut cpu = cpu(&machine, 0);
    let mut two = two(&machine, &mut cpu);
    two.last_was(&mut cpu, NOTHING);
    assert_eq!(cpu.release_tiles(), Ok(ComponentSet::TILES));
    let in_use = cpu.processor().in_use();
    assert!(!in_use.intersects(ComponentSet::TILES));
    assert_eq!(cpu.release_tiles(), Ok(NOTHING), "there is nothing left");
    two.assert_both_run(&mut cpu, &machine);
}

/// Invariant I15: the thread has room, and the register is not what it should be.
#[test]
fn an_xfd_register_that_differs_from_its_shadow_costs_one_nm() {
    let machine = Machine::offered(&KIND);
    let mut cpu = cpu(&machine, 0);
    let mut two = two(&machine, &mut cpu);
    two.pair.thread.restore_before_use(&mut cpu).unwrap();
    cpu.processor().write_xfd(xfd(TILE_DATA)).unwrap();
    let times = use_tiles_as_often_as_it_takes(&mut two.pair, &mut cpu, 0x5a);
    assert_eq!(times, 1);
    two.pair.thread.save_before_switch(&mut cpu).unwrap();
    two.assert_both_run(&mut cpu, &machine);
}

/// A guest with room for tiles, in the registers of `cpu`, which it has used.
fn guest_in_registers<'e>(two: &mut Two<'e>, cpu: &mut CpuFpu<ModelCpu>) {
    let machine = two.pair.machine;
    let Pair { thread, guest, .. } = &mut two.pair;
    let expansion = guest.expansion(TILE_DATA).expect("what is offered");
    guest.expand(expansion, machine.memory()).expect("growth");
    guest
        .write_xcr0(machine.user_components())
        .expect("a legal XCR0");
    thread.enter_guest(guest, cpu, NOW).expect("an entry");
    use_tiles(cpu.processor(), 0x11).expect("tiles");
}

/// With and without what may come before the state is saved.
#[test]
fn an_xfd_that_was_passed_through_is_known_after_the_exit_and_the_hosts_when_the_guest_is_left() {
    let machine = Machine::offered(&KIND);
    for written in VALUES {
        let mut cpu = cpu(&machine, 0);
        let mut two = two(&machine, &mut cpu);
        guest_in_registers(&mut two, &mut cpu);
        let Pair { thread, guest, .. } = &mut two.pair;
        let mut entry = thread.load_guest_registers(guest, &mut cpu).unwrap();
        entry.processor().write_xfd(xfd(written)).unwrap();
        let _ = entry.load_host_registers(VmExit::Other).unwrap();
        assert_shadow(&mut cpu);
        assert_eq!(thread.guest_xfd(guest), Ok(xfd(written)));
        let (section, _) = cpu.begin_kernel_section(thread, KernelUse::X87).unwrap();
        cpu.end_kernel_section(section).unwrap();
        let restored = thread.restore_before_use(&mut cpu).unwrap();
        assert!(matches!(restored.restore, Restore::Area { .. }));
        assert_shadow(&mut cpu);
        assert_eq!(cpu.processor().read_xfd(), Ok(written));
        thread.leave_guest(guest, &mut cpu, NOW).unwrap();
        assert_shadow(&mut cpu);
        assert_eq!(guest.xfd(), Ok(xfd(written)));
        thread.save_before_switch(&mut cpu).unwrap();
        two.assert_both_run(&mut cpu, &machine);
    }
}

/// No WRMSR where the register has the value already.
#[test]
fn an_xfd_that_the_guest_writes_reaches_the_register_only_where_it_differs() {
    let machine = Machine::offered(&KIND);
    let (mut cpu, mut pair) = (observed(&KIND, &machine, 0), small_pair(&machine));
    let Pair { thread, guest, .. } = &mut pair;
    let expansion = guest.expansion(TILE_DATA).unwrap();
    guest.expand(expansion, machine.memory()).unwrap();
    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
    assert_eq!(cpu.processor().inner().read_xfd(), Ok(NOTHING));
    cpu.processor().take_trace();
    for (value, differs) in [
        (NOTHING, false),
        (TILE_DATA, true),
        (TILE_DATA, false),
        (NOTHING, true),
    ] {
        thread.write_guest_xfd(guest, &mut cpu, value).unwrap();
        let written: &[Executed] = if differs {
            &[Executed::WriteXfd(xfd(value))]
        } else {
            &[]
        };
        assert_eq!(cpu.processor().take_trace(), written);
        assert_eq!(cpu.processor().inner().read_xfd(), Ok(value));
    }
}

/// At CPL 3 WRMSR is #GP (SDM 2, WRMSR), though the CPU has the register.
#[test]
fn an_xfd_that_is_out_of_reach_is_not_written_whatever_a_state_has_no_room_for() {
    let enumeration = KIND.enumeration();
    assert!(enumeration.has(Instruction::Xfd));
    let mut processor = KIND.model();
    let user = enumeration.user_components();
    processor.xsetbv(Xcr0::new(user, user).unwrap()).unwrap();
    let room = user
        .difference(enumeration.xfd_components())
        .without(Component::Pkru);
    let machine = Machine::user_mode(enumeration, room);
    let mut cpu = machine.start(Traced::new(processor), 0).unwrap();
    let mut pair = Pair::new(&machine);
    let Pair { thread, guest, .. } = &mut pair;
    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
    thread.write_guest_xfd(guest, &mut cpu, NOTHING).unwrap();
    let written = |executed: &Executed| matches!(executed, Executed::WriteXfd(_));
    assert!(!cpu.processor().take_trace().iter().any(written));
}

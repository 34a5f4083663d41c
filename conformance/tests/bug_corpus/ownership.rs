//! Registers taken for somebody's whose they were not, or were not yet, or were no longer.

use conformance::contents::Contents;
use conformance::cpus::{self, RecordedCpu};
use conformance::faulting::Victim;
use conformance::intercept::Intercept;
use conformance::machine::Machine;
use conformance::on_demand::{KIND, TILE_DATA, cpu, threads_components, use_tiles};
use conformance::pair::{Observed, Pair, in_memory, observed, visible, write};
use fpstate::{CpuFpu, KernelUse, Restore, Restoring, Save, ThreadFpu};
use fpstate_arch::{Fault, Processor};

const NOW: Restoring = Restoring::Now;

/// `test` on every kind of CPU.
fn on_every_cpu(test: impl Fn(&RecordedCpu, &Machine, CpuFpu<Observed>, Pair<'_>)) {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let cpu = observed(kind, &machine, 0);
        test(kind, &machine, cpu, Pair::new(&machine));
    }
}

/// Another thread has used `cpu` and left its values in the registers.
fn somebody_else_runs(cpu: &mut CpuFpu<Observed>, pair: &mut Pair<'_>) -> Contents {
    let mut other = ThreadFpu::new(pair.new_state());
    other.restore_before_use(cpu).expect("its registers");
    let values = pair.new_values();
    write(cpu, &values);
    other.save_before_switch(cpu).expect("a save");
    values
}

/// L1 · 2018 · CVE-2018-3665 · registers of the last thread stayed until the next one used them, and could be read before
///
/// The next thread has room for less than the last one used.
#[test]
fn lazy_switching_left_the_last_threads_registers_to_be_read() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let room = machine.least_components();
        let mut next = ThreadFpu::new(pair.new_state_for(room));
        assert!(!next.is_in_registers_of(&cpu));
        next.restore_before_use(&mut cpu).unwrap();
        let found = visible(&mut cpu, machine);
        let initial = machine.initial_contents();
        assert_eq!(initial.difference(&found), None, "{}", kind.name);
    });
}

/// What comes between a state's arrival in memory and its load.
#[derive(Clone, Copy, Debug)]
enum Between {
    Preempted,
    KernelSection,
}

/// L2 · 2018 · 68239654acaf · a state was marked as loaded before it was, and an interruption in between saved the registers over it
#[test]
fn a_state_marked_as_loaded_too_early_was_overwritten() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        for between in [Between::Preempted, Between::KernelSection] {
            let guests = pair.run_guest(&mut cpu);
            let threads = pair.use_registers(&mut cpu).unwrap();
            let Pair { thread, guest, .. } = &mut pair;
            let later = Restoring::Deferred;
            let entered = thread.enter_guest(guest, &mut cpu, later).unwrap();
            assert_eq!(entered.save, Save::Deferred);
            match between {
                Between::Preempted => {
                    let switch = thread.save_before_switch(&mut cpu).unwrap();
                    assert!(matches!(switch.save, Save::Registers { .. }));
                    let again = thread.save_before_switch(&mut cpu).unwrap();
                    assert_eq!(again.save, Save::AlreadyInMemory);
                }
                Between::KernelSection => {
                    let begun = cpu.begin_kernel_section(thread, KernelUse::X87);
                    cpu.end_kernel_section(begun.unwrap().0).unwrap();
                }
            }
            let found = in_memory(kind, machine, thread.active());
            assert_eq!(guests.difference(&found), None, "{between:?}");
            let found = in_memory(kind, machine, thread.own());
            assert_eq!(threads.difference(&found), None, "{between:?}");
            thread.leave_guest(guest, &mut cpu, NOW).unwrap();
        }
    });
}

/// L5 · 2020 · c9aef3b85f42, 2620fe268e80 · the swap with a guest saved registers that were no longer the thread's over its state
#[test]
fn a_swap_saved_registers_that_were_somebody_elses() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        somebody_else_runs(&mut cpu, &mut pair);
        let Pair { thread, guest, .. } = &mut pair;
        thread.enter_guest(guest, &mut cpu, NOW).unwrap();
        let found = visible(&mut cpu, machine);
        assert_eq!(machine.initial_contents().difference(&found), None);
        thread.leave_guest(guest, &mut cpu, NOW).unwrap();
        let found = visible(&mut cpu, machine);
        assert_eq!(threads.difference(&found), None, "{}", kind.name);
    });
}

/// L10 · 2021 · d8778e393afa, CVE-2021-47226 · a restore failed half-way, and the registers were taken for those of a third thread that had them before
#[test]
fn registers_restored_by_half_were_taken_for_those_of_a_third_thread() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let values = pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let mut failing = ThreadFpu::new(pair.new_state());
        cpu.processor().inner().let_fault(Victim::Restore);
        failing.restore_before_use(&mut cpu).unwrap_err();
        let switch = pair.thread.restore_before_use(&mut cpu).unwrap();
        assert!(matches!(switch.restore, Restore::Area { .. }));
        let found = visible(&mut cpu, machine);
        assert_eq!(values.difference(&found), None, "{}", kind.name);
    });
}

/// L40 · 2025 · 388eff894d6b, CVE-2025-68171 · the initial state was loaded after a bad signal frame under the IA32_XFD of the thread before
#[test]
fn an_initial_state_was_loaded_under_the_xfd_of_the_thread_before() {
    let machine = Machine::offered(&KIND);
    let (mut cpu, pair) = (cpu(&machine, 0), Pair::new(&machine));
    let mut with_tiles = pair.thread;
    let small = machine.state(threads_components(&machine), machine.memory());
    let mut plain = ThreadFpu::new(small);
    plain.restore_before_use(&mut cpu).unwrap();
    plain.save_before_switch(&mut cpu).unwrap();
    with_tiles.restore_before_use(&mut cpu).unwrap();
    use_tiles(cpu.processor(), 0x5a).unwrap();
    with_tiles.save_before_switch(&mut cpu).unwrap();
    plain.edit_own().unwrap().initialise();
    plain.restore_before_use(&mut cpu).unwrap();
    assert_eq!(cpu.processor().read_xfd(), Ok(TILE_DATA));
    assert_eq!(cpu.facts().xfd.components(), TILE_DATA);
    let used = use_tiles(cpu.processor(), 1);
    assert_eq!(used, Err(Fault::DeviceNotAvailable));
}

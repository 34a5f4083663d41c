//! Exec, exit, and memory that is used again.

use conformance::cpus;
use conformance::machine::Machine;
use conformance::pair::{Observed, Pair, active_area, in_memory, observed, visible};
use fpstate::switch::RegisterContent;
use fpstate::{CpuFpu, LifeError, Restore, Restoring, ThreadFpu};

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

/// L15 · 2023 · 1f69383b203e · exec reset the memory, and the registers of the old program still looked valid
///
/// Linux 1f69383b203e: the memory was reset, and the registers of the last CPU still looked valid.
#[test]
fn after_exec_the_old_registers_do_not_look_valid() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        pair.machine.exec(&mut pair.thread, &mut cpu).unwrap();
        assert_eq!(cpu.registers(), RegisterContent::Nobody);
        // The kernel may save at once: preemption right after the reset.
        pair.thread.save_before_switch(&mut cpu).unwrap();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        let initial = machine.initial_contents();
        assert_eq!(
            initial.difference(&visible(&mut cpu, machine)),
            None,
            "{}",
            kind.name
        );
    });
}

#[test]
fn after_exec_a_copy_on_another_cpu_does_not_look_valid_either() {
    on_every_cpu(|kind, machine, mut first, mut pair| {
        pair.use_registers(&mut first).unwrap();
        pair.thread.save_before_switch(&mut first).unwrap();
        let mut second = observed(kind, machine, 1);
        pair.machine.exec(&mut pair.thread, &mut second).unwrap();
        for cpu in [&mut first, &mut second] {
            pair.thread.restore_before_use(cpu).unwrap();
            let initial = machine.initial_contents();
            assert_eq!(
                initial.difference(&visible(cpu, machine)),
                None,
                "{}",
                kind.name
            );
            pair.thread.save_before_switch(cpu).unwrap();
        }
    });
}

#[test]
fn exec_and_exit_of_a_thread_in_a_guest_are_refused() {
    on_every_cpu(|_, _, mut cpu, mut pair| {
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, Restoring::Now)
            .unwrap();
        let guest = pair.guest.id();
        assert_eq!(
            pair.thread.exec(&mut cpu),
            Err(LifeError::InGuest { guest })
        );
        let (error, thread) = pair.thread.exit(&mut cpu).unwrap_err();
        assert_eq!(error, LifeError::InGuest { guest });
        assert_eq!(thread.running_guest(), Some(guest));
    });
}

#[test]
fn exec_and_exit_away_from_the_registers_are_refused() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let mut there = observed(kind, machine, 1);
        let elsewhere = LifeError::InRegistersOf {
            cpu: cpu.id(),
            here: there.id(),
        };
        assert_eq!(pair.thread.exec(&mut there), Err(elsewhere));
        let (error, mut thread) = pair.thread.exit(&mut there).unwrap_err();
        assert_eq!(error, elsewhere);
        thread.save_before_switch(&mut cpu).unwrap();
        assert_eq!(in_memory(kind, machine, thread.own()), threads);
    });
}

/// The id of a state is never used again, so its memory may be.
#[test]
fn a_thread_made_in_the_memory_of_one_that_ended_does_not_look_loaded() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let place = active_area(&mut pair.thread).as_ptr();
        let other = ThreadFpu::new(pair.new_state());
        // It ends where it did not run last: this CPU's copy of it is not voided.
        let mut there = observed(kind, machine, 1);
        let ending = std::mem::replace(&mut pair.thread, other);
        let memory = ending.exit(&mut there).unwrap();
        let mut reborn = ThreadFpu::new(pair.new_state_in(memory));
        assert_eq!(active_area(&mut reborn).as_ptr(), place);
        let switch = reborn.restore_before_use(&mut cpu).unwrap();
        assert!(
            matches!(switch.restore, Restore::Area { .. }),
            "{}",
            kind.name
        );
        let initial = machine.initial_contents();
        assert_eq!(initial.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn the_registers_of_a_thread_that_ended_are_nobodys() {
    on_every_cpu(|_, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        let mut next = ThreadFpu::new(pair.new_state());
        cpu.processor().take_trace();
        pair.thread.exit(&mut cpu).unwrap();
        assert_eq!(cpu.processor().take_trace(), [], "nothing is saved");
        next.restore_before_use(&mut cpu).unwrap();
        let initial = machine.initial_contents();
        assert_eq!(initial.difference(&visible(&mut cpu, machine)), None);
    });
}

//! What is left when a thread, a guest, a section or a CPU is gone: a way out that says what it
//! loses.

use conformance::cpus;
use conformance::machine::Machine;
use conformance::pair::{Observed, Pair, in_memory, observed, visible};
use fpstate::switch::RegisterContent;
use fpstate::{
    CpuFpu, GuestFpu, KernelUse, LeaveError, LifeError, Residence, Restoring, SwitchError,
    ThreadFpu,
};

const NOW: Restoring = Restoring::Now;

/// `test` on every kind of CPU.
fn on_every_cpu(test: impl Fn(&cpus::RecordedCpu, &Machine, CpuFpu<Observed>, Pair<'_>)) {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let cpu = observed(kind, &machine, 0);
        test(kind, &machine, cpu, Pair::new(&machine));
    }
}

#[test]
fn a_cpu_whose_thread_was_lost_says_so_and_can_be_used_again() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        let mut next = ThreadFpu::new(pair.new_state());
        let state = pair.thread.own().id();
        drop(pair.thread);
        let here = cpu.id();
        let refused = SwitchError::WouldDiscard { state, cpu: here };
        assert_eq!(next.restore_before_use(&mut cpu), Err(refused));
        let begun = cpu.begin_kernel_thread_section(KernelUse::X87);
        assert_eq!(begun.unwrap_err(), refused);
        assert_eq!(cpu.discard_registers(), RegisterContent::OnlyCopyOf(state));
        next.restore_before_use(&mut cpu).unwrap();
        let found = visible(&mut cpu, machine);
        assert_eq!(
            machine.initial_contents().difference(&found),
            None,
            "{}",
            kind.name
        );
    });
}

#[test]
fn a_cpu_whose_section_was_lost_can_be_used_again() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let values = pair.use_registers(&mut cpu).unwrap();
        let begun = cpu.begin_kernel_section(&mut pair.thread, KernelUse::X87);
        drop(begun.unwrap());
        let here = cpu.id();
        let refused = SwitchError::KernelSection { cpu: here };
        assert_eq!(cpu.registers_taken(), Err(refused));
        assert_eq!(pair.thread.restore_before_use(&mut cpu), Err(refused));
        assert_eq!(cpu.discard_registers(), RegisterContent::Kernel);
        pair.thread.restore_before_use(&mut cpu).unwrap();
        let found = visible(&mut cpu, machine);
        assert_eq!(values.difference(&found), None, "{}", kind.name);
    });
}

#[test]
fn a_section_that_was_discarded_ends_nothing_of_the_thread_that_came_after() {
    on_every_cpu(|_, machine, mut cpu, mut pair| {
        let begun = cpu.begin_kernel_thread_section(KernelUse::IntegerVectors);
        cpu.discard_registers();
        let values = pair.use_registers(&mut cpu).unwrap();
        assert!(cpu.end_kernel_section(begun.unwrap()).is_err());
        assert!(pair.thread.is_in_registers_of(&cpu));
        assert_eq!(values.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_thread_whose_registers_were_discarded_is_refused_until_it_begins_anew() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        let state = pair.thread.own().id();
        cpu.discard_registers();
        assert!(!pair.thread.is_in_registers_of(&cpu), "{}", kind.name);
        let refused = SwitchError::NotInRegisters {
            state,
            cpu: cpu.id(),
            found: RegisterContent::Nobody,
        };
        assert_eq!(pair.thread.save_before_switch(&mut cpu), Err(refused));
        assert_eq!(pair.thread.restore_before_use(&mut cpu), Err(refused));
        pair.thread.discard_active(&mut cpu);
        pair.thread.restore_before_use(&mut cpu).unwrap();
        let found = visible(&mut cpu, machine);
        assert_eq!(
            machine.initial_contents().difference(&found),
            None,
            "{}",
            kind.name
        );
    });
}

#[test]
fn a_state_that_went_offline_with_its_cpu_begins_anew_elsewhere() {
    on_every_cpu(|kind, machine, mut before, mut pair| {
        pair.use_registers(&mut before).unwrap();
        let (lost, number) = (before.id(), before.id().number());
        let mut after = machine.start(before.into_processor(), number).unwrap();
        let refused = SwitchError::InRegistersOf {
            state: pair.thread.own().id(),
            cpu: lost,
            here: after.id(),
        };
        assert_eq!(pair.thread.restore_before_use(&mut after), Err(refused));
        assert!(pair.thread.exec(&mut after).is_err());
        pair.thread.discard_active(&mut after);
        pair.thread.restore_before_use(&mut after).unwrap();
        let found = visible(&mut after, machine);
        assert_eq!(
            machine.initial_contents().difference(&found),
            None,
            "{}",
            kind.name
        );
    });
}

#[test]
fn a_guest_that_went_offline_with_its_cpu_costs_its_thread_nothing() {
    on_every_cpu(|kind, machine, mut before, mut pair| {
        let threads = pair.use_registers(&mut before).unwrap();
        let guest = &mut pair.guest;
        pair.thread.enter_guest(guest, &mut before, NOW).unwrap();
        pair.use_registers(&mut before).unwrap();
        let (lost, number) = (before.id(), before.id().number());
        let mut after = machine.start(before.into_processor(), number).unwrap();
        let guest = &mut pair.guest;
        let refused = LeaveError::Switch(SwitchError::InRegistersOf {
            state: guest.id(),
            cpu: lost,
            here: after.id(),
        });
        for restoring in [NOW, Restoring::Deferred] {
            let left = pair.thread.leave_guest(guest, &mut after, restoring);
            assert_eq!(left, Err(refused));
        }
        pair.thread.discard_active(&mut after);
        pair.thread.leave_guest(guest, &mut after, NOW).unwrap();
        let found = visible(&mut after, machine);
        assert_eq!(threads.difference(&found), None, "{}", kind.name);
        let state = pair.guest.fpstate().unwrap();
        assert_eq!(in_memory(kind, machine, state), machine.initial_contents());
    });
}

#[test]
fn a_state_that_is_discarded_in_its_registers_leaves_the_cpu_to_others() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        pair.thread.discard_active(&mut cpu);
        assert_eq!(cpu.registers(), RegisterContent::Nobody, "{}", kind.name);
        let mut other = ThreadFpu::new(pair.new_state());
        for thread in [&mut other, &mut pair.thread] {
            thread.restore_before_use(&mut cpu).unwrap();
            let found = visible(&mut cpu, machine);
            assert_eq!(machine.initial_contents().difference(&found), None);
            thread.save_before_switch(&mut cpu).unwrap();
        }
    });
}

#[test]
fn discarding_a_state_leaves_another_ones_registers_alone() {
    on_every_cpu(|_, machine, mut cpu, mut pair| {
        let values = pair.use_registers(&mut cpu).unwrap();
        let mut other = ThreadFpu::new(pair.new_state());
        other.discard_active(&mut cpu);
        assert!(pair.thread.is_in_registers_of(&cpu));
        assert_eq!(values.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_thread_leaves_a_guest_whose_object_is_gone_and_loses_neither_state() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let (id, other) = (pair.guest.id(), GuestFpu::new(pair.new_state()));
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, NOW)
            .unwrap();
        let guests = pair.use_registers(&mut cpu).unwrap();
        // The vCPU's object is gone.
        pair.guest = other;
        let guest = &mut pair.guest;
        let left = pair.thread.leave_guest(guest, &mut cpu, NOW);
        let (running, asked) = (id, guest.id());
        assert_eq!(left, Err(LeaveError::OtherGuest { running, asked }));
        let in_guest = LifeError::InGuest { guest: id };
        assert_eq!(pair.thread.exec(&mut cpu), Err(in_guest));
        let mut guest = pair.thread.abandon_guest(&mut cpu).unwrap();
        assert_eq!((guest.id(), pair.thread.running_guest()), (id, None));
        assert_eq!(in_memory(kind, machine, guest.fpstate().unwrap()), guests);
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
        pair.thread.enter_guest(&mut guest, &mut cpu, NOW).unwrap();
        let found = visible(&mut cpu, machine);
        assert_eq!(guests.difference(&found), None, "{}", kind.name);
    });
}

#[test]
fn a_guest_is_abandoned_only_by_its_thread_and_only_where_its_registers_are() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        let abandoned = pair.thread.abandon_guest(&mut cpu);
        assert_eq!(abandoned.err(), Some(LeaveError::NotInGuest));
        assert!(pair.thread.is_in_registers_of(&cpu));
        let guest = &mut pair.guest;
        pair.thread.enter_guest(guest, &mut cpu, NOW).unwrap();
        let guests = pair.use_registers(&mut cpu).unwrap();
        let mut there = observed(kind, machine, 1);
        let refused = LeaveError::Switch(SwitchError::InRegistersOf {
            state: pair.guest.id(),
            cpu: cpu.id(),
            here: there.id(),
        });
        let abandoned = pair.thread.abandon_guest(&mut there);
        assert_eq!(abandoned.err(), Some(refused));
        assert_eq!(pair.thread.running_guest(), Some(pair.guest.id()));
        assert_eq!(guests.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_confidential_guest_that_is_abandoned_is_still_the_hardwares() {
    on_every_cpu(|_, machine, mut cpu, mut pair| {
        pair.guest = GuestFpu::confidential(pair.new_state());
        let before = pair.guest.area().unwrap().to_vec();
        let threads = pair.use_registers(&mut cpu).unwrap();
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, NOW)
            .unwrap();
        cpu.processor().take_trace();
        let mut guest = pair.thread.abandon_guest(&mut cpu).unwrap();
        assert_eq!(cpu.processor().take_trace(), []);
        let state = guest.fpstate().unwrap();
        assert_eq!(state.residence(), Residence::Sealed);
        assert!(state.in_memory().is_err());
        assert_eq!(guest.area().unwrap(), before);
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
    });
}

/// Invariant I28.
#[test]
fn what_the_hardware_keeps_cannot_be_discarded() {
    on_every_cpu(|_, _, mut cpu, mut pair| {
        pair.guest = GuestFpu::confidential(pair.new_state());
        let guest = &mut pair.guest;
        pair.thread.enter_guest(guest, &mut cpu, NOW).unwrap();
        pair.thread.discard_active(&mut cpu);
        assert_eq!(pair.thread.active().residence(), Residence::Sealed);
        cpu.processor().take_trace();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(cpu.processor().take_trace(), []);
    });
}

#[test]
fn a_section_that_was_discarded_does_not_end_the_next_one() {
    on_every_cpu(|_, _, mut cpu, _| {
        let first = cpu.begin_kernel_thread_section(KernelUse::X87).unwrap();
        cpu.discard_registers();
        let second = cpu.begin_kernel_thread_section(KernelUse::X87).unwrap();
        assert!(cpu.end_kernel_section(first).is_err());
        assert_eq!(cpu.registers(), RegisterContent::Kernel);
        assert!(cpu.end_kernel_section(second).is_ok());
    });
}

//! Entering and leaving a guest: what is executed, what is refused, what a fault leaves behind.

use conformance::cpus;
use conformance::faulting::Victim;
use conformance::intercept::{Executed, Intercept};
use conformance::machine::Machine;
use conformance::pair::{Observed, Pair, in_memory, observed, visible, write};
use fpstate::switch::RegisterContent;
use fpstate::{
    CpuFpu, EnterError, GuestFpu, LeaveError, Residence, Restore, Restoring, Save, SwitchError,
    ThreadFpu,
};
use fpstate_arch::{ComponentSet, Fault, Xfd};

fn save_of(machine: &Machine) -> Executed {
    Executed::Save(machine.instructions().save(), machine.components())
}

fn restore_of(machine: &Machine, cpu: &CpuFpu<Observed>) -> Executed {
    Executed::Restore(machine.instructions().restore(), cpu.switched_components())
}

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
fn both_directions_take_one_save_and_one_restore_each() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        cpu.processor().take_trace();
        let now = Restoring::Now;
        let expected = [save_of(machine), restore_of(machine, &cpu)];
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        assert_eq!(cpu.processor().take_trace(), expected, "{}", kind.name);
        pair.thread
            .leave_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        assert_eq!(cpu.processor().take_trace(), expected, "{}", kind.name);
    });
}

/// C9 · peers · `AxVisor`'s `x86_vcpu`, rustyvisor · a guest's vector registers were not switched
#[test]
fn thread_and_guest_find_their_own_values_again_and_again() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let now = Restoring::Now;
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        let initial = machine.initial_contents();
        assert_eq!(
            initial.difference(&visible(&mut cpu, machine)),
            None,
            "{}",
            kind.name
        );
        let guests = pair.new_values();
        write(&mut cpu, &guests);
        for _ in 0..3 {
            pair.thread
                .leave_guest(&mut pair.guest, &mut cpu, now)
                .unwrap();
            assert_eq!(
                threads.difference(&visible(&mut cpu, machine)),
                None,
                "{}",
                kind.name
            );
            pair.thread
                .enter_guest(&mut pair.guest, &mut cpu, now)
                .unwrap();
            assert_eq!(
                guests.difference(&visible(&mut cpu, machine)),
                None,
                "{}",
                kind.name
            );
        }
    });
}

#[test]
fn a_deferred_exchange_happens_once_at_the_first_use() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        cpu.processor().take_trace();
        let (save, restore) = (save_of(machine), restore_of(machine, &cpu));
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, Restoring::Deferred)
            .unwrap();
        assert_eq!(cpu.processor().take_trace(), [], "{}", kind.name);
        pair.thread.restore_before_use(&mut cpu).unwrap();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        let once = [save, restore];
        assert_eq!(cpu.processor().take_trace(), once, "{}", kind.name);
    });
}

#[test]
fn an_entry_that_leaves_at_once_executes_nothing() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        cpu.processor().take_trace();
        let deferred = Restoring::Deferred;
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, deferred)
            .unwrap();
        pair.thread
            .leave_guest(&mut pair.guest, &mut cpu, deferred)
            .unwrap();
        let switch = pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(switch.restore, Restore::AlreadyInRegisters);
        assert_eq!(cpu.processor().take_trace(), [], "{}", kind.name);
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_state_that_is_in_memory_is_not_saved_again() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        cpu.processor().take_trace();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let switch = pair
            .thread
            .enter_guest(&mut pair.guest, &mut cpu, Restoring::Now)
            .unwrap();
        assert_eq!(switch.save, Save::AlreadyInMemory);
        let expected = [restore_of(machine, &cpu)];
        assert_eq!(cpu.processor().take_trace(), expected, "{}", kind.name);
    });
}

#[test]
fn a_guest_preempted_and_resumed_elsewhere_keeps_its_values() {
    on_every_cpu(|kind, machine, mut here, mut pair| {
        let mut there = observed(kind, machine, 1);
        let threads = pair.use_registers(&mut here).unwrap();
        let now = Restoring::Now;
        pair.thread
            .enter_guest(&mut pair.guest, &mut here, now)
            .unwrap();
        let guests = pair.use_registers(&mut here).unwrap();
        pair.thread.save_before_switch(&mut here).unwrap();
        pair.thread.restore_before_use(&mut there).unwrap();
        assert_eq!(guests.difference(&visible(&mut there, machine)), None);
        pair.thread
            .leave_guest(&mut pair.guest, &mut there, now)
            .unwrap();
        assert_eq!(threads.difference(&visible(&mut there, machine)), None);
    });
}

/// L66 · 2025 · 9bc610b6a2a7 · a guest's state was loaded twice, and the thread's own was lost in silence
#[test]
fn entering_twice_is_refused_and_changes_nothing() {
    on_every_cpu(|_, machine, mut cpu, mut pair| {
        let now = Restoring::Now;
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        let guests = pair.use_registers(&mut cpu).unwrap();
        cpu.processor().take_trace();
        let mut second = GuestFpu::new(pair.new_state());
        let running = pair.guest.id();
        let already = Err(EnterError::AlreadyInGuest { running });
        assert_eq!(pair.thread.enter_guest(&mut second, &mut cpu, now), already);
        assert_eq!(
            pair.thread.enter_guest(&mut pair.guest, &mut cpu, now),
            already
        );
        assert_eq!(cpu.processor().take_trace(), []);
        assert!(second.fpstate().is_some());
        assert_eq!(guests.difference(&visible(&mut cpu, machine)), None);
    });
}

/// Also L66.
#[test]
fn leaving_without_having_entered_is_refused() {
    on_every_cpu(|_, _, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        cpu.processor().take_trace();
        let left = pair
            .thread
            .leave_guest(&mut pair.guest, &mut cpu, Restoring::Now);
        assert_eq!(left, Err(LeaveError::NotInGuest));
        assert_eq!(cpu.processor().take_trace(), []);
    });
}

#[test]
fn leaving_with_another_guest_is_refused_and_names_both() {
    on_every_cpu(|_, _, mut cpu, mut pair| {
        let now = Restoring::Now;
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        let mut other = GuestFpu::new(pair.new_state());
        let (running, asked) = (pair.guest.id(), other.id());
        assert_eq!(
            pair.thread.leave_guest(&mut other, &mut cpu, now),
            Err(LeaveError::OtherGuest { running, asked })
        );
        assert_eq!(pair.thread.running_guest(), Some(running));
        pair.thread
            .leave_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
    });
}

#[test]
fn a_guest_that_another_thread_runs_is_refused_and_cannot_end() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let mut there = observed(kind, machine, 1);
        let mut other = ThreadFpu::new(pair.new_state());
        let guest = pair.guest.id();
        let now = Restoring::Now;
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        let entered = other.enter_guest(&mut pair.guest, &mut there, now);
        assert_eq!(entered, Err(EnterError::GuestInUse { guest }));
        let mut running = pair.guest.into_storage().unwrap_err();
        pair.thread
            .leave_guest(&mut running, &mut cpu, now)
            .unwrap();
        assert!(running.into_storage().is_ok());
    });
}

/// L9 · 2020 · bbc55341b9c6 · a restore failed half-way, and the registers were still taken for the owner's
/// H13 · Linux 6.12, 7.2 · `__fpu_restore_sig()` · after a failed sigreturn somebody has to clear registers and buffer
#[test]
fn a_restore_that_faults_leaves_the_registers_to_nobody_and_both_states_in_memory() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let guests = pair.run_guest(&mut cpu);
        for restoring in [Restoring::Now, Restoring::Deferred] {
            cpu.processor().inner().let_fault(Victim::Restore);
            let entered = pair
                .thread
                .enter_guest(&mut pair.guest, &mut cpu, restoring);
            let fault = SwitchError::Fault(Fault::GeneralProtection);
            if restoring == Restoring::Now {
                assert_eq!(entered, Err(EnterError::Switch(fault)), "{}", kind.name);
                assert_eq!(pair.thread.running_guest(), None);
            } else {
                entered.unwrap();
                assert_eq!(pair.thread.restore_before_use(&mut cpu), Err(fault));
                pair.thread
                    .leave_guest(&mut pair.guest, &mut cpu, restoring)
                    .unwrap();
            }
            assert_eq!(cpu.registers(), RegisterContent::Nobody);
            assert_eq!(in_memory(kind, machine, pair.thread.own()), threads);
            assert_eq!(
                in_memory(kind, machine, pair.guest.fpstate().unwrap()),
                guests
            );
            pair.thread.restore_before_use(&mut cpu).unwrap();
            assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
        }
    });
}

#[test]
fn a_save_that_faults_leaves_the_state_where_it_was() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        cpu.processor().inner().let_fault(Victim::Save);
        let entered = pair
            .thread
            .enter_guest(&mut pair.guest, &mut cpu, Restoring::Now);
        let fault = SwitchError::Fault(Fault::GeneralProtection);
        assert_eq!(entered, Err(EnterError::Switch(fault)), "{}", kind.name);
        assert_eq!(
            pair.thread.active().residence(),
            Residence::Registers(cpu.id())
        );
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
        pair.thread.save_before_switch(&mut cpu).unwrap();
        assert_eq!(in_memory(kind, machine, pair.thread.own()), threads);
    });
}

#[test]
fn xfd_is_written_after_the_save_and_before_the_restore() {
    let kind = &cpus::SAPPHIRE_RAPIDS;
    let machine = Machine::ring0(kind);
    let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
    // The CPU starts with tile data disabled, and this state does not disable it.
    pair.thread.restore_before_use(&mut cpu).unwrap();
    let executed = cpu.processor().take_trace();
    let [
        Executed::WriteXfd(Xfd::NOTHING),
        Executed::Restore(_, asked_for),
    ] = executed[..]
    else {
        panic!("{executed:?}");
    };
    // Nothing is in use, and tiles are asked for nevertheless: disabled ones look initial.
    assert!(asked_for.contains_all(ComponentSet::TILES));
    pair.thread
        .enter_guest(&mut pair.guest, &mut cpu, Restoring::Now)
        .unwrap();
    let executed = cpu.processor().take_trace();
    let [saved, Executed::Restore(..)] = executed[..] else {
        panic!("XFD is the same: {executed:?}");
    };
    assert_eq!(saved, save_of(&machine));
}

//! What may happen between an entry into a guest that is deferred and the restore that it deferred: the
//! thread's own state is parked, and yet in the registers.

use conformance::contents::Contents;
use conformance::cpus;
use conformance::faulting::Victim;
use conformance::intercept::{Executed, Intercept};
use conformance::machine::Machine;
use conformance::pair::{Observed, Pair, in_memory, observed, visible};
use fpstate::switch::RegisterContent;
use fpstate::{
    CpuFpu, EnterError, ForkError, GuestEntryError, GuestFpu, KernelUse, LeaveError, LifeError,
    Residence, Restore, Restoring, Save, SwitchError, ThreadFpu,
};
use fpstate_arch::Fault;

const NOW: Restoring = Restoring::Now;
const LATER: Restoring = Restoring::Deferred;

/// `test` on every kind of CPU with a thread whose entry into a guest is deferred, and with what is in the
/// registers: the thread's own values.
fn on_every_cpu(test: impl Fn(&cpus::RecordedCpu, CpuFpu<Observed>, Pair<'_>, Contents)) {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let own = pair.use_registers(&mut cpu).expect("a restore");
        cpu.processor().take_trace();
        enter(&mut pair, &mut cpu);
        test(kind, cpu, pair, own);
    }
}

fn enter(pair: &mut Pair<'_>, cpu: &mut CpuFpu<Observed>) {
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    thread.enter_guest(guest, cpu, LATER).expect("an entry");
    let here = Residence::Registers(cpu.id());
    assert_eq!(thread.own().residence(), here);
    assert_eq!(cpu.processor().take_trace(), []);
}

fn leave(pair: &mut Pair<'_>, cpu: &mut CpuFpu<Observed>, restoring: Restoring) {
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    thread.leave_guest(guest, cpu, restoring).expect("leaving");
}

fn save_of(machine: &Machine) -> Executed {
    Executed::Save(machine.instructions().save(), machine.components())
}

#[test]
fn the_registers_are_the_threads_own_and_the_guest_is_in_memory() {
    on_every_cpu(|kind, cpu, pair, own| {
        let (thread, mut cpu) = (&pair.thread, cpu);
        let (id, guest) = (thread.own().id(), thread.active());
        assert_eq!(cpu.registers(), RegisterContent::OnlyCopyOf(id));
        let only = thread.only_in_registers();
        assert_eq!(only.map(|state| state.id()), Some(id), "{}", kind.name);
        assert_eq!(guest.residence(), Residence::Memory);
        assert!(!thread.is_in_registers_of(&cpu));
        let found = visible(&mut cpu, pair.machine);
        assert_eq!(own.difference(&found), None, "{}", kind.name);
    });
}

#[test]
fn leaving_on_the_same_cpu_executes_nothing_and_user_code_goes_on() {
    for restoring in [NOW, LATER] {
        on_every_cpu(|kind, mut cpu, mut pair, own| {
            leave(&mut pair, &mut cpu, restoring);
            pair.thread.restore_before_use(&mut cpu).unwrap();
            assert_eq!(cpu.processor().take_trace(), [], "{}", kind.name);
            assert!(pair.thread.is_in_registers_of(&cpu));
            assert_eq!(
                pair.guest.fpstate().map(|s| s.residence()),
                Some(Residence::Memory)
            );
            let found = visible(&mut cpu, pair.machine);
            assert_eq!(own.difference(&found), None, "{}", kind.name);
        });
    }
}

#[test]
fn a_kernel_section_saves_the_own_state() {
    on_every_cpu(|kind, mut cpu, mut pair, own| {
        let begun = cpu.begin_kernel_section(&mut pair.thread, KernelUse::X87);
        let (section, switch) = begun.unwrap();
        assert!(matches!(switch.save, Save::Registers { .. }));
        let trace = cpu.processor().take_trace();
        assert_eq!(trace[0], save_of(pair.machine), "{}", kind.name);
        assert_eq!(in_memory(kind, pair.machine, pair.thread.own()), own);
        assert_eq!(pair.thread.only_in_registers().map(|s| s.id()), None);
        cpu.end_kernel_section(section).unwrap();
        leave(&mut pair, &mut cpu, NOW);
        let found = visible(&mut cpu, pair.machine);
        assert_eq!(own.difference(&found), None, "{}", kind.name);
    });
}

#[test]
fn switched_away_the_own_state_is_saved_once_and_found_on_another_cpu() {
    on_every_cpu(|kind, mut here, mut pair, own| {
        let machine = pair.machine;
        let mut there = observed(kind, machine, 1);
        pair.thread.save_before_switch(&mut here).unwrap();
        let saved = here.processor().take_trace();
        assert_eq!(saved, [save_of(machine)], "{}", kind.name);
        assert_eq!(in_memory(kind, machine, pair.thread.own()), own);
        let switch = pair.thread.restore_before_use(&mut there).unwrap();
        assert_eq!(switch.save, Save::Nothing);
        let guests = visible(&mut there, machine);
        assert_eq!(machine.initial_contents().difference(&guests), None);
        leave(&mut pair, &mut there, NOW);
        let found = visible(&mut there, machine);
        assert_eq!(own.difference(&found), None, "{}", kind.name);
    });
}

#[test]
fn switched_away_and_back_the_registers_are_still_a_copy_of_the_own_state() {
    on_every_cpu(|kind, mut cpu, mut pair, own| {
        pair.thread.save_before_switch(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let saved = cpu.processor().take_trace();
        assert_eq!(saved, [save_of(pair.machine)], "{}", kind.name);
        leave(&mut pair, &mut cpu, NOW);
        assert_eq!(cpu.processor().take_trace(), [], "{}", kind.name);
        assert!(pair.thread.is_in_registers_of(&cpu));
        let found = visible(&mut cpu, pair.machine);
        assert_eq!(own.difference(&found), None);
    });
}

/// Invariant I9: the kernel has to switch the thread out before.
#[test]
fn nobody_else_gets_the_registers_before_the_own_state_is_saved() {
    on_every_cpu(|kind, mut cpu, mut pair, own| {
        let mut other = ThreadFpu::new(pair.new_state());
        let (state, here) = (pair.thread.own().id(), cpu.id());
        let refused = SwitchError::WouldDiscard { state, cpu: here };
        assert_eq!(other.restore_before_use(&mut cpu), Err(refused));
        let begun = cpu.begin_kernel_section(&mut other, KernelUse::X87);
        assert_eq!(begun.unwrap_err(), refused);
        let begun = cpu.begin_kernel_thread_section(KernelUse::X87);
        assert_eq!(begun.unwrap_err(), refused);
        assert_eq!(cpu.registers_taken(), Err(refused));
        pair.thread.save_before_switch(&mut cpu).unwrap();
        other.restore_before_use(&mut cpu).unwrap();
        assert_eq!(in_memory(kind, pair.machine, pair.thread.own()), own);
    });
}

/// The guest would run on the host's registers.
#[test]
fn the_guest_does_not_run_before_its_state_is_restored() {
    on_every_cpu(|kind, mut cpu, mut pair, _| {
        let guest = pair.guest.id();
        let entry = pair
            .thread
            .load_guest_registers(&mut pair.guest, &mut cpu)
            .map(|_| ());
        let refused = GuestEntryError::NotInRegisters { guest };
        assert_eq!(entry, Err(refused), "{}", kind.name);
    });
}

#[test]
fn a_fork_copies_what_is_in_the_registers() {
    on_every_cpu(|kind, mut cpu, mut pair, own| {
        let child = pair.new_state();
        let child = pair.thread.fork(&mut cpu, child).unwrap();
        let mut inherited = own.clone();
        inherited.initialise(pair.machine.on_demand_components());
        let found = in_memory(kind, pair.machine, child.own());
        assert_eq!(inherited.difference(&found), None, "{}", kind.name);
        leave(&mut pair, &mut cpu, NOW);
        let found = visible(&mut cpu, pair.machine);
        assert_eq!(own.difference(&found), None, "{}", kind.name);
    });
}

#[test]
fn what_is_in_the_registers_of_one_cpu_is_not_saved_from_another() {
    on_every_cpu(|kind, cpu, mut pair, _| {
        let mut there = observed(kind, pair.machine, 1);
        let refused = SwitchError::InRegistersOf {
            state: pair.thread.own().id(),
            cpu: cpu.id(),
            here: there.id(),
        };
        let (thread, guest) = (&mut pair.thread, &mut pair.guest);
        assert_eq!(thread.save_before_switch(&mut there), Err(refused));
        assert_eq!(thread.restore_before_use(&mut there), Err(refused));
        let left = thread.leave_guest(guest, &mut there, NOW);
        assert_eq!(left, Err(LeaveError::Switch(refused)));
        let state = pair.new_state();
        let forked = pair
            .thread
            .fork(&mut there, state)
            .map_err(|(error, _)| error);
        assert_eq!(forked.err(), Some(ForkError::Save(refused)));
        assert_eq!(there.processor().take_trace(), [], "{}", kind.name);
    });
}

#[test]
fn exec_exit_and_an_edit_wait_for_the_guest_to_be_left() {
    on_every_cpu(|kind, mut cpu, mut pair, own| {
        let guest = pair.guest.id();
        let refused = LifeError::InGuest { guest };
        assert_eq!(pair.thread.exec(&mut cpu), Err(refused));
        assert!(pair.thread.edit_own().is_err());
        let again = pair.thread.enter_guest(&mut pair.guest, &mut cpu, LATER);
        assert_eq!(again, Err(EnterError::AlreadyInGuest { running: guest }));
        let exit = pair.thread.exit(&mut cpu);
        let (error, thread) = exit.map(|_| ()).unwrap_err();
        assert_eq!(error, refused, "{}", kind.name);
        pair.thread = thread;
        leave(&mut pair, &mut cpu, NOW);
        let found = visible(&mut cpu, pair.machine);
        assert_eq!(own.difference(&found), None, "{}", kind.name);
    });
}

#[test]
fn a_cpu_that_is_lost_takes_the_own_state_with_it_and_not_the_guests() {
    on_every_cpu(|kind, lost, mut pair, _| {
        let machine = pair.machine;
        let mut cpu = observed(kind, machine, 1);
        drop(lost);
        assert!(pair.thread.restore_before_use(&mut cpu).is_err());
        pair.thread.discard_active(&mut cpu);
        assert!(pair.thread.restore_before_use(&mut cpu).is_err());
        pair.thread.discard_own(&mut cpu);
        pair.thread.restore_before_use(&mut cpu).unwrap();
        let guests = pair.use_registers(&mut cpu).unwrap();
        leave(&mut pair, &mut cpu, NOW);
        let found = visible(&mut cpu, machine);
        assert_eq!(machine.initial_contents().difference(&found), None);
        let state = pair.guest.fpstate().unwrap();
        assert_eq!(in_memory(kind, machine, state), guests, "{}", kind.name);
    });
}

#[test]
fn an_own_state_that_is_discarded_is_no_longer_in_the_registers() {
    on_every_cpu(|kind, mut cpu, mut pair, _| {
        pair.thread.discard_own(&mut cpu);
        assert_eq!(cpu.registers(), RegisterContent::Nobody);
        leave(&mut pair, &mut cpu, NOW);
        let found = visible(&mut cpu, pair.machine);
        let initial = pair.machine.initial_contents();
        assert_eq!(initial.difference(&found), None, "{}", kind.name);
        pair.use_registers(&mut cpu).unwrap();
        pair.thread.discard_own(&mut cpu);
        assert_eq!(pair.thread.own().residence(), Residence::Memory);
        assert_eq!(cpu.registers(), RegisterContent::Nobody);
    });
}

#[test]
fn a_guest_that_is_abandoned_leaves_the_own_state_in_the_registers() {
    on_every_cpu(|kind, mut cpu, mut pair, own| {
        let asked = pair.guest.id();
        let abandoned = pair.thread.abandon_guest(&mut cpu).unwrap();
        assert_eq!(abandoned.id(), asked);
        assert_eq!(cpu.processor().take_trace(), [], "{}", kind.name);
        assert!(pair.thread.is_in_registers_of(&cpu));
        let found = visible(&mut cpu, pair.machine);
        assert_eq!(own.difference(&found), None, "{}", kind.name);
        assert!(abandoned.into_storage().is_ok());
    });
}

/// Invariant I28.
#[test]
fn a_confidential_guest_gets_the_registers_after_the_own_state_is_saved() {
    on_every_cpu(|kind, mut cpu, mut pair, own| {
        leave(&mut pair, &mut cpu, LATER);
        pair.guest = GuestFpu::confidential(pair.new_state());
        enter(&mut pair, &mut cpu);
        leave(&mut pair, &mut cpu, NOW);
        assert_eq!(cpu.processor().take_trace(), [], "{}", kind.name);
        enter(&mut pair, &mut cpu);
        let switch = pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(switch.restore, Restore::Nothing);
        let executed = cpu.processor().take_trace();
        assert_eq!(executed, [save_of(pair.machine)], "{}", kind.name);
        assert_eq!(cpu.registers(), RegisterContent::Nobody);
        assert_eq!(in_memory(kind, pair.machine, pair.thread.own()), own);
        leave(&mut pair, &mut cpu, NOW);
        let found = visible(&mut cpu, pair.machine);
        assert_eq!(own.difference(&found), None, "{}", kind.name);
    });
}

#[test]
fn a_save_that_faults_leaves_the_own_state_in_the_registers_and_a_restore_in_memory() {
    on_every_cpu(|kind, mut cpu, mut pair, own| {
        let fault = Err(SwitchError::Fault(Fault::GeneralProtection));
        cpu.processor().inner().let_fault(Victim::Save);
        assert_eq!(pair.thread.restore_before_use(&mut cpu), fault);
        let id = pair.thread.own().id();
        assert_eq!(cpu.registers(), RegisterContent::OnlyCopyOf(id));
        assert_eq!(
            pair.thread.own().residence(),
            Residence::Registers(cpu.id())
        );
        cpu.processor().inner().let_fault(Victim::Restore);
        assert_eq!(pair.thread.restore_before_use(&mut cpu), fault);
        assert_eq!(cpu.registers(), RegisterContent::Nobody);
        assert_eq!(in_memory(kind, pair.machine, pair.thread.own()), own);
        // What a restore that faulted left.
        let in_use = visible(&mut cpu, pair.machine).not_initial();
        cpu.processor().take_trace();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        let executed = cpu.processor().take_trace();
        let [Executed::Restore(_, asked_for)] = executed[..] else {
            panic!("{}: {executed:?}", kind.name);
        };
        assert!(asked_for.contains_all(in_use), "{}", kind.name);
    });
}

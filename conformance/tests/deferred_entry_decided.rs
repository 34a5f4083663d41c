//! What an entry into a guest put off, decided by the library and carried out by somebody else.

use conformance::contents::Contents;
use conformance::cpus;
use conformance::machine::Machine;
use conformance::memory::Memory;
use conformance::pair::{Observed, Pair, in_memory, observed, visible};
use fpstate::switch::RegisterContent;
use fpstate::{CpuFpu, Decided, KernelUse, Restore, Restoring, Save, SwitchError, ThreadFpu};
use fpstate_arch::Processor;

const LATER: Restoring = Restoring::Deferred;

/// `test` on every kind of CPU with a thread whose entry into a guest is deferred, noted and not carried out:
/// there is nothing to do.
fn on_every_cpu(test: impl Fn(&cpus::RecordedCpu, CpuFpu<Observed>, Pair<'_>, Contents)) {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let own = pair.use_registers(&mut cpu).unwrap();
        let (thread, guest) = (&mut pair.thread, &mut pair.guest);
        let decided = thread.decide_enter_guest(guest, &cpu, LATER).unwrap();
        let switch = decided.switch();
        let nothing = (Save::Deferred, None, Restore::Deferred);
        assert_eq!((switch.save, switch.xfd, switch.restore), nothing);
        thread
            .commit_enter_guest(guest, &mut cpu, LATER, decided)
            .unwrap();
        test(kind, cpu, pair, own);
    }
}

/// The save into the thread's own area, then the restore from the guest's.
fn carry_out<S: fpstate::AreaStorage>(
    decided: Decided,
    cpu: &mut CpuFpu<Observed>,
    thread: &mut ThreadFpu<'_, S>,
) {
    let switch = decided.switch();
    let (own, guest) = thread.areas();
    let Save::Registers { instruction, rfbm } = switch.save else {
        panic!("{:?} instead of a save", switch.save);
    };
    instruction.execute(cpu.processor(), own, rfbm).unwrap();
    if let Some(xfd) = switch.xfd {
        cpu.processor().write_xfd(xfd).unwrap();
    }
    if let Restore::Area {
        instruction, rfbm, ..
    } = switch.restore
    {
        let guest = Memory::holding(guest.unwrap());
        let restored = instruction.execute(cpu.processor(), guest.bytes(), rfbm);
        restored.unwrap();
    }
}

#[test]
fn the_restore_before_use_says_save_and_restore() {
    on_every_cpu(|kind, mut cpu, mut pair, own| {
        let decided = pair.thread.decide_restore_before_use(&cpu).unwrap();
        let restores = matches!(decided.switch().restore, Restore::Area { .. });
        assert!(restores, "{}", kind.name);
        carry_out(decided, &mut cpu, &mut pair.thread);
        let thread = &mut pair.thread;
        thread.commit_restore_before_use(&mut cpu, decided).unwrap();
        assert!(thread.is_in_registers_of(&cpu), "{}", kind.name);
        assert_eq!(in_memory(kind, pair.machine, thread.own()), own);
        let guests = visible(&mut cpu, pair.machine);
        let initial = pair.machine.initial_contents();
        assert_eq!(initial.difference(&guests), None, "{}", kind.name);
    });
}

#[test]
fn a_save_before_a_switch_and_one_before_a_section_are_of_the_own_state() {
    on_every_cpu(|kind, mut cpu, mut pair, own| {
        let decided = pair.thread.decide_save_before_switch(&cpu).unwrap();
        let for_a_section = cpu.decide_begin_kernel_section(&pair.thread).unwrap();
        assert_eq!(for_a_section.switch().save, decided.switch().save);
        carry_out(decided, &mut cpu, &mut pair.thread);
        let thread = &mut pair.thread;
        thread.commit_save_before_switch(&mut cpu, decided).unwrap();
        assert_eq!(in_memory(kind, pair.machine, thread.own()), own);
        assert_eq!(cpu.registers(), RegisterContent::CopyOf(thread.own().id()));
    });
}

#[test]
fn a_section_carried_out_by_somebody_else_notes_the_own_state_as_saved() {
    on_every_cpu(|kind, mut cpu, mut pair, own| {
        let decided = cpu.decide_begin_kernel_section(&pair.thread).unwrap();
        carry_out(decided, &mut cpu, &mut pair.thread);
        let section = cpu
            .commit_begin_kernel_section(&mut pair.thread, decided)
            .unwrap();
        assert_eq!(in_memory(kind, pair.machine, pair.thread.own()), own);
        cpu.end_kernel_section(section).unwrap();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert!(pair.thread.is_in_registers_of(&cpu), "{}", kind.name);
    });
}

#[test]
fn a_restore_decided_before_the_own_state_was_saved_is_stale() {
    on_every_cpu(|kind, mut cpu, mut pair, _| {
        let restore = pair.thread.decide_restore_before_use(&cpu).unwrap();
        let save = pair.thread.decide_save_before_switch(&cpu).unwrap();
        let section = cpu.decide_begin_kernel_section(&pair.thread).unwrap();
        let begun = cpu.begin_kernel_section(&mut pair.thread, KernelUse::X87);
        cpu.end_kernel_section(begun.unwrap().0).unwrap();
        let (thread, stale) = (&mut pair.thread, SwitchError::Stale);
        let restored = thread.commit_restore_before_use(&mut cpu, restore);
        assert_eq!(restored, Err(stale), "{}", kind.name);
        let saved = thread.commit_save_before_switch(&mut cpu, save);
        assert_eq!(saved, Err(stale), "{}", kind.name);
        let begun = cpu.commit_begin_kernel_section(thread, section);
        assert_eq!(begun.unwrap_err(), stale, "{}", kind.name);
        assert!(!thread.is_in_registers_of(&cpu));
    });
}

/// It is another state whose save was put off.
#[test]
fn a_restore_decided_for_one_own_state_is_not_committed_for_another() {
    on_every_cpu(|kind, mut cpu, mut pair, _| {
        let decided = pair.thread.decide_restore_before_use(&cpu).unwrap();
        let (thread, guest) = (&mut pair.thread, &mut pair.guest);
        thread.leave_guest(guest, &mut cpu, LATER).unwrap();
        thread.save_before_switch(&mut cpu).unwrap();
        let mut other = ThreadFpu::new(pair.new_state());
        other.restore_before_use(&mut cpu).unwrap();
        other.enter_guest(&mut pair.guest, &mut cpu, LATER).unwrap();
        let committed = other.commit_restore_before_use(&mut cpu, decided);
        assert_eq!(committed, Err(SwitchError::Stale), "{}", kind.name);
        let own = other.own().id();
        assert_eq!(cpu.registers(), RegisterContent::OnlyCopyOf(own));
    });
}

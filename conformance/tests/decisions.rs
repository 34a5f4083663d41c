//! Decisions that somebody else carries out: what is committed is what was decided, for the same
//! states on the same CPU, and nothing else.

use conformance::contents::Contents;
use conformance::cpus;
use conformance::images::standard_image;
use conformance::machine::Machine;
use conformance::memory::Memory;
use conformance::pair::{Observed, Pair, active_area, in_memory, observed, visible, write};
use fpstate::switch::RegisterContent;
use fpstate::{
    CpuFpu, Decided, EnterError, GuestFpu, KernelUse, Layout, Restore, Restoring, Save,
    StandardImage, SwitchError, ThreadFpu,
};
use fpstate_arch::{ComponentSet, Mxcsr, Processor};

const NOW: Restoring = Restoring::Now;
const STALE: SwitchError = SwitchError::Stale;

/// `test` on every kind of CPU.
fn on_every_cpu(test: impl Fn(&cpus::RecordedCpu, &Machine, CpuFpu<Observed>, Pair<'_>)) {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let cpu = observed(kind, &machine, 0);
        test(kind, &machine, cpu, Pair::new(&machine));
    }
}

/// Executes the save and the restore that were decided.
fn carry_out(
    decided: Decided,
    cpu: &mut CpuFpu<Observed>,
    outgoing: &mut [u8],
    incoming: Option<&[u8]>,
) {
    let switch = decided.switch();
    if let Save::Registers { instruction, rfbm } = switch.save {
        let saved = instruction.execute(cpu.processor(), outgoing, rfbm);
        assert_eq!(saved, Ok(()));
    }
    if let Some(xfd) = switch.xfd {
        assert_eq!(cpu.processor().write_xfd(xfd), Ok(()));
    }
    if let (
        Restore::Area {
            instruction, rfbm, ..
        },
        Some(incoming),
    ) = (switch.restore, incoming)
    {
        let restored = instruction.execute(cpu.processor(), incoming, rfbm);
        assert_eq!(restored, Ok(()));
    }
}

#[test]
fn both_directions_carried_out_by_somebody_else_have_the_same_result() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let decided = pair.thread.decide_restore_before_use(&cpu).unwrap();
        let incoming = Memory::holding(pair.thread.areas().0);
        carry_out(decided, &mut cpu, &mut [], Some(incoming.bytes()));
        pair.thread
            .commit_restore_before_use(&mut cpu, decided)
            .unwrap();
        assert!(pair.thread.is_in_registers_of(&cpu), "{}", kind.name);
        let threads = pair.new_values();
        write(&mut cpu, &threads);
        let (thread, guest) = (&mut pair.thread, &mut pair.guest);
        let decided = thread.decide_enter_guest(guest, &cpu, NOW).unwrap();
        assert!(matches!(decided.switch().save, Save::Registers { .. }));
        assert!(matches!(decided.switch().restore, Restore::Area { .. }));
        let (outgoing, incoming) = (active_area(thread), guest.area().unwrap());
        carry_out(decided, &mut cpu, outgoing, Some(incoming));
        thread
            .commit_enter_guest(guest, &mut cpu, NOW, decided)
            .unwrap();
        assert_eq!(in_memory(kind, machine, thread.own()), threads);
        let guests = pair.new_values();
        write(&mut cpu, &guests);
        let (thread, guest) = (&mut pair.thread, &mut pair.guest);
        let decided = thread.decide_leave_guest(guest, &cpu, NOW).unwrap();
        let incoming = Memory::holding(thread.areas().0);
        let outgoing = active_area(thread);
        carry_out(decided, &mut cpu, outgoing, Some(incoming.bytes()));
        thread
            .commit_leave_guest(guest, &mut cpu, NOW, decided)
            .unwrap();
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
        let state = pair.guest.fpstate().unwrap();
        assert_eq!(in_memory(kind, machine, state), guests, "{}", kind.name);
    });
}

#[test]
fn a_section_and_a_save_carried_out_by_somebody_else_have_the_same_result() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let values = pair.use_registers(&mut cpu).unwrap();
        let decided = cpu.decide_begin_kernel_section(&pair.thread).unwrap();
        carry_out(decided, &mut cpu, active_area(&mut pair.thread), None);
        let section = cpu
            .commit_begin_kernel_section(&mut pair.thread, decided)
            .unwrap();
        assert_eq!(cpu.registers(), RegisterContent::Kernel);
        assert_eq!(in_memory(kind, machine, pair.thread.own()), values);
        cpu.end_kernel_section(section).unwrap();
        let values = pair.use_registers(&mut cpu).unwrap();
        let decided = pair.thread.decide_save_before_switch(&cpu).unwrap();
        carry_out(decided, &mut cpu, active_area(&mut pair.thread), None);
        pair.thread
            .commit_save_before_switch(&mut cpu, decided)
            .unwrap();
        assert_eq!(in_memory(kind, machine, pair.thread.own()), values);
    });
}

#[test]
fn a_decision_that_the_states_no_longer_call_for_is_refused() {
    on_every_cpu(|_, _, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        let (thread, guest) = (&mut pair.thread, &mut pair.guest);
        let entry = thread.decide_enter_guest(guest, &cpu, NOW).unwrap();
        let save = thread.decide_save_before_switch(&cpu).unwrap();
        let section = cpu.decide_begin_kernel_section(thread).unwrap();
        thread.save_before_switch(&mut cpu).unwrap();
        let entered = thread.commit_enter_guest(guest, &mut cpu, NOW, entry);
        assert_eq!(entered, Err(EnterError::Switch(STALE)));
        let saved = thread.commit_save_before_switch(&mut cpu, save);
        assert_eq!(saved, Err(STALE));
        let begun = cpu.commit_begin_kernel_section(thread, section);
        assert_eq!(begun.unwrap_err(), STALE);
        assert_eq!(thread.running_guest(), None);
        assert!(guest.fpstate().is_some());
    });
}

#[test]
fn a_decision_for_one_guest_is_not_committed_for_another() {
    on_every_cpu(|_, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let mut other = GuestFpu::new(pair.new_state());
        let (thread, guest) = (&mut pair.thread, &mut pair.guest);
        let decided = thread.decide_enter_guest(guest, &cpu, NOW).unwrap();
        let entered = thread.commit_enter_guest(&mut other, &mut cpu, NOW, decided);
        assert_eq!(entered, Err(EnterError::Switch(STALE)));
        assert!(other.fpstate().is_some() && guest.fpstate().is_some());
        thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_decision_for_one_thread_is_not_committed_for_another() {
    on_every_cpu(|_, _, mut cpu, pair| {
        let mut other = ThreadFpu::new(pair.new_state());
        let decided = pair.thread.decide_restore_before_use(&cpu).unwrap();
        let committed = other.commit_restore_before_use(&mut cpu, decided);
        assert_eq!(committed, Err(STALE));
        let decided = cpu.decide_begin_kernel_section(&pair.thread).unwrap();
        let begun = cpu.commit_begin_kernel_section(&mut other, decided);
        assert_eq!(begun.unwrap_err(), STALE);
        assert_eq!(cpu.registers(), RegisterContent::Nobody);
        assert!(!other.is_in_registers_of(&cpu));
    });
}

#[test]
fn a_decision_for_one_cpu_is_not_committed_on_another() {
    on_every_cpu(|kind, machine, here, mut pair| {
        // The same number, which says nothing.
        let mut there = observed(kind, machine, here.id().number());
        let (thread, guest) = (&mut pair.thread, &mut pair.guest);
        let restore = thread.decide_restore_before_use(&here).unwrap();
        let entry = thread.decide_enter_guest(guest, &here, NOW).unwrap();
        let committed = thread.commit_restore_before_use(&mut there, restore);
        assert_eq!(committed, Err(STALE));
        let entered = thread.commit_enter_guest(guest, &mut there, NOW, entry);
        assert_eq!(entered, Err(EnterError::Switch(STALE)));
        assert_eq!(there.registers(), RegisterContent::Nobody);
        assert_eq!(thread.running_guest(), None);
    });
}

#[test]
fn a_decision_for_another_moment_of_restoring_is_refused() {
    on_every_cpu(|_, _, mut cpu, mut pair| {
        let (thread, guest) = (&mut pair.thread, &mut pair.guest);
        let later = Restoring::Deferred;
        let decided = thread.decide_enter_guest(guest, &cpu, later).unwrap();
        let entered = thread.commit_enter_guest(guest, &mut cpu, NOW, decided);
        assert_eq!(entered, Err(EnterError::Switch(STALE)));
        assert_eq!(thread.running_guest(), None);
    });
}

/// The registers would be taken for the edited state, and the edit would be lost.
#[test]
fn a_decision_made_before_an_edit_is_refused_and_the_edit_is_not_lost() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let decided = pair.thread.decide_restore_before_use(&cpu).unwrap();
        let incoming = Memory::holding(pair.thread.areas().0);
        carry_out(decided, &mut cpu, &mut [], Some(incoming.bytes()));
        let mut edited = machine.initial_contents();
        edited.set_mxcsr(Mxcsr::from_bits(0x9f80));
        let area = pair.thread.edit_own().unwrap();
        area.set_legacy(edited.legacy(), 0xffff).unwrap();
        let committed = pair.thread.commit_restore_before_use(&mut cpu, decided);
        assert_eq!(committed, Err(STALE), "{}", kind.name);
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(edited.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_decision_made_before_an_import_into_the_guest_is_refused() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let foreign = cpus::GENOA.enumeration();
        let mut values = Contents::initial(&foreign, ComponentSet::LEGACY);
        values.set_mxcsr(Mxcsr::from_bits(0x9f80));
        let memory = standard_image(&foreign, &values, ComponentSet::LEGACY);
        let layout = Layout::standard(&foreign, ComponentSet::LEGACY).unwrap();
        let image = StandardImage::parse(memory.bytes(), layout, 0xffff).unwrap();
        let (thread, guest) = (&mut pair.thread, &mut pair.guest);
        let decided = thread.decide_enter_guest(guest, &cpu, NOW).unwrap();
        carry_out(decided, &mut cpu, &mut [], guest.area().as_deref());
        guest.import(&image, ComponentSet::EMPTY).unwrap();
        let entered = thread.commit_enter_guest(guest, &mut cpu, NOW, decided);
        assert_eq!(entered, Err(EnterError::Switch(STALE)), "{}", kind.name);
        thread.enter_guest(guest, &mut cpu, NOW).unwrap();
        let mut expected = machine.initial_contents();
        expected.take_legacy(&values);
        assert_eq!(expected.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_decision_from_before_the_state_ran_elsewhere_is_stale() {
    on_every_cpu(|kind, machine, here, mut pair| {
        let mut here = here;
        let mut there = observed(kind, machine, 1);
        let decided = pair.thread.decide_restore_before_use(&here).unwrap();
        pair.use_registers(&mut there).unwrap();
        pair.thread.save_before_switch(&mut there).unwrap();
        let committed = pair.thread.commit_restore_before_use(&mut here, decided);
        assert_eq!(committed, Err(SwitchError::Stale), "{}", kind.name);
    });
}

/// L8 · 2019 · 59c4bd853abc, CVE-2019-19602 · a compiler kept the owner of the registers over a preemption; another thread's registers were believed
#[test]
fn a_decision_from_before_the_registers_were_used_is_stale() {
    on_every_cpu(|kind, _, mut cpu, mut pair| {
        let decided = pair.thread.decide_restore_before_use(&cpu).unwrap();
        let section = cpu.begin_kernel_thread_section(KernelUse::X87).unwrap();
        cpu.end_kernel_section(section).unwrap();
        let committed = pair.thread.commit_restore_before_use(&mut cpu, decided);
        assert_eq!(committed, Err(SwitchError::Stale), "{}", kind.name);
    });
}

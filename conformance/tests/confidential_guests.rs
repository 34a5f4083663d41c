//! Guests whose state the hardware keeps (SEV-ES, TDX): never saved, never restored (I28).

use conformance::contents::Contents;
use conformance::cpus;
use conformance::images::standard_image;
use conformance::intercept::Executed;
use conformance::machine::Machine;
use conformance::pair::{Observed, Pair, in_memory, observed, visible, write};
use fpstate::switch::RegisterContent;
use fpstate::{
    CpuFpu, GuestFpu, GuestStateError, ImportError, Layout, NotInMemory, Residence, Restore,
    Restoring, Save, StandardImage, ThreadFpu,
};
use fpstate_arch::{ComponentSet, Xfd};

/// `test` on every kind of CPU, with a guest that is confidential.
fn on_every_cpu(test: impl Fn(&cpus::RecordedCpu, &Machine, CpuFpu<Observed>, Pair<'_>)) {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let mut pair = Pair::new(&machine);
        pair.guest = GuestFpu::confidential(pair.new_state());
        test(kind, &machine, observed(kind, &machine, 0), pair);
    }
}

fn is_restore(executed: &Executed) -> bool {
    matches!(executed, Executed::Restore(..))
}

#[test]
fn entering_saves_the_thread_and_restores_nothing() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        cpu.processor().take_trace();
        let now = Restoring::Now;
        let switch = pair
            .thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        assert_eq!(switch.restore, Restore::Nothing);
        let save = Executed::Save(machine.instructions().save(), machine.components());
        assert_eq!(cpu.processor().take_trace(), [save], "{}", kind.name);
        assert_eq!(cpu.registers(), RegisterContent::Nobody);
        assert_eq!(pair.thread.active().residence(), Residence::Sealed);
    });
}

#[test]
fn leaving_saves_nothing_and_restores_the_thread_fully() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let now = Restoring::Now;
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        let hardwares = pair.new_values();
        write(&mut cpu, &hardwares);
        cpu.processor().take_trace();
        let switch = pair
            .thread
            .leave_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        assert_eq!(switch.save, Save::Nothing);
        let trace = cpu.processor().take_trace();
        assert!(
            trace.len() == 1 && is_restore(&trace[0]),
            "{}: {trace:?}",
            kind.name
        );
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn xfd_is_still_the_guests_own() {
    let kind = &cpus::SAPPHIRE_RAPIDS;
    let machine = Machine::ring0(kind);
    let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
    pair.guest = GuestFpu::confidential(pair.new_state());
    // The CPU starts with tile data disabled; nothing was restored on it yet.
    let now = Restoring::Now;
    pair.thread
        .enter_guest(&mut pair.guest, &mut cpu, now)
        .unwrap();
    let trace = cpu.processor().take_trace();
    assert_eq!(trace, [Executed::WriteXfd(Xfd::NOTHING)]);
}

#[test]
fn a_thread_preempted_in_a_confidential_guest_is_switched_without_a_save() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let now = Restoring::Now;
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        let hardwares = pair.new_values();
        write(&mut cpu, &hardwares);
        cpu.processor().take_trace();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        assert_eq!(cpu.processor().take_trace(), [], "{}", kind.name);
        let mut other = ThreadFpu::new(pair.new_state());
        other.restore_before_use(&mut cpu).unwrap();
        let initial = machine.initial_contents();
        assert_eq!(initial.difference(&visible(&mut cpu, machine)), None);
        other.save_before_switch(&mut cpu).unwrap();
        cpu.processor().take_trace();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert!(!cpu.processor().take_trace().iter().any(is_restore));
        // The other thread's copy in the registers is void: the guest ran.
        write(&mut cpu, &hardwares);
        pair.thread
            .leave_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
        pair.thread.save_before_switch(&mut cpu).unwrap();
        assert_eq!(in_memory(kind, machine, other.own()), initial);
    });
}

#[test]
fn the_area_of_a_sealed_state_can_be_neither_read_nor_written() {
    on_every_cpu(|_, _, mut cpu, mut pair| {
        let before = pair.guest.area().unwrap().to_vec();
        let sealed = NotInMemory::Sealed;
        let state = pair.guest.fpstate().unwrap();
        assert_eq!(state.in_memory().err(), Some(sealed));
        let refused = Some(GuestStateError::NotInMemory(sealed));
        assert_eq!(pair.guest.edit().err(), refused);
        let foreign = cpus::GENOA.enumeration();
        let initial = Contents::initial(&foreign, ComponentSet::LEGACY);
        let memory = standard_image(&foreign, &initial, ComponentSet::LEGACY);
        let layout = Layout::standard(&foreign, ComponentSet::LEGACY).unwrap();
        let image = StandardImage::parse(memory.bytes(), layout, 0xffff).unwrap();
        let refused = GuestStateError::Import(ImportError::NotInMemory(sealed));
        assert_eq!(pair.guest.import(&image, ComponentSet::EMPTY), Err(refused));
        pair.run_guest(&mut cpu);
        let state = pair.guest.fpstate().unwrap();
        assert_eq!(state.residence(), Residence::Sealed);
        assert_eq!(pair.guest.area().unwrap(), before);
    });
}

#[test]
fn an_entry_that_is_deferred_and_never_used_leaves_the_threads_registers_valid() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let deferred = Restoring::Deferred;
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, deferred)
            .unwrap();
        pair.thread
            .leave_guest(&mut pair.guest, &mut cpu, deferred)
            .unwrap();
        let switch = pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(switch.restore, Restore::AlreadyInRegisters, "{}", kind.name);
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
    });
}

//! A guest's XCR0 is loaded and nobody is left to load the host's: whatever would use the registers
//! is refused (invariant I29). And what is never loaded in the first place.

use conformance::intercept::{Executed, Intercept};
use conformance::machine::Machine;
use conformance::on_demand::{
    KIND, TILE_DATA, guest_of, guests_components, permissions, small_pair, threads_components, xfd,
};
use conformance::pair::{Observed, Pair, observed, visible};
use fpstate::switch::RegisterContent;
use fpstate::{
    BoxedArea, CpuFpu, DeviceNotAvailableError, EnterError, Expansion, ForkError, GuestEntryError,
    GuestFpu, GuestRegisterError, KernelUse, LeaveError, LifeError, Offer, ResizeError, Restoring,
    SwitchError, ThreadFpu, VmExit,
};
use fpstate_arch::{ComponentSet, Fault, Processor, Xcr0, XfdErr, Xss};
use fpstate_model::{Osxsave, Privilege};

const NOW: Restoring = Restoring::Now;

/// A CPU that still has the XCR0 of the pair's guest, and somebody else on it.
struct Lost<'e> {
    pair: Pair<'e>,
    cpu: CpuFpu<Observed>,
    other: Pair<'e>,
    expansion: Expansion<'e>,
}

fn lost(machine: &Machine) -> Lost<'_> {
    let (mut pair, mut cpu) = (small_pair(machine), observed(&KIND, machine, 0));
    let expansion = pair.guest.expansion(TILE_DATA).expect("what is offered");
    let (thread, guest) = (&mut pair.thread, &mut pair.guest);
    guest.write_xfd_err(TILE_DATA).expect("IA32_XFD_ERR");
    thread.enter_guest(guest, &mut cpu, NOW).expect("an entry");
    let entry = thread.load_guest_registers(guest, &mut cpu);
    // Lost: it has no Drop, so this is as good as mem::forget().
    let _ = entry.expect("an entry");
    let xcr0 = cpu.processor().xgetbv();
    assert_eq!(xcr0, Ok(Xcr0::AFTER_RESET.components()), "the guest's");
    cpu.processor().take_trace();
    Lost {
        other: small_pair(machine),
        pair,
        cpu,
        expansion,
    }
}

type Operation = fn(&mut Lost<'_>) -> Option<SwitchError>;

fn on_enter(error: EnterError) -> Option<SwitchError> {
    match error {
        EnterError::Switch(error) => Some(error),
        EnterError::AlreadyInGuest { .. } | EnterError::GuestInUse { .. } | _ => None,
    }
}

fn on_leave(error: LeaveError) -> Option<SwitchError> {
    match error {
        LeaveError::Switch(error) => Some(error),
        LeaveError::NotInGuest | LeaveError::OtherGuest { .. } | _ => None,
    }
}

/// What the thread in the guest could try.
const BY_THE_THREAD: [(&str, Operation); 14] = [
    ("save", |l| {
        l.pair.thread.save_before_switch(&mut l.cpu).err()
    }),
    ("decide a save", |l| {
        l.pair.thread.decide_save_before_switch(&l.cpu).err()
    }),
    ("restore", |l| {
        l.pair.thread.restore_before_use(&mut l.cpu).err()
    }),
    ("decide a restore", |l| {
        l.pair.thread.decide_restore_before_use(&l.cpu).err()
    }),
    ("leave", |l| {
        let Pair { thread, guest, .. } = &mut l.pair;
        thread
            .leave_guest(guest, &mut l.cpu, NOW)
            .err()
            .and_then(on_leave)
    }),
    ("leave, restore later", |l| {
        let Pair { thread, guest, .. } = &mut l.pair;
        let later = Restoring::Deferred;
        thread
            .leave_guest(guest, &mut l.cpu, later)
            .err()
            .and_then(on_leave)
    }),
    ("abandon", |l| {
        l.pair
            .thread
            .abandon_guest(&mut l.cpu)
            .err()
            .and_then(on_leave)
    }),
    ("load again", |l| {
        let Pair { thread, guest, .. } = &mut l.pair;
        match thread.load_guest_registers(guest, &mut l.cpu).err() {
            Some(GuestEntryError::Switch(error)) => Some(error),
            Some(_) | None => None,
        }
    }),
    ("kernel section", |l| {
        let use_ = KernelUse::FloatVectors;
        l.cpu.begin_kernel_section(&mut l.pair.thread, use_).err()
    }),
    ("decide a section", |l| {
        l.cpu.decide_begin_kernel_section(&l.pair.thread).err()
    }),
    ("write XFD", |l| {
        let Pair { thread, guest, .. } = &mut l.pair;
        match thread.write_guest_xfd(guest, &mut l.cpu, TILE_DATA) {
            Err(GuestRegisterError::Switch(error)) => Some(error),
            Err(_) | Ok(()) => None,
        }
    }),
    ("INIT", |l| {
        let Pair { thread, guest, .. } = &mut l.pair;
        match thread.init_guest(guest, &mut l.cpu) {
            Err(GuestRegisterError::Switch(error)) => Some(error),
            Err(_) | Ok(()) => None,
        }
    }),
    ("expand", |l| {
        let memory = l.pair.machine.memory();
        match l.pair.thread.expand(l.expansion, &mut l.cpu, memory) {
            Err((ResizeError::Switch(error), _)) => Some(error),
            Err(_) | Ok(_) => None,
        }
    }),
    ("#NM", |l| {
        let offer = Offer::for_ring0(&l.pair.machine.enumeration);
        let permissions = permissions(&offer);
        match l.pair.thread.device_not_available(&mut l.cpu, &permissions) {
            Err(DeviceNotAvailableError::Switch(error)) => Some(error),
            Err(_) | Ok(_) => None,
        }
    }),
];

/// What others on the same CPU could try.
const BY_OTHERS: [(&str, Operation); 9] = [
    ("kernel thread's section", |l| {
        l.cpu.begin_kernel_thread_section(KernelUse::X87).err()
    }),
    ("registers taken", |l| l.cpu.registers_taken().err()),
    ("idle", |l| l.cpu.release_tiles().err()),
    ("resume", |l| l.cpu.resume().err()),
    ("another thread's save", |l| {
        l.other.thread.save_before_switch(&mut l.cpu).err()
    }),
    ("another thread's restore", |l| {
        l.other.thread.restore_before_use(&mut l.cpu).err()
    }),
    ("another thread's fork", |l| {
        let child = l.other.new_state_for(threads_components(l.other.machine));
        match l.other.thread.fork(&mut l.cpu, child) {
            Err((ForkError::Save(error), _)) => Some(error),
            Err(_) | Ok(_) => None,
        }
    }),
    ("another guest", |l| {
        let Pair { thread, guest, .. } = &mut l.other;
        thread
            .enter_guest(guest, &mut l.cpu, NOW)
            .err()
            .and_then(on_enter)
    }),
    ("another thread's release", |l| {
        let memory = l.other.machine.memory();
        match l.other.thread.release(&mut l.cpu, memory) {
            Err((ResizeError::Switch(error), _)) => Some(error),
            Err(_) | Ok(_) => None,
        }
    }),
];

/// L54 · 2019, 2025 · 1811d979c716, 75c69c82f211, 63669bd1d50f · the host restored its registers while the guest's XCR0 was loaded: #GP
#[test]
fn nothing_uses_the_registers_of_a_cpu_whose_guest_entry_was_lost() {
    let machine = Machine::offered(&KIND);
    for (name, operation) in BY_THE_THREAD.into_iter().chain(BY_OTHERS) {
        let mut lost = lost(&machine);
        let refused = SwitchError::GuestControl { cpu: lost.cpu.id() };
        assert_eq!(operation(&mut lost), Some(refused), "{name}");
        assert_eq!(lost.cpu.processor().take_trace(), [], "{name}");
    }
}

/// XCR0 is the guest's still, though the registers are nobody's.
#[test]
fn nothing_uses_them_after_they_were_discarded_either() {
    let machine = Machine::offered(&KIND);
    for (name, operation) in BY_OTHERS {
        let mut lost = lost(&machine);
        let id = lost.pair.guest.id();
        let dropped = lost.cpu.discard_registers();
        assert_eq!(dropped, RegisterContent::OnlyCopyOf(id));
        let refused = SwitchError::GuestControl { cpu: lost.cpu.id() };
        assert_eq!(operation(&mut lost), Some(refused), "{name}");
        assert_eq!(lost.cpu.processor().take_trace(), [], "{name}");
    }
}

#[test]
fn a_thread_whose_guest_entry_was_lost_cannot_end_and_has_its_own_state_on_another_cpu() {
    let machine = Machine::offered(&KIND);
    let mut lost = lost(&machine);
    let guest = lost.pair.guest.id();
    let in_guest = LifeError::InGuest { guest };
    assert_eq!(lost.pair.thread.exec(&mut lost.cpu), Err(in_guest));
    let (error, thread) = lost.pair.thread.exit(&mut lost.cpu).unwrap_err();
    assert_eq!(error, in_guest);
    lost.pair.thread = thread;
    let child = lost.other.new_state_for(threads_components(&machine));
    let child = lost.pair.thread.fork(&mut lost.cpu, child);
    assert!(child.is_ok(), "the thread's own state is in memory");
    assert_eq!(lost.cpu.read_xfd_back(), Ok(()));
    assert_eq!(lost.cpu.facts().xfd, xfd(TILE_DATA));
    assert_eq!(lost.cpu.processor().take_trace(), []);
    lost.pair.thread.discard_active(&mut lost.cpu);
    let mut there = observed(&KIND, &machine, 1);
    let Pair { thread, guest, .. } = &mut lost.pair;
    thread.leave_guest(guest, &mut there, NOW).unwrap();
    assert!(thread.is_in_registers_of(&there));
}

fn refusal<'e>(
    thread: &mut ThreadFpu<'e, BoxedArea>,
    guest: &mut GuestFpu<'e, BoxedArea>,
    cpu: &mut CpuFpu<Observed>,
) -> GuestEntryError {
    cpu.processor().take_trace();
    let loaded = thread.load_guest_registers(guest, cpu);
    let error = loaded.map(|_| ()).expect_err("a refusal");
    assert_eq!(cpu.processor().take_trace(), []);
    error
}

/// Invariant I9.
#[test]
fn a_guests_registers_are_loaded_only_by_its_thread_and_only_with_its_state_in_registers() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut cpu) = (small_pair(&machine), observed(&KIND, &machine, 0));
    let mut stranger = guest_of(&machine, pair.new_state_for(guests_components(&machine)));
    let Pair { thread, guest, .. } = &mut pair;
    let (id, other) = (guest.id(), stranger.id());
    let (asked, running) = (id, None);
    let not_running = GuestEntryError::NotRunning { asked, running };
    assert_eq!(refusal(thread, guest, &mut cpu), not_running);
    let later = Restoring::Deferred;
    thread.enter_guest(guest, &mut cpu, later).unwrap();
    let (asked, running) = (other, Some(id));
    let not_running = GuestEntryError::NotRunning { asked, running };
    assert_eq!(refusal(thread, &mut stranger, &mut cpu), not_running);
    let outside = GuestEntryError::NotInRegisters { guest: id };
    assert_eq!(refusal(thread, guest, &mut cpu), outside, "restored later");
    thread.restore_before_use(&mut cpu).unwrap();
    thread.save_before_switch(&mut cpu).unwrap();
    assert_eq!(refusal(thread, guest, &mut cpu), outside, "preempted");
    thread.restore_before_use(&mut cpu).unwrap();
    let mut there = observed(&KIND, &machine, 1);
    assert_eq!(refusal(thread, guest, &mut there), outside, "another CPU");
    let entry = thread.load_guest_registers(guest, &mut cpu).unwrap();
    let _ = entry.load_host_registers(VmExit::Other).unwrap();
}

/// Invariant I28: nothing of it is restored, but IA32_XFD is its own.
#[test]
fn a_confidential_guest_does_not_run_with_the_xfd_of_another_state() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut cpu) = (small_pair(&machine), observed(&KIND, &machine, 0));
    pair.guest = GuestFpu::confidential(pair.new_state());
    let Pair { thread, guest, .. } = &mut pair;
    let later = Restoring::Deferred;
    thread.enter_guest(guest, &mut cpu, later).unwrap();
    assert_eq!(
        cpu.processor().read_xfd(),
        Ok(TILE_DATA),
        "the host's arming"
    );
    let outside = GuestEntryError::NotInRegisters { guest: guest.id() };
    assert_eq!(refusal(thread, guest, &mut cpu), outside);
    thread.restore_before_use(&mut cpu).unwrap();
    let mut entry = thread.load_guest_registers(guest, &mut cpu).unwrap();
    assert_eq!(entry.processor().read_xfd(), Ok(ComponentSet::EMPTY));
    let _ = entry.load_host_registers(VmExit::Other).unwrap();
}

/// CR4.OSXSAVE is lost, so XSETBV raises #UD; IA32_XFD_ERR was written before it.
#[test]
fn an_entry_that_faults_leaves_the_hosts_registers() {
    let machine = Machine::offered(&KIND);
    let (mut pair, mut cpu) = (small_pair(&machine), observed(&KIND, &machine, 0));
    let Pair { thread, guest, .. } = &mut pair;
    guest.write_xfd_err(TILE_DATA).unwrap();
    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
    let values = visible(&mut cpu, &machine);
    let model = cpu.processor().inner().inner();
    model.set_cr4_osxsave(Osxsave::Clear);
    let loaded = thread.load_guest_registers(guest, &mut cpu);
    let fault = GuestEntryError::Switch(SwitchError::Fault(Fault::InvalidOpcode));
    assert_eq!(loaded.map(|_| ()).unwrap_err(), fault);
    assert_eq!(cpu.processor().read_xfd_err(), Ok(XfdErr::NOTHING));
    let model = cpu.processor().inner().inner();
    model.set_cr4_osxsave(Osxsave::Set);
    thread.save_before_switch(&mut cpu).unwrap();
    thread.restore_before_use(&mut cpu).unwrap();
    assert_eq!(values.difference(&visible(&mut cpu, &machine)), None);
    assert_eq!(guest.xfd_err(), XfdErr::from_components(TILE_DATA));
}

/// RDMSR raises #GP, so nobody knows what the guest has left in IA32_XFD.
#[test]
fn an_exit_that_faults_leaves_a_cpu_that_refuses() {
    let user = KIND.enumeration().user_components();
    let xcr0 = Xcr0::new(user, user).unwrap();
    // XCR0 and IA32_XSS stay the host's, so that nothing faults before.
    let machine = Machine::ring0_with(&KIND, xcr0, Xss::AFTER_RESET);
    let (mut pair, mut cpu) = (Pair::new(&machine), observed(&KIND, &machine, 0));
    let Pair { thread, guest, .. } = &mut pair;
    guest.write_xcr0(user).unwrap();
    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
    let mut entry = thread.load_guest_registers(guest, &mut cpu).unwrap();
    let processor = entry.processor();
    processor.write_xfd(xfd(TILE_DATA)).unwrap();
    processor.inner().inner().set_cpl(Privilege::Ring3);
    let left = entry.load_host_registers(VmExit::Other);
    assert!(left.is_err());
    let guests = Executed::WriteXfd(xfd(TILE_DATA));
    assert_eq!(cpu.processor().take_trace().last(), Some(&guests));
    cpu.processor().inner().inner().set_cpl(Privilege::Ring0);
    let refused = SwitchError::GuestControl { cpu: cpu.id() };
    assert_eq!(thread.save_before_switch(&mut cpu), Err(refused));
}

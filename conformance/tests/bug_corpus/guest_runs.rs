//! Between a guest's entry and its exit: who comes in between, and what it leaves.

use conformance::cpus;
use conformance::machine::Machine;
use conformance::on_demand::{KIND, cpu, guest_of, guests_components};
use conformance::pair::{Pair, in_memory, observed, visible, write};
use fpstate::{GuestEntryError, GuestFpu, KernelUse, Restoring, ThreadFpu, VmExit};
use fpstate_arch::{Pkru, Processor, Xcr0, Xss};

const NOW: Restoring = Restoring::Now;

/// Who uses the registers between `enter_guest` and the VM entry.
#[derive(Clone, Copy, Debug)]
enum Between {
    AnotherThread,
    KernelSection,
}

const BETWEEN: [Between; 2] = [Between::AnotherThread, Between::KernelSection];

impl Between {
    fn happens(self, cpu: &mut fpstate::CpuFpu<conformance::pair::Observed>, pair: &mut Pair<'_>) {
        match self {
            Self::AnotherThread => {
                pair.thread.save_before_switch(cpu).expect("a save");
                let mut other = ThreadFpu::new(pair.new_state());
                other.restore_before_use(cpu).expect("its registers");
                write(cpu, &pair.new_values());
                other.save_before_switch(cpu).expect("a save");
            }
            Self::KernelSection => {
                let begun = cpu.begin_kernel_section(&mut pair.thread, KernelUse::X87);
                let (section, _) = begun.expect("a section");
                write(cpu, &pair.new_values());
                cpu.end_kernel_section(section).expect("its end");
            }
        }
    }
}

/// L4 · 2019 · e751732486eb · preempted between the load of a guest's state and the VM entry, the thread entered with other registers
#[test]
fn a_guest_was_entered_with_registers_that_were_no_longer_its_own() {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        for between in BETWEEN {
            let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
            let Pair { thread, guest, .. } = &mut pair;
            thread.enter_guest(guest, &mut cpu, NOW).unwrap();
            let guests = pair.use_registers(&mut cpu).unwrap();
            between.happens(&mut cpu, &mut pair);
            let Pair { thread, guest, .. } = &mut pair;
            let refused = thread.load_guest_registers(guest, &mut cpu).unwrap_err();
            let not_there = GuestEntryError::NotInRegisters { guest: guest.id() };
            assert_eq!(refused, not_there, "{} {between:?}", kind.name);
            thread.restore_before_use(&mut cpu).unwrap();
            let entered = thread.load_guest_registers(guest, &mut cpu).map(drop);
            assert_eq!(entered, Ok(()), "{} {between:?}", kind.name);
            assert_eq!(guests.difference(&visible(&mut cpu, &machine)), None);
        }
    }
}

/// L6 · 2020 · a7baead7e312 · an emulated instruction read and wrote XMM registers after a preemption, when they were not the guest's
#[test]
fn an_emulated_instruction_used_registers_that_were_not_the_guests() {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        for between in BETWEEN {
            let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
            let Pair { thread, guest, .. } = &mut pair;
            thread.enter_guest(guest, &mut cpu, NOW).unwrap();
            let guests = pair.use_registers(&mut cpu).unwrap();
            between.happens(&mut cpu, &mut pair);
            let Pair { thread, guest, .. } = &mut pair;
            assert!(guest.edit().is_err(), "its state is with the thread");
            thread.restore_before_use(&mut cpu).unwrap();
            let read = visible(&mut cpu, &machine);
            assert_eq!(guests.difference(&read), None, "{} {between:?}", kind.name);
            let written = pair.new_values();
            write(&mut cpu, &written);
            let Pair { thread, guest, .. } = &mut pair;
            thread.leave_guest(guest, &mut cpu, NOW).unwrap();
            let found = in_memory(kind, &machine, guest.fpstate().unwrap());
            assert_eq!(written.difference(&found), None, "{}", kind.name);
        }
    }
}

/// L62 · 2025 · Linux 6.16, `tdx_load_host_xsave_state()` · after an exit of a TDX guest XCR0, IA32_XSS and PKRU were what the module had left
#[test]
fn a_confidential_guest_left_the_host_with_other_control_registers() {
    let machine = Machine::offered(&KIND);
    let mut cpu = cpu(&machine, 0);
    let mut pair = Pair::new(&machine);
    let sealed = pair.new_state_for(guests_components(&machine));
    pair.guest = guest_of(&machine, sealed);
    pair.guest.seal().unwrap();
    let hosts = Pkru::from_bits(0x5555_5554);
    cpu.processor().wrpkru(hosts).unwrap();
    let xcr0 = cpu.processor().xgetbv().unwrap();
    let xss = cpu.processor().read_xss().unwrap();
    assert_ne!(xss, Xss::AFTER_RESET.components());

    let Pair { thread, guest, .. } = &mut pair;
    thread.enter_guest(guest, &mut cpu, NOW).unwrap();
    let mut entry = thread.load_guest_registers(guest, &mut cpu).unwrap();
    entry.processor().xsetbv(Xcr0::AFTER_RESET).unwrap();
    entry.processor().write_xss(Xss::AFTER_RESET).unwrap();
    entry.processor().wrpkru(Pkru::from_bits(3)).unwrap();
    let _ = entry.load_host_registers(VmExit::Other).unwrap();
    assert_eq!(cpu.processor().xgetbv(), Ok(xcr0));
    assert_eq!(cpu.processor().read_xss(), Ok(xss));
    assert_eq!(cpu.processor().rdpkru(), Ok(hosts));
}

/// L61 · 2024, 2026 · eb4441864e03, CVE-2026-31591 · the state that was measured into a VMSA lacked x87 and AVX, or still changed while it was read
///
/// What goes there is read of the state before it is sealed; a vCPU that runs is not sealed.
#[test]
fn a_state_was_measured_that_was_not_what_the_guest_would_begin_with() {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let first = pair.guest.edit().unwrap().legacy();
        assert_eq!((first.fcw, first.mxcsr.bits()), (0x37f, 0x1f80));
        let set_up = pair.run_guest(&mut cpu);
        let Pair { thread, guest, .. } = &mut pair;
        thread.enter_guest(guest, &mut cpu, NOW).unwrap();
        assert!(guest.seal().is_err() && guest.edit().is_err());
        thread.leave_guest(guest, &mut cpu, NOW).unwrap();
        let area = guest.edit().unwrap();
        let measured = area.legacy();
        assert_eq!(measured.fcw, set_up.legacy().fcw, "{}", kind.name);
        assert_eq!(measured.mxcsr, set_up.legacy().mxcsr, "{}", kind.name);
        assert_eq!(measured.xmm, set_up.legacy().xmm, "{}", kind.name);
        for placed in area.layout().extended_components() {
            let component = placed.component();
            let found = area.extended(component);
            assert_eq!(found, set_up.extended(component), "{component}");
        }
        guest.seal().unwrap();
        let sealed: &GuestFpu<'_, _> = guest;
        assert!(sealed.fpstate().unwrap().in_memory().is_err());
    }
}

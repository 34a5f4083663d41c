//! The kernel uses the registers itself.

use conformance::cpus;
use conformance::faulting::Victim;
use conformance::intercept::{Executed, Intercept};
use conformance::machine::Machine;
use conformance::pair::{Observed, Pair, in_memory, observed, visible, write};
use fpstate::switch::RegisterContent;
use fpstate::{CpuFpu, KernelUse, Restoring, Save, SwitchError, ThreadFpu};
use fpstate_arch::{Fault, Mxcsr, Processor};

const USES: [KernelUse; 3] = [
    KernelUse::IntegerVectors,
    KernelUse::FloatVectors,
    KernelUse::X87,
];

/// `test` on every kind of CPU, for every use.
fn for_every_use(
    test: impl Fn(&cpus::RecordedCpu, &Machine, CpuFpu<Observed>, Pair<'_>, KernelUse),
) {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        for kernel_use in USES {
            let cpu = observed(kind, &machine, 0);
            test(kind, &machine, cpu, Pair::new(&machine), kernel_use);
        }
    }
}

/// L3 · 2019 · 5f409e20b794 · since the load of registers is put off until the return to user mode, whoever assumed that they were the current thread's was wrong
#[test]
fn what_the_kernel_does_to_the_registers_is_never_seen_by_the_thread() {
    for_every_use(|kind, machine, mut cpu, mut pair, kernel_use| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let thread = &mut pair.thread;
        let (section, switch) = cpu.begin_kernel_section(thread, kernel_use).unwrap();
        assert!(
            matches!(switch.save, Save::Registers { .. }),
            "{}",
            kind.name
        );
        let kernels = pair.new_values();
        write(&mut cpu, &kernels);
        cpu.end_kernel_section(section).unwrap();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(
            threads.difference(&visible(&mut cpu, machine)),
            None,
            "{}",
            kind.name
        );
    });
}

/// L25 · 2020 · 7ad816762f9b · the kernel computed with the user's MXCSR, and an unmasked exception was raised in it
#[test]
fn the_kernel_finds_the_floating_point_environment_it_asked_for() {
    for_every_use(|kind, machine, mut cpu, mut pair, kernel_use| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let thread = &mut pair.thread;
        let (section, _) = cpu.begin_kernel_section(thread, kernel_use).unwrap();
        let found = *visible(&mut cpu, machine).legacy();
        let mxcsr = match kernel_use {
            KernelUse::IntegerVectors => threads.legacy().mxcsr,
            KernelUse::FloatVectors | KernelUse::X87 => Mxcsr::INITIAL,
        };
        let fcw = match kernel_use {
            KernelUse::IntegerVectors | KernelUse::FloatVectors => threads.legacy().fcw,
            KernelUse::X87 => 0x037f,
        };
        assert_eq!(
            (found.mxcsr, found.fcw),
            (mxcsr, fcw),
            "{} {kernel_use:?}",
            kind.name
        );
        cpu.end_kernel_section(section).unwrap();
    });
}

#[test]
fn an_idle_cpu_and_a_thread_in_memory_cost_no_save() {
    for_every_use(|_, _, mut cpu, mut pair, kernel_use| {
        let saves = |e: &Executed| matches!(e, Executed::Save(..));
        let section = cpu.begin_kernel_thread_section(kernel_use).unwrap();
        assert!(!cpu.processor().take_trace().iter().any(saves));
        cpu.end_kernel_section(section).unwrap();
        pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        cpu.processor().take_trace();
        let thread = &mut pair.thread;
        let (section, switch) = cpu.begin_kernel_section(thread, kernel_use).unwrap();
        assert_eq!(switch.save, Save::AlreadyInMemory);
        assert!(!cpu.processor().take_trace().iter().any(saves));
        cpu.end_kernel_section(section).unwrap();
    });
}

#[test]
fn sections_do_not_nest_and_nothing_is_restored_inside_one() {
    for_every_use(|_, _, mut cpu, mut pair, kernel_use| {
        pair.use_registers(&mut cpu).unwrap();
        let thread = &mut pair.thread;
        let (section, _) = cpu.begin_kernel_section(thread, kernel_use).unwrap();
        let refused = SwitchError::KernelSection { cpu: cpu.id() };
        let nested = cpu.begin_kernel_section(&mut pair.thread, kernel_use);
        assert_eq!(nested.unwrap_err(), refused);
        let nested = cpu.begin_kernel_thread_section(kernel_use);
        assert_eq!(nested.unwrap_err(), refused);
        assert_eq!(cpu.registers_taken(), Err(refused));
        assert_eq!(pair.thread.restore_before_use(&mut cpu), Err(refused));
        let entered = pair
            .thread
            .enter_guest(&mut pair.guest, &mut cpu, Restoring::Now);
        assert!(entered.is_err());
        assert_eq!(cpu.registers(), RegisterContent::Kernel);
        cpu.end_kernel_section(section).unwrap();
        pair.thread.restore_before_use(&mut cpu).unwrap();
    });
}

/// L14 · 2021 · 12f7764ac612 · a kernel thread with an address space was taken for a user thread, its registers saved and restored
#[test]
fn a_section_over_a_thread_that_is_not_current_would_lose_it_and_is_refused() {
    for_every_use(|_, machine, mut cpu, mut pair, kernel_use| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let state = pair.thread.active().id();
        let refused = SwitchError::WouldDiscard {
            state,
            cpu: cpu.id(),
        };
        let mut other = ThreadFpu::new(pair.new_state());
        let begun = cpu.begin_kernel_section(&mut other, kernel_use);
        assert_eq!(begun.unwrap_err(), refused);
        let begun = cpu.begin_kernel_thread_section(kernel_use);
        assert_eq!(begun.unwrap_err(), refused);
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_section_while_a_guest_is_active_saves_the_guest() {
    for_every_use(|kind, machine, mut cpu, mut pair, kernel_use| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        let now = Restoring::Now;
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        let guests = pair.use_registers(&mut cpu).unwrap();
        let thread = &mut pair.thread;
        let (section, _) = cpu.begin_kernel_section(thread, kernel_use).unwrap();
        assert_eq!(in_memory(kind, machine, pair.thread.active()), guests);
        cpu.end_kernel_section(section).unwrap();
        pair.thread
            .leave_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
    });
}

#[test]
fn a_section_ends_on_the_cpu_where_it_began() {
    let kind = &cpus::GENOA;
    let machine = Machine::ring0(kind);
    let (mut here, mut there) = (observed(kind, &machine, 0), observed(kind, &machine, 1));
    let begun = here.begin_kernel_thread_section(KernelUse::IntegerVectors);
    let other = there.end_kernel_section(begun.unwrap()).unwrap_err();
    assert_eq!(here.registers(), RegisterContent::Kernel);
    here.end_kernel_section(other.section).unwrap();
    assert_eq!(here.registers(), RegisterContent::Nobody);
}

#[test]
fn a_save_that_faults_begins_no_section() {
    for_every_use(|_, machine, mut cpu, mut pair, kernel_use| {
        let threads = pair.use_registers(&mut cpu).unwrap();
        cpu.processor().inner().let_fault(Victim::Save);
        let begun = cpu.begin_kernel_section(&mut pair.thread, kernel_use);
        assert_eq!(
            begun.unwrap_err(),
            SwitchError::Fault(Fault::GeneralProtection)
        );
        assert_eq!(threads.difference(&visible(&mut cpu, machine)), None);
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(cpu.processor().stmxcsr(), Ok(threads.legacy().mxcsr));
    });
}

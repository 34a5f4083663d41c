//! FIP, FDP and FOP on CPUs whose XRSTOR and FXRSTOR leave them alone (CVE-2006-1056).

use conformance::cpus;
use conformance::machine::Machine;
use conformance::pair::Pair;
use fpstate::{CpuFpu, Restoring};
use fpstate_arch::{ErrorPointers, Processor};
use fpstate_model::{ModelCpu, X87Pointers};

const SECRET: (u64, u64, u16) = (0x1234_5678_9abc, 0x7654_3210_fedc, 0x123);

/// An AMD CPU without `XSaveErPtr`, by the manual's own bit and not by what the library reads of it.
fn leaky(machine: &Machine) -> CpuFpu<ModelCpu> {
    let processor = cpus::XSAVE_ONLY.model();
    let differences = processor.vendor_differences();
    assert_eq!(differences.x87_pointers, X87Pointers::LeftAlone);
    assert_eq!(
        processor.enumeration().error_pointers(),
        ErrorPointers::LeftAlone
    );
    machine.start(processor, 0).expect("the CPU starts")
}

fn pointers(cpu: &mut CpuFpu<ModelCpu>) -> (u64, u64, u16) {
    let x87 = &cpu.processor().registers().x87;
    (x87.fip, x87.fdp, x87.fop)
}

/// User code executes an x87 instruction with a memory operand; its state is live then.
fn compute(cpu: &mut CpuFpu<ModelCpu>) {
    let (fip, fdp, fop) = SECRET;
    let registers = cpu.processor().registers_mut();
    registers.fnclex_emms_fild(fip, fdp, fop);
}

/// L49 · 2024 · 5d31174f3c8c · the overwriting of FIP, FDP and FOP on AMD CPUs read its operand from a wrong place
/// C20 · peers · Xen has it right, most Rust kernels do not (CVE-2006-1056) · FIP, FDP and FOP of the owner before stay in the registers of AMD CPUs
#[test]
fn a_guest_does_not_see_where_its_host_computed_last() {
    let machine = Machine::ring0(&cpus::XSAVE_ONLY);
    let (mut cpu, mut pair) = (leaky(&machine), Pair::new(&machine));
    // Both have a live x87 state, so XRSTOR loads it instead of initialising it.
    pair.run_guest(&mut cpu);
    pair.thread.restore_before_use(&mut cpu).unwrap();
    compute(&mut cpu);
    assert_eq!(pointers(&mut cpu), SECRET);
    pair.thread
        .enter_guest(&mut pair.guest, &mut cpu, Restoring::Now)
        .unwrap();
    let (fip, fdp, fop) = pointers(&mut cpu);
    assert_ne!(fip, SECRET.0);
    assert_ne!(fdp, SECRET.1);
    assert_ne!(fop, SECRET.2);
}

#[test]
fn other_cpus_are_spared_the_three_instructions() {
    for kind in [&cpus::GENOA, &cpus::SKYLAKE_SP] {
        let found = kind.enumeration().error_pointers();
        assert_eq!(found, ErrorPointers::Restored, "{}", kind.name);
    }
}

#[test]
fn the_instructions_leave_no_exception_behind() {
    let machine = Machine::ring0(&cpus::XSAVE_ONLY);
    let mut cpu = leaky(&machine);
    cpu.processor().registers_mut().x87().fsw = 0xbfff;
    cpu.processor().overwrite_error_pointers().unwrap();
    assert!(!cpu.processor().registers().x87.has_pending_exception());
}

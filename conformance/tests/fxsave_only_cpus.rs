//! CPUs without XSAVE: 512 bytes, x87 and SSE.

use conformance::cpus::FXSAVE_ONLY;
use conformance::intercept::Executed;
use conformance::machine::Machine;
use conformance::pair::{Pair, observed, visible};
use fpstate::{Layout, LayoutError, RestoreInstruction, Restoring, SaveInstruction, VmExit};
use fpstate_arch::{ComponentSet, CpuidRegisters, Format, Instruction, Mxcsr, Processor};

#[test]
fn an_area_is_512_bytes_and_holds_x87_and_sse() {
    let machine = Machine::ring0(&FXSAVE_ONLY);
    let layout = machine.layout(ComponentSet::LEGACY);
    assert_eq!(layout.format(), Format::Fxsave);
    assert_eq!(layout.area_len(), 512);
    assert_eq!(layout.components(), ComponentSet::LEGACY);
    assert_eq!(layout.extended_components().count(), 0);
}

#[test]
fn no_instruction_of_the_xsave_family_is_executed_and_no_control_register_is_touched() {
    let machine = Machine::ring0(&FXSAVE_ONLY);
    let (mut cpu, mut pair) = (observed(&FXSAVE_ONLY, &machine, 0), Pair::new(&machine));
    assert_eq!(cpu.switched_components(), ComponentSet::LEGACY);
    pair.thread.restore_before_use(&mut cpu).unwrap();
    pair.run_guest(&mut cpu);
    pair.machine.exec(&mut pair.thread, &mut cpu).unwrap();
    for executed in cpu.processor().take_trace() {
        assert!(
            matches!(
                executed,
                Executed::Save(SaveInstruction::Fxsave, _)
                    | Executed::Restore(RestoreInstruction::Fxrstor, _)
                    | Executed::Ldmxcsr(_)
            ),
            "{executed:?}"
        );
    }
}

#[test]
fn mxcsr_belongs_to_the_state() {
    let machine = Machine::ring0(&FXSAVE_ONLY);
    let (mut cpu, mut pair) = (observed(&FXSAVE_ONLY, &machine, 0), Pair::new(&machine));
    pair.thread.restore_before_use(&mut cpu).unwrap();
    let flush_to_zero = Mxcsr::from_bits(0x9f80);
    cpu.processor().ldmxcsr(flush_to_zero).unwrap();
    let now = Restoring::Now;
    pair.thread
        .enter_guest(&mut pair.guest, &mut cpu, now)
        .unwrap();
    assert_eq!(cpu.processor().stmxcsr(), Ok(Mxcsr::INITIAL));
    pair.thread
        .leave_guest(&mut pair.guest, &mut cpu, now)
        .unwrap();
    assert_eq!(cpu.processor().stmxcsr(), Ok(flush_to_zero));
    assert_eq!(visible(&mut cpu, &machine).legacy().mxcsr, flush_to_zero);
}

#[test]
fn other_formats_and_components_are_refused_with_what_the_cpu_lacks() {
    let machine = Machine::ring0(&FXSAVE_ONLY);
    let (enumeration, instructions) = (&machine.enumeration, machine.instructions());
    let legacy = ComponentSet::LEGACY;
    for (refused, needed) in [
        (Layout::standard(enumeration, legacy), Instruction::Xsave),
        (Layout::compacted(enumeration, legacy), Instruction::Xsavec),
    ] {
        let error = refused.unwrap_err();
        assert!(
            matches!(error, LayoutError::FormatNotAvailable { needed: found, .. } if found == needed),
            "{error}"
        );
    }
    let avx = legacy.with(fpstate_arch::Component::Avx);
    let error = Layout::for_instructions(enumeration, instructions, avx).unwrap_err();
    let missing = avx.difference(legacy);
    assert_eq!(error, LayoutError::NotEnumerated { missing });
}

/// There is no XCR0 to load, neither for the guest nor for the host after it: XSETBV raises #UD.
#[test]
fn a_guest_runs_and_the_host_goes_on_without_xsetbv() {
    let machine = Machine::ring0(&FXSAVE_ONLY);
    let (mut cpu, mut pair) = (observed(&FXSAVE_ONLY, &machine, 0), Pair::new(&machine));
    let threads = pair.use_registers(&mut cpu).unwrap();
    let Pair { thread, guest, .. } = &mut pair;
    thread.enter_guest(guest, &mut cpu, Restoring::Now).unwrap();
    let entry = thread.load_guest_registers(guest, &mut cpu).unwrap();
    let _ = entry.load_host_registers(VmExit::Other).unwrap();
    thread.leave_guest(guest, &mut cpu, Restoring::Now).unwrap();
    assert_eq!(threads.difference(&visible(&mut cpu, &machine)), None);
}

/// CPUID.1:ECX.XSAVE = 0: a guest that looked all the same would find lengths of areas it has no instructions for.
#[test]
fn a_guest_is_shown_no_leaf_of_extended_state() {
    let machine = Machine::ring0(&FXSAVE_ONLY);
    let guest = Pair::new(&machine).guest;
    for (leaf, subleaf) in [(0xd, 0), (0xd, 1), (0xd, 2), (0x1d, 0), (0x1e, 0)] {
        let shown = guest.cpuid(leaf, subleaf, &machine.enumeration).unwrap();
        let zeros = Some(CpuidRegisters::default());
        assert_eq!(shown, zeros, "{leaf:#x}.{subleaf}");
    }
}

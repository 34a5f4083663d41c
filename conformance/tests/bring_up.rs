//! How a CPU starts: what is written to it, in which order.

use conformance::cpus;
use conformance::intercept::Executed;
use conformance::machine::Machine;
use conformance::traced::Traced;
use fpstate::switch::{CpuFacts, RegisterContent};
use fpstate::{BringUpError, ControlRegisters, CpuFpu, SaveInstruction, SwitchInstructions};
use fpstate_arch::{Component, ComponentSet, Fault, Instruction, Processor, Xcr0, Xfd, Xss};

/// What bring-up writes to a CPU of `kind`.
fn written(kind: &cpus::RecordedCpu) -> Vec<Executed> {
    let machine = Machine::ring0(kind);
    let cpu = machine.start(Traced::new(kind.model()), 0);
    cpu.expect("the CPU starts").processor().take_trace()
}

fn set(bits: u64) -> ComponentSet {
    ComponentSet::from_bits(bits)
}

/// Invariant I49: no on-demand component is ever enabled without being disabled by XFD first.
#[test]
fn xfd_is_written_before_xcr0_and_ia32_xss_last() {
    let user = set(0x602e7);
    let expected = [
        Executed::WriteXfd(Xfd::new(set(1 << 18), set(1 << 18)).unwrap()),
        Executed::Xsetbv(Xcr0::new(user, user).unwrap()),
        Executed::WriteXss(Xss::new(cpus::CET, cpus::CET).unwrap()),
    ];
    assert_eq!(written(&cpus::SAPPHIRE_RAPIDS), expected);
}

#[test]
fn registers_that_a_cpu_lacks_are_not_written() {
    for kind in &cpus::ALL {
        let enumeration = kind.enumeration();
        for executed in written(kind) {
            let needed = match executed {
                Executed::WriteXfd(_) => Instruction::Xfd,
                Executed::Xsetbv(_) => Instruction::Xsave,
                Executed::WriteXss(_) => Instruction::Xsaves,
                Executed::Save(..)
                | Executed::Restore(..)
                | Executed::Ldmxcsr(_)
                | Executed::Fninit
                | Executed::WriteXfdErr(_)
                | Executed::Wrpkru(_)
                | Executed::Tilerelease
                | Executed::Other => panic!("{}: {executed:?}", kind.name),
            };
            assert!(enumeration.has(needed), "{}: {executed:?}", kind.name);
        }
    }
    assert_eq!(written(&cpus::FXSAVE_ONLY), []);
    assert_eq!(written(&cpus::HASWELL).len(), 1);
}

#[test]
fn what_is_switched_is_what_the_cpu_then_says_is_enabled_but_for_pkru() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let mut cpu = machine.start(kind.model(), 0).unwrap();
        let xcr0 = cpu.processor().xgetbv().unwrap();
        let xss = cpu.processor().read_xss().unwrap_or_default();
        let expected = xcr0.union(xss).without(Component::Pkru);
        assert_eq!(cpu.switched_components(), expected, "{}", kind.name);
        assert_eq!(cpu.registers(), RegisterContent::Nobody);
    }
}

#[test]
fn a_cpu_that_is_adopted_is_read_and_not_written() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let brought_up = machine.start(Traced::new(kind.model()), 0).unwrap();
        let (facts, mut processor) = (brought_up.facts(), brought_up.into_processor());
        processor.take_trace();
        let (identities, instructions) = (machine.identities(), machine.instructions());
        let mut adopted = CpuFpu::adopt(processor, 0, identities, instructions).unwrap();
        assert_eq!(adopted.processor().take_trace(), [], "{}", kind.name);
        let id = adopted.id();
        assert_ne!(id, facts.id, "another life");
        assert_eq!(adopted.facts(), CpuFacts { id, ..facts });
    }
}

/// A value that would be dropped in silence, and the thread would run without its protection.
#[test]
fn a_value_for_a_register_that_is_not_reached_is_refused_and_shown() {
    let bring_up = |kind: &cpus::RecordedCpu, instructions, registers| {
        let machine = Machine::ring0(kind);
        let identities = machine.identities();
        CpuFpu::bring_up(kind.model(), 0, identities, instructions, registers).err()
    };
    let (cet, tiles) = (cpus::CET, ComponentSet::only(Component::TileData));
    let after_reset = ControlRegisters {
        xcr0: Xcr0::AFTER_RESET,
        xss: Xss::AFTER_RESET,
        xfd: Xfd::NOTHING,
    };
    let with_xss = ControlRegisters {
        xss: Xss::new(cet, cet).unwrap(),
        ..after_reset
    };
    let with_xfd = ControlRegisters {
        xfd: Xfd::new(tiles, tiles).unwrap(),
        ..after_reset
    };
    let legacy = ComponentSet::LEGACY;
    let with_xcr0 = ControlRegisters {
        xcr0: Xcr0::new(legacy, legacy).unwrap(),
        ..after_reset
    };
    let ring0 = |kind: &cpus::RecordedCpu| Machine::ring0(kind).instructions();
    let kind = cpus::SAPPHIRE_RAPIDS;
    let user = SwitchInstructions::for_user_mode(&kind.enumeration());
    assert_eq!(bring_up(&kind, user, after_reset), None);
    let refused = BringUpError::Xss { found: cet };
    assert_eq!(bring_up(&kind, user, with_xss), Some(refused));
    let refused = BringUpError::Xfd { found: tiles };
    assert_eq!(bring_up(&kind, user, with_xfd), Some(refused));
    let kind = cpus::HASWELL;
    let refused = BringUpError::Xss { found: cet };
    assert_eq!(bring_up(&kind, ring0(&kind), with_xss), Some(refused));
    let kind = cpus::FXSAVE_ONLY;
    assert_eq!(bring_up(&kind, ring0(&kind), after_reset), None);
    let refused = BringUpError::Xcr0 { found: legacy };
    assert_eq!(bring_up(&kind, ring0(&kind), with_xcr0), Some(refused));
}

/// Without XSETBV there is nothing to switch with; the processor's #UD is passed on.
#[test]
fn a_fault_at_bring_up_is_passed_on() {
    let kind = cpus::FXSAVE_ONLY;
    let machine = Machine::ring0(&cpus::HASWELL);
    let refused = machine.start(kind.model(), 0).err();
    let fault = Fault::InvalidOpcode;
    assert_eq!(refused, Some(BringUpError::Fault(fault)));
}

#[test]
fn each_kind_of_cpu_switches_with_its_newest_instruction() {
    use SaveInstruction::{Fxsave, Xsave, Xsavec, Xsaveopt, Xsaves};
    let found = cpus::ALL.map(|kind| Machine::ring0(&kind).instructions().save());
    assert_eq!(
        found,
        [Fxsave, Xsave, Xsaveopt, Xsavec, Xsaves, Xsaves, Xsaves]
    );
}

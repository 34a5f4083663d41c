//! What a kernel could do wrong and the library does not let it: sections of another life, images
//! in the wrong place, CPUs that share a number.

use conformance::cpus;
use conformance::images::standard_image;
use conformance::machine::Machine;
use conformance::pair::{Observed, Pair, in_memory, observed, visible, write};
use fpstate::switch::RegisterContent;
use fpstate::{
    CpuFpu, ImportError, KernelUse, Layout, NotInMemory, Residence, Restore, StandardImage,
    SwitchError,
};
use fpstate_arch::{ComponentSet, LegacyRegion, Mxcsr};

/// `test` on every kind of CPU.
fn on_every_cpu(test: impl Fn(&cpus::RecordedCpu, &Machine, CpuFpu<Observed>, Pair<'_>)) {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let cpu = observed(kind, &machine, 0);
        test(kind, &machine, cpu, Pair::new(&machine));
    }
}

#[test]
fn two_cpus_with_the_same_number_do_not_believe_each_other() {
    on_every_cpu(|kind, machine, mut first, mut pair| {
        let mut second = observed(kind, machine, first.id().number());
        assert_ne!(first.id(), second.id());
        pair.use_registers(&mut first).unwrap();
        let refused = SwitchError::InRegistersOf {
            state: pair.thread.own().id(),
            cpu: first.id(),
            here: second.id(),
        };
        assert_eq!(pair.thread.save_before_switch(&mut second), Err(refused));
        assert!(pair.thread.is_in_registers_of(&first));
        assert!(!pair.thread.is_in_registers_of(&second));
        pair.thread.save_before_switch(&mut first).unwrap();
        let newer = pair.use_registers(&mut second).unwrap();
        pair.thread.save_before_switch(&mut second).unwrap();
        let switch = pair.thread.restore_before_use(&mut first).unwrap();
        assert!(matches!(switch.restore, Restore::Area { .. }));
        assert_eq!(newer.difference(&visible(&mut first, machine)), None);
    });
}

/// The registers are the running thread's; an end of the old section would give them to nobody.
#[test]
fn a_section_of_a_cpus_former_life_ends_nothing() {
    on_every_cpu(|kind, machine, mut before, mut pair| {
        let section = before
            .begin_kernel_thread_section(KernelUse::IntegerVectors)
            .unwrap();
        let number = before.id().number();
        let mut after = machine.start(before.into_processor(), number).unwrap();
        let values = pair.use_registers(&mut after).unwrap();
        let other = after.end_kernel_section(section).unwrap_err();
        assert_eq!(other.here, after.id());
        assert!(pair.thread.is_in_registers_of(&after));
        let (open, _) = after
            .begin_kernel_section(&mut pair.thread, KernelUse::IntegerVectors)
            .unwrap();
        assert!(after.end_kernel_section(other.section).is_err());
        assert_eq!(after.registers(), RegisterContent::Kernel);
        after.end_kernel_section(open).unwrap();
        assert_eq!(in_memory(kind, machine, pair.thread.own()), values);
    });
}

#[test]
fn an_image_does_not_take_the_place_of_a_save_inside_a_kernel_section() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let values = pair.use_registers(&mut cpu).unwrap();
        let initial = machine.initial_contents();
        let user = machine.user_components();
        let memory = standard_image(&machine.enumeration, &initial, user);
        let layout = Layout::standard(&machine.enumeration, user).unwrap();
        let image = StandardImage::parse(memory.bytes(), layout, 0xffff).unwrap();
        let (section, _) = cpu
            .begin_kernel_section(&mut pair.thread, KernelUse::IntegerVectors)
            .unwrap();
        let refused = ImportError::NotInRegisters {
            cpu: cpu.id(),
            residence: Residence::MemoryAndRegisters(cpu.id()),
        };
        let nothing = ComponentSet::EMPTY;
        let imported = pair
            .thread
            .import_instead_of_saving(&mut cpu, &image, nothing);
        assert_eq!(imported, Err(refused), "{}", kind.name);
        assert_eq!(cpu.registers(), RegisterContent::Kernel);
        cpu.end_kernel_section(section).unwrap();
        assert_eq!(in_memory(kind, &machine, pair.thread.own()), values);
    }
}

#[test]
fn a_thread_that_ends_or_starts_a_program_inside_a_section_does_not_end_the_section() {
    on_every_cpu(|_, _, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        let (section, _) = cpu
            .begin_kernel_section(&mut pair.thread, KernelUse::X87)
            .unwrap();
        pair.machine.exec(&mut pair.thread, &mut cpu).unwrap();
        assert_eq!(cpu.registers(), RegisterContent::Kernel);
        pair.thread.exit(&mut cpu).unwrap();
        assert_eq!(cpu.registers(), RegisterContent::Kernel);
        cpu.end_kernel_section(section).unwrap();
    });
}

#[test]
fn a_use_of_registers_that_is_told_voids_a_copy_and_never_an_only_copy() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let values = pair.use_registers(&mut cpu).unwrap();
        let state = pair.thread.own().id();
        let here = cpu.id();
        let refused = SwitchError::WouldDiscard { state, cpu: here };
        assert_eq!(cpu.registers_taken(), Err(refused));
        assert_eq!(values.difference(&visible(&mut cpu, machine)), None);
        pair.thread.save_before_switch(&mut cpu).unwrap();
        assert_eq!(cpu.registers_taken(), Ok(()));
        let firmwares = pair.new_values();
        write(&mut cpu, &firmwares);
        let switch = pair.thread.restore_before_use(&mut cpu).unwrap();
        assert!(matches!(switch.restore, Restore::Area { .. }));
        let found = visible(&mut cpu, machine);
        assert_eq!(values.difference(&found), None, "{}", kind.name);
    });
}

/// An MXCSR that no CPU takes: from then on the state could be restored nowhere, and a thread whose
/// own state it is could not leave its guest.
#[test]
fn an_edit_never_makes_a_state_that_cannot_be_restored() {
    on_every_cpu(|kind, machine, mut cpu, mut pair| {
        let values = pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        for found in [0xffff_ffff, 0x0001_1f80] {
            let region = LegacyRegion {
                mxcsr: Mxcsr::from_bits(found),
                ..LegacyRegion::INITIAL
            };
            // Bits 31:16 are reserved on every CPU (SDM 1, 10.2.3).
            let mask = 0xffff;
            let edited = pair.thread.edit_own().unwrap().set_legacy(&region, mask);
            assert_eq!(edited, Err(fpstate::MxcsrError { found, mask }));
        }
        pair.thread.restore_before_use(&mut cpu).unwrap();
        let found = visible(&mut cpu, machine);
        assert_eq!(values.difference(&found), None, "{}", kind.name);
    });
}

#[test]
fn a_state_in_registers_is_not_edited_and_says_where_it_is() {
    on_every_cpu(|_, _, mut cpu, mut pair| {
        pair.use_registers(&mut cpu).unwrap();
        let elsewhere = NotInMemory::InRegisters { cpu: cpu.id() };
        assert_eq!(pair.thread.edit_own().err(), Some(elsewhere));
        assert!(pair.thread.is_in_registers_of(&cpu));
    });
}

/// Registers hold key material, and a kernel's log is no place for it.
#[test]
fn what_is_printed_of_a_thread_has_no_byte_of_its_registers() {
    on_every_cpu(|_, _, mut cpu, mut pair| {
        let secret = LegacyRegion {
            xmm: [[0xa5; 16]; 16],
            ..LegacyRegion::INITIAL
        };
        let area = pair.thread.edit_own().unwrap();
        area.set_legacy(&secret, 0xffff).unwrap();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let printed = format!("{:?} {:x?}", pair.thread, pair.thread);
        assert!(!printed.contains("165, 165"), "{printed}");
        assert!(!printed.contains("a5, a5"), "{printed}");
    });
}

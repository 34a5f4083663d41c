//! Imports into states that are, or were, in registers.

use conformance::cpus;
use conformance::images::standard_image;
use conformance::machine::Machine;
use conformance::pair::{Pair, in_memory, observed, visible};
use fpstate::{
    GuestStateError, ImportError, Layout, NotInMemory, Residence, Restoring, StandardImage,
    SwitchError, ThreadFpu,
};
use fpstate_arch::{Component, ComponentSet, Enumeration};

const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);

fn parse<'b>(
    enumeration: &'b Enumeration,
    components: ComponentSet,
    bytes: &'b [u8],
) -> StandardImage<'b> {
    let layout = Layout::standard(enumeration, components).expect("a layout");
    StandardImage::parse(bytes, layout, 0xffff).expect("a valid image")
}

#[test]
fn a_state_that_is_in_registers_is_not_imported_into() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let values = pair.use_registers(&mut cpu).unwrap();
        let initial = machine.initial_contents();
        let memory = standard_image(&machine.enumeration, &initial, ComponentSet::EMPTY);
        let user = machine.user_components();
        let image = parse(&machine.enumeration, user, memory.bytes());
        let refused = NotInMemory::InRegisters { cpu: cpu.id() };
        assert_eq!(pair.thread.edit_own().err(), Some(refused));
        assert_eq!(pair.thread.own().in_memory().err(), Some(refused));
        // A guest's state is with the thread that runs it.
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let (guest, now) = (pair.guest.id(), Restoring::Now);
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        let running = GuestStateError::Running { guest };
        assert_eq!(pair.guest.import(&image, PKRU), Err(running));
        assert_eq!(pair.guest.edit().err(), Some(running));
        assert!(pair.guest.area().is_none());
        pair.thread
            .leave_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        assert_eq!(values.difference(&visible(&mut cpu, &machine)), None);
    }
}

#[test]
fn an_image_takes_the_place_of_a_save_only_where_the_state_is_in_these_registers() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        if machine.user_components() != machine.components() {
            continue;
        }
        let (mut cpu, mut there) = (observed(kind, &machine, 0), observed(kind, &machine, 1));
        let mut pair = Pair::new(&machine);
        let values = pair.use_registers(&mut cpu).unwrap();
        let mut other = ThreadFpu::new(pair.new_state());
        let initial = machine.initial_contents();
        let memory = standard_image(&machine.enumeration, &initial, ComponentSet::EMPTY);
        let user = machine.user_components();
        let image = parse(&machine.enumeration, user, memory.bytes());
        let cpu_id = cpu.id();
        let elsewhere = other.import_instead_of_saving(&mut cpu, &image, PKRU);
        let residence = Residence::Memory;
        let refused = ImportError::NotInRegisters {
            cpu: cpu_id,
            residence,
        };
        assert_eq!(elsewhere, Err(refused));
        assert!(
            pair.thread
                .import_instead_of_saving(&mut there, &image, PKRU)
                .is_err()
        );
        assert_eq!(values.difference(&visible(&mut cpu, &machine)), None);
        let state = pair.thread.active().id();
        let only_copy = SwitchError::WouldDiscard { state, cpu: cpu_id };
        assert_eq!(cpu.registers_taken(), Err(only_copy));
        pair.thread
            .import_instead_of_saving(&mut cpu, &image, PKRU)
            .unwrap();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(initial.difference(&visible(&mut cpu, &machine)), None);
    }
}

#[test]
fn an_image_of_a_preempted_guest_becomes_the_guests_state() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        if machine.user_components() != machine.components() {
            continue;
        }
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let threads = pair.use_registers(&mut cpu).unwrap();
        let now = Restoring::Now;
        pair.thread
            .enter_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        let user = machine.user_components();
        let guests = pair.new_values_for(user);
        let memory = standard_image(&machine.enumeration, &guests, user);
        let image = parse(&machine.enumeration, user, memory.bytes());
        pair.thread
            .import_instead_of_saving(&mut cpu, &image, PKRU)
            .unwrap();
        pair.thread
            .leave_guest(&mut pair.guest, &mut cpu, now)
            .unwrap();
        assert_eq!(threads.difference(&visible(&mut cpu, &machine)), None);
        let state = pair.guest.fpstate().unwrap();
        assert_eq!(guests.difference(&in_memory(kind, &machine, state)), None);
    }
}

/// Supervisor components are in the registers and in no such image; the area's are stale.
#[test]
fn an_image_does_not_take_the_place_of_a_save_of_supervisor_components() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let found = machine.components().difference(machine.user_components());
        if found.is_empty() {
            continue;
        }
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let values = pair.use_registers(&mut cpu).unwrap();
        let user = machine.user_components();
        let memory = standard_image(&machine.enumeration, &values, user);
        let image = parse(&machine.enumeration, user, memory.bytes());
        let imported = pair.thread.import_instead_of_saving(&mut cpu, &image, PKRU);
        assert_eq!(
            imported,
            Err(ImportError::NotInImage { found }),
            "{}",
            kind.name
        );
        assert_eq!(values.difference(&visible(&mut cpu, &machine)), None);
    }
}

/// Invariant I4: the registers still hold what the thread had before.
#[test]
fn an_edited_state_is_restored_and_not_taken_for_loaded() {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let mut values = pair.use_registers(&mut cpu).unwrap();
        pair.thread.save_before_switch(&mut cpu).unwrap();
        values.take_legacy(&pair.new_values());
        let area = pair.thread.edit_own().unwrap();
        area.set_legacy(values.legacy(), 0xffff).unwrap();
        pair.thread.restore_before_use(&mut cpu).unwrap();
        assert_eq!(
            values.difference(&visible(&mut cpu, &machine)),
            None,
            "{}",
            kind.name
        );
    }
}

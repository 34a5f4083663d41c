//! IA32_XFD\[18\] = 1 by the guest's own hand: a use of tiles is its own #NM.

use super::*;

/// A guest that has just raised #NM, and the values it wanted to load.
fn raised(enumeration: &Enumeration) -> (Vcpu<'_>, TileValues) {
    let mut random = Rng::with_seed(9);
    let mut vcpu = with_values(enumeration, &TileValues::random(&mut random));
    vcpu.execute(|cpu| cpu.tilerelease()).expect("TILERELEASE");
    vcpu.wrmsr_xfd(BIT_18);
    let values = TileValues::random(&mut random);
    let refused = vcpu.execute(|cpu| values.load(cpu));
    assert_eq!(refused, Err(Fault::DeviceNotAvailable));
    (vcpu, values)
}

#[test]
fn tileloadd_raises_nm_in_the_guest_with_ia32_xfd_err() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let (mut vcpu, _) = raised(enumeration);
    assert_eq!(vcpu.rdmsr_xfd_err(), BIT_18);
    assert_eq!(vcpu.rdmsr_xfd(), BIT_18);
    assert_eq!(vcpu.expansions, 1, "no more than the first use's");
}

/// The state has no room, but it is the guest that wants no tile data.
#[test]
fn the_nm_is_the_guests_even_where_the_host_has_no_room() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let mut vcpu = booted(enumeration);
    vcpu.wrmsr_xfd(BIT_18);
    let values = TileValues::random(&mut Rng::with_seed(10));
    let refused = vcpu.execute(|cpu| values.load(cpu));
    assert_eq!(refused, Err(Fault::DeviceNotAvailable));
    assert_eq!(vcpu.rdmsr_xfd_err(), BIT_18);
    assert_eq!(vcpu.expansions, 0);
}

/// The VMM may intercept WRMSR of IA32_XFD for longer than it has to.
#[test]
fn an_intercepted_wrmsr_counts_at_once() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let values = TileValues::random(&mut Rng::with_seed(20));
    let mut vcpu = with_values(enumeration, &values);
    let Vcpu {
        thread, guest, cpu, ..
    } = &mut vcpu;
    thread.write_guest_xfd(guest, cpu, BIT_18).unwrap();
    assert_eq!(cpu.processor().read_xfd(), Ok(BIT_18));
    assert_eq!(stored(&mut vcpu), Err(Fault::DeviceNotAvailable));
    assert_eq!(vcpu.rdmsr_xfd_err(), BIT_18);
}

/// C10 · peers · Firecracker #5972, Hyperlight #1718 · XCR0, IA32_XSS or IA32_XFD were not part of a snapshot
#[test]
fn both_registers_are_preserved_over_a_save_and_a_load() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let (mut vcpu, _) = raised(enumeration);
    let saved = vcpu.save();
    assert_eq!((saved.xfd, saved.xfd_err), (BIT_18, BIT_18));
    let mut next = new_vcpu(enumeration);
    next.load(&saved, Item::ALL).unwrap();
    assert_eq!(next.rdmsr_xfd_err(), BIT_18);
    assert_eq!(next.rdmsr_xfd(), BIT_18);
}

/// `amx_test` compares what it saved many steps earlier; this is what is there now.
#[test]
fn once_both_are_cleared_the_load_succeeds_and_its_values_are_there() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let (mut vcpu, values) = raised(enumeration);
    vcpu.guest.write_xfd_err(NOTHING).unwrap();
    vcpu.wrmsr_xfd(NOTHING);
    assert_eq!(vcpu.execute(|cpu| values.load(cpu)), Ok(()));
    assert_eq!(vcpu.rdmsr_xfd_err(), NOTHING);
    let saved = vcpu.save();
    assert!(tile_data(&saved.image) == values.bytes());
    assert_eq!(stored(&mut vcpu), Ok(values));
}

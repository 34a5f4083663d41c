//! The VMM writes an image with tiles while the guest disables them (CVE-2026-23005).

use super::*;

/// Of a vCPU whose guest has `values` in its tiles, and whose IA32_XFD is 0.
fn image(enumeration: &Enumeration, values: &TileValues) -> Memory {
    let saved = with_values(enumeration, values).save();
    assert!(saved.xstate_bv().contains_all(TILE_DATA));
    saved.image
}

/// Each leaves the vCPU with tile data in an image, and IA32_XFD\[18\] = 1.
type Write = fn(&mut Vcpu<'_>, &Memory);
const ORDERS: [(&str, Write); 3] = [
    // The selftest's, CVE-2026-23005.
    ("WRMSR, image", |vcpu, image| {
        vcpu.wrmsr_xfd(BIT_18);
        vcpu.leave();
        vcpu.import(image);
    }),
    ("image, IA32_XFD", |vcpu, image| {
        vcpu.import(image);
        vcpu.guest.write_xfd(BIT_18).expect("IA32_XFD");
    }),
    ("IA32_XFD, image", |vcpu, image| {
        vcpu.guest.write_xfd(BIT_18).expect("IA32_XFD");
        vcpu.import(image);
    }),
];

/// `Vcpu::execute` panics for a fault of the host.
#[test]
fn runs_without_a_fault_of_the_host() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let values = TileValues::random(&mut Rng::with_seed(3));
    for (order, write) in ORDERS {
        for mut vcpu in [booted(enumeration), with_values(enumeration, &values)] {
            vcpu.leave();
            write(&mut vcpu, &image(enumeration, &values));
            assert_eq!(vcpu.execute(|cpu| cpu.tilerelease()), Ok(()), "{order}");
            assert_eq!(vcpu.rdmsr_xfd(), BIT_18, "{order}");
        }
    }
}

/// As `XRSTOR` of a kernel that dropped the bit would leave them.
#[test]
fn leaves_the_guest_tiles_in_their_initial_configuration() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let mut random = Rng::with_seed(4);
    let [older, values] = [(); 2].map(|()| TileValues::random(&mut random));
    for (order, write) in ORDERS {
        for mut vcpu in [booted(enumeration), with_values(enumeration, &older)] {
            vcpu.leave();
            write(&mut vcpu, &image(enumeration, &values));
            vcpu.enter();
            vcpu.wrmsr_xfd(NOTHING);
            assert_eq!(stored(&mut vcpu), Ok(TileValues::zero()), "{order}");
        }
    }
}

#[test]
fn and_enabled_before_the_guest_runs_they_are_those_of_the_image() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let values = TileValues::random(&mut Rng::with_seed(5));
    for (order, write) in ORDERS {
        let mut vcpu = booted(enumeration);
        write(&mut vcpu, &image(enumeration, &values));
        vcpu.guest.write_xfd(NOTHING).unwrap();
        assert_eq!(stored(&mut vcpu), Ok(values.clone()), "{order}");
    }
}

#[test]
fn and_enabled_by_the_vmm_after_the_guest_has_run_they_are_lost() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let values = TileValues::random(&mut Rng::with_seed(18));
    for (order, write) in ORDERS {
        let mut vcpu = booted(enumeration);
        write(&mut vcpu, &image(enumeration, &values));
        vcpu.execute(|_| Ok(())).unwrap();
        vcpu.leave();
        vcpu.guest.write_xfd(NOTHING).unwrap();
        assert_eq!(stored(&mut vcpu), Ok(TileValues::zero()), "{order}");
    }
}

#[test]
fn goes_on_to_another_vcpu() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let values = TileValues::random(&mut Rng::with_seed(6));
    for (order, write) in ORDERS {
        let mut vcpu = booted(enumeration);
        write(&mut vcpu, &image(enumeration, &values));
        let saved = vcpu.save();
        assert!(!saved.xstate_bv().intersects(TILE_DATA), "{order}");
        let mut next = new_vcpu(enumeration);
        next.load(&saved, Item::ALL).unwrap();
        assert_eq!(next.execute(|cpu| cpu.tilerelease()), Ok(()), "{order}");
        assert_eq!(next.rdmsr_xfd(), BIT_18, "{order}");
    }
}

//! Invariants I36 and I44.

use super::*;

/// Where a vCPU is loaded to: one after RESET, one with values and IA32_XFD\[18\] = 1, and one with
/// values and IA32_XFD = 0.
fn targets<'e>(enumeration: &'e Enumeration, random: &mut Rng) -> [Vcpu<'e>; 3] {
    let mut enabled = used(enumeration, random);
    enabled.guest.write_xfd(NOTHING).expect("IA32_XFD");
    [new_vcpu(enumeration), used(enumeration, random), enabled]
}

/// `saved` and what follows from it, in every order.
fn arrives(enumeration: &Enumeration, saved: &Saved, expected: &Saved, tiles: &TileValues) {
    let mut random = Rng::with_seed(13);
    for order in Item::orders() {
        for mut vcpu in targets(enumeration, &mut random) {
            vcpu.load(saved, order).expect("nothing to refuse");
            let differences = expected.differences(&vcpu.save());
            assert!(differences.is_empty(), "{differences:?}, {order:?}");
            vcpu.enter();
            assert_eq!(vcpu.rdmsr_xfd(), saved.xfd, "{order:?}");
            assert_eq!(vcpu.rdmsr_xfd_err(), saved.xfd_err, "{order:?}");
            let differences = expected.differences(&vcpu.save());
            assert!(differences.is_empty(), "{differences:?}, {order:?}");
            vcpu.enter();
            vcpu.wrmsr_xfd(NOTHING);
            let found = stored(&mut vcpu);
            assert_eq!(found.as_ref(), Ok(tiles), "{order:?}");
        }
    }
}

#[test]
fn gives_a_vcpu_with_values_everywhere() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let mut random = Rng::with_seed(14);
    let values = TileValues::random(&mut random);
    let mut vcpu = with_values(enumeration, &values);
    write_everything(&mut vcpu, &mut random);
    let saved = vcpu.save();
    assert_eq!(saved.xstate_bv(), XCR0.without(Component::Pkru));
    arrives(enumeration, &saved, &saved, &values);
}

#[test]
fn gives_a_vcpu_whose_guest_disables_tile_data() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let saved = used(enumeration, &mut Rng::with_seed(15)).save();
    assert_eq!((saved.xfd, saved.xfd_err), (BIT_18, BIT_18));
    arrives(enumeration, &saved, &saved, &TileValues::zero());
}

/// Which no vCPU that was saved has, but a VMM may write it (hazard H2).
#[test]
fn gives_a_vcpu_with_disabled_tile_data_without_it() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let mut random = Rng::with_seed(16);
    let mut vcpu = with_values(enumeration, &TileValues::random(&mut random));
    write_everything(&mut vcpu, &mut random);
    let mut expected = vcpu.save();
    let mut saved = vcpu.save();
    (saved.xfd, expected.xfd) = (BIT_18, BIT_18);
    let left = expected.xstate_bv().difference(TILE_DATA);
    expected.image.bytes_mut()[512..520].copy_from_slice(&left.bits().to_le_bytes());
    expected.image.bytes_mut()[TILE_DATA_OFFSET..].fill(0);
    arrives(enumeration, &saved, &expected, &TileValues::zero());
}

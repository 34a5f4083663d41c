//! A guest is stopped with a pattern in every register, and goes on in another VM.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(
    unsafe_code,
    reason = "guest memory is registered by its address, and the guest's code lies between labels"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guest;

use fpstate::Layout;
use fpstate_arch::{Component, ComponentSet};
use fpstate_kvm::{Parts, VcpuExtendedState};

use guest::machine::Stop;
use guest::{Bench, kvm};

/// What became of the guest: the registers that are wrong at its end, or why it did not get there.
type End = Result<Vec<String>, Stop>;

/// A guest is stopped, its snapshot goes through `alter`, another VM gets it and goes on.
fn goes_on(bench: &Bench<'_>, alter: impl FnOnce(&mut Parts)) -> End {
    let patterns = bench.patterns();
    let stopped = bench.stopped(&patterns);
    let snapshot = VcpuExtendedState::capture(&stopped.xsave(&bench.host)).unwrap();
    let mut parts = snapshot.into_parts();
    alter(&mut parts);
    let mut copy = bench.machine();
    copy.take_over(&stopped);
    drop(stopped);
    let snapshot = VcpuExtendedState::from_parts(parts);
    snapshot.restore(&copy.xsave(&bench.host)).unwrap();
    bench.wrong_registers(&mut copy, &patterns)
}

#[test]
fn a_guest_goes_on_in_a_new_vm_with_every_register_right() {
    let Some(kvm) = kvm() else { return };
    let Some(bench) = Bench::new(&kvm) else {
        return;
    };
    assert_eq!(goes_on(&bench, |_| ()), Ok(vec![]));
}

#[test]
fn a_guest_goes_on_where_its_snapshot_was_restored_over_another_guests() {
    let Some(kvm) = kvm() else { return };
    let Some(bench) = Bench::new(&kvm) else {
        return;
    };
    let patterns = bench.patterns();
    let stopped = bench.stopped(&patterns);
    let snapshot = VcpuExtendedState::capture(&stopped.xsave(&bench.host)).unwrap();
    let mut other = bench.stopped(&bench.patterns());
    other.take_over(&stopped);
    snapshot.restore(&other.xsave(&bench.host)).unwrap();
    assert_eq!(bench.wrong_registers(&mut other, &patterns), Ok(vec![]));
}

#[test]
fn a_captured_state_is_captured_again_byte_for_byte() {
    let Some(kvm) = kvm() else { return };
    let Some(bench) = Bench::new(&kvm) else {
        return;
    };
    let stopped = bench.stopped(&bench.patterns());
    let snapshot = VcpuExtendedState::capture(&stopped.xsave(&bench.host)).unwrap();
    assert!(
        snapshot.live().contains_all(bench.xcr0),
        "{:?}",
        snapshot.live()
    );
    let copy = bench.machine();
    snapshot.restore(&copy.xsave(&bench.host)).unwrap();
    let again = VcpuExtendedState::capture(&copy.xsave(&bench.host)).unwrap();
    assert_eq!(snapshot, again);
}

#[test]
fn an_image_left_out_is_noticed() {
    let Some(kvm) = kvm() else { return };
    let Some(bench) = Bench::new(&kvm) else {
        return;
    };
    let patterns = bench.patterns();
    let stopped = bench.stopped(&patterns);
    let mut copy = bench.machine();
    copy.take_over(&stopped);
    let xcrs = stopped.vcpu.get_xcrs().unwrap();
    copy.vcpu.set_xcrs(&xcrs).unwrap();
    let wrong = bench.wrong_registers(&mut copy, &patterns).unwrap();
    assert!(
        wrong.len() > 16 && wrong.contains(&"mxcsr".into()),
        "{wrong:?}"
    );
}

#[test]
fn an_xcr0_left_out_is_noticed() {
    let Some(kvm) = kvm() else { return };
    let Some(bench) = Bench::new(&kvm) else {
        return;
    };
    let end = goes_on(&bench, |parts| {
        parts.xcr0 = ComponentSet::only(Component::X87)
    });
    // Where KVM runs the guest with its own XCR0, its first AVX instruction ends it.
    eprintln!("the guest without its XCR0: {end:?}");
    assert_ne!(end, Ok(vec![]));
}

#[test]
fn one_byte_of_the_image_is_noticed_in_the_register_it_belongs_to() {
    let Some(kvm) = kvm() else { return };
    let Some(bench) = Bench::new(&kvm) else {
        return;
    };
    let layout = Layout::standard(bench.host.enumeration(), bench.xcr0).unwrap();
    let offset = |component| layout.place_of(component).map(|placed| placed.offset());
    // The fourth byte of a register in each component.
    let bytes = [
        (Some(32), 2 * 16, "st2"),
        (Some(160), 5 * 16, "vector 5"),
        (offset(Component::Avx), 5 * 16, "vector 5"),
        (offset(Component::Opmask), 5 * 8, "k5"),
        (offset(Component::ZmmHi256), 5 * 32, "vector 5"),
        (offset(Component::Hi16Zmm), 5 * 64, "vector 21"),
    ];
    let there = bytes
        .into_iter()
        .filter_map(|(start, within, register)| Some((start? + within + 3, register)));
    for (offset, register) in there {
        let end = goes_on(&bench, |parts| parts.xsave[offset] ^= 0x10);
        assert_eq!(end, Ok(vec![register.to_owned()]), "byte {offset}");
    }
}

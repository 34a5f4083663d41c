//! What XSETBV takes and refuses.

use super::*;

#[test]
fn all_that_is_announced_is_accepted() {
    for kind in Kind::all() {
        kind.for_every_guest(|mut guest| {
            let announced = announced_user(&guest, &kind);
            assert_eq!(guest.xsetbv(0, announced), Ok(()), "{}", kind.cpu.name);
            assert_eq!(guest.xcr0().components().bits(), announced);
        });
    }
}

#[test]
fn each_bit_that_is_not_announced_is_refused_and_changes_nothing() {
    for kind in Kind::all() {
        kind.for_every_guest(|mut guest| {
            let announced = announced_user(&guest, &kind);
            for bit in (0..64)
                .map(|bit| 1 << bit)
                .filter(|bit| announced & bit == 0)
            {
                for legal in [X87, announced] {
                    guest.xsetbv(0, legal).unwrap();
                    let written = guest.xsetbv(0, legal | bit);
                    let refused = written.map_err(|error| error.errno());
                    assert_eq!(refused, Err(Errno::Einval), "{bit:#x}");
                    assert_eq!(guest.xcr0().components().bits(), legal);
                }
            }
        });
    }
}

#[test]
fn of_what_is_announced_exactly_what_obeys_the_rules_is_accepted() {
    for kind in Kind::all() {
        let state = kind.host().state(kind.host().offer().guest_layout());
        let features = kind.features(kind.user(), 0);
        let mut guest = GuestFpu::offered(state, features).unwrap();
        let mut before = X87;
        for xcr0 in subsets(kind.user()) {
            let accepted = guest.xsetbv(0, xcr0).is_ok();
            assert_eq!(accepted, obeys_the_rules(xcr0), "{xcr0:#x}");
            before = if accepted { xcr0 } else { before };
            assert_eq!(guest.xcr0().components().bits(), before, "{xcr0:#x}");
        }
    }
}

#[test]
fn there_is_only_register_0() {
    for kind in Kind::all() {
        kind.for_every_guest(|mut guest| {
            for index in [1, 2, 0x7fff_ffff, u32::MAX] {
                let written = guest.xsetbv(index, announced_user(&guest, &kind));
                let refused = written.map_err(|error| error.errno());
                assert_eq!(refused, Err(Errno::Einval), "{index}");
                assert_eq!(guest.xcr0().components().bits(), X87);
            }
        });
    }
}

/// What a 6.18 kernel answered to `KVM_SET_XCRS` on a CPU with AVX and no more.
#[test]
fn a_guest_with_avx_is_answered_as_by_kvm() {
    let refused = [
        0,
        2,
        4,
        5,
        6,
        9,
        0x19,
        0x1f,
        0x27,
        0xe7,
        0x207,
        0x807,
        0x2_0007,
        0x4_0007,
        0x6_0007,
        1 << 63 | 7,
    ];
    for kind in Kind::all() {
        let state = kind.host().state(kind.host().offer().guest_layout());
        let features = kind.features(X87 | SSE | AVX, 0);
        let mut guest = GuestFpu::offered(state, features).unwrap();
        for xcr0 in refused {
            let answer = guest.xsetbv(0, xcr0).map_err(|error| error.errno());
            assert_eq!(answer, Err(Errno::Einval), "{xcr0:#x}");
        }
        for xcr0 in [1, 3, 7] {
            assert_eq!(guest.xsetbv(0, xcr0), Ok(()), "{xcr0:#x}");
        }
    }
}

//! What Linux was observed to answer to `KVM_SET_XSAVE` (kernel 6.18), asked of this machine's kernel
//! and of the library.
#![cfg(target_arch = "x86_64")]

use conformance::judge::answer::Verdict;
use conformance::judge::court::Court;
use conformance::judge::door::Door;
use conformance::judge::kernel::vcpu::Vcpu;
use conformance::judge::legal::{MXCSR, RESERVED, XCOMP_BV, XSTATE_BV, number, set_number};
use conformance::judge::shape::Shape;
use conformance::judge::table::{self, FCW, Field, Row, THE_MXCSR, XMM, YMM_HIGH, image};
use fpstate::{BoxedArea, Fpstate, Identities, ImageOrigin, KvmImage, Layout};
use fpstate_arch::{Component, ComponentSet, Xfd};

const KVM_XSAVE_LEN: usize = 4096;
/// A bit that no MXCSR has.
const BAD_MXCSR: u64 = 0x8000_1f80;

const ROWS: [Row; 19] = [
    Row {
        name: "as it is",
        change: |_, _| {},
        verdict: Verdict::Taken,
        after: &[
            (Field::XstateBv, 7),
            (Field::Fcw, FCW),
            (Field::Mxcsr, THE_MXCSR),
            (Field::Xmm7, XMM),
            (Field::Ymm7High, YMM_HIGH),
        ],
    },
    Row {
        name: "XSTATE_BV has a user component that this CPU lacks",
        change: |shape, image| add(image, first_unknown(shape)),
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "XSTATE_BV has a supervisor component",
        change: |_, image| add(image, 1 << 11),
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "XSTATE_BV[63]",
        change: |_, image| add(image, 1 << 63),
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "XCOMP_BV is 1",
        change: |_, image| set_number(image, XCOMP_BV, 1),
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "XCOMP_BV is that of a compacted image",
        change: |_, image| set_number(image, XCOMP_BV, 1 << 63 | 7),
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "the first reserved byte of the header",
        change: |_, image| image[RESERVED.start] = 1,
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "a reserved byte that XRSTOR ignores",
        change: |_, image| image[RESERVED.start + 8] = 1,
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "the last reserved byte of the header",
        change: |_, image| image[RESERVED.end - 1] = 0x80,
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "a bad MXCSR with x87 and SSE",
        change: |_, image| bad_mxcsr(image, 3),
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "a bad MXCSR with x87",
        change: |_, image| bad_mxcsr(image, 1),
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "a bad MXCSR with SSE",
        change: |_, image| bad_mxcsr(image, 2),
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "a bad MXCSR with AVX",
        change: |_, image| bad_mxcsr(image, 4),
        verdict: Verdict::EINVAL,
        after: &[],
    },
    Row {
        name: "a bad MXCSR with nothing",
        change: |_, image| bad_mxcsr(image, 0),
        verdict: Verdict::Taken,
        after: &[
            (Field::XstateBv, 0),
            (Field::Fcw, 0x37f),
            (Field::Mxcsr, 0x1f80),
            (Field::Xmm7, 0),
            (Field::Ymm7High, 0),
        ],
    },
    Row {
        name: "AVX alone, and an initial MXCSR",
        change: |_, image| {
            set_number(image, XSTATE_BV, 4);
            set_number(image, MXCSR, 0x1f80);
        },
        verdict: Verdict::Taken,
        after: &[
            (Field::XstateBv, 4),
            (Field::Fcw, 0x37f),
            (Field::Mxcsr, 0x1f80),
            (Field::Xmm7, 0),
            (Field::Ymm7High, YMM_HIGH),
        ],
    },
    Row {
        name: "AVX alone brings MXCSR",
        change: |_, image| set_number(image, XSTATE_BV, 4),
        verdict: Verdict::Taken,
        after: &[(Field::XstateBv, 4), (Field::Mxcsr, THE_MXCSR)],
    },
    Row {
        name: "x87 alone does not",
        change: |_, image| set_number(image, XSTATE_BV, 1),
        verdict: Verdict::Taken,
        after: &[
            (Field::XstateBv, 1),
            (Field::Fcw, FCW),
            (Field::Mxcsr, 0x1f80),
        ],
    },
    Row {
        name: "any MXCSR_MASK is kept",
        change: |_, image| set_number(image, 28..32, 0x1234_5678),
        verdict: Verdict::Taken,
        after: &[(Field::MxcsrMask, 0x1234_5678)],
    },
    Row {
        name: "a byte less than the structure",
        change: |_, image| image.truncate(KVM_XSAVE_LEN - 1),
        verdict: Verdict::EFAULT,
        after: &[],
    },
];

fn add(image: &mut [u8], components: u64) {
    let live = number(image, XSTATE_BV);
    set_number(image, XSTATE_BV, live | components);
}

fn bad_mxcsr(image: &mut [u8], live: u64) {
    set_number(image, XSTATE_BV, live);
    set_number(image, MXCSR, BAD_MXCSR);
}

/// The lowest user component that images here do not have.
fn first_unknown(shape: &Shape) -> u64 {
    let unknown = !shape.components().bits();
    unknown & unknown.wrapping_neg()
}

#[test]
fn each_observed_answer_of_kvm_set_xsave_is_given_by_kernel_and_library() {
    if let Some(court) = Court::open(Door::Vcpu) {
        table::check(&court, &ROWS, |_, image| image.resize(KVM_XSAVE_LEN, 0));
    }
}

#[test]
fn a_fresh_vcpu_hands_out_what_a_fresh_state_of_the_library_does() {
    let Some(court) = Court::open(Door::Vcpu) else {
        return;
    };
    let shape = court.shape();
    let fresh = Vcpu::new().expect("a vCPU").xsave();
    assert_eq!(number(&fresh, XSTATE_BV), 0);
    assert_eq!(number(&fresh, 0..2), 0x37f);
    assert_eq!(number(&fresh, MXCSR), 0x1f80);
    let layout = Layout::standard(shape.enumeration(), shape.components()).unwrap();
    let room = layout.without(ComponentSet::only(Component::Pkru)).unwrap();
    let storage = BoxedArea::for_layout(&room).unwrap();
    let state = Fpstate::new(room, storage, &Identities::new()).unwrap();
    let origin = ImageOrigin {
        xcr0: shape.components(),
        mxcsr_mask: shape.mxcsr_mask(),
    };
    let mut bytes = vec![0xcc; KVM_XSAVE_LEN];
    let of_library = state.in_memory().unwrap().state();
    of_library
        .write_kvm(&layout, origin, None, &mut bytes)
        .unwrap();
    assert!(bytes == fresh);
}

/// `KVM_SET_XSAVE` does not ask CPUID, `KVM_GET_XSAVE2` does (linux.md 5.6, H9).
#[test]
fn before_cpuid_is_set_what_was_loaded_is_there_and_not_shown() {
    let Some(court) = Court::open(Door::Vcpu) else {
        return;
    };
    let shape = court.shape();
    let layout = Layout::standard(shape.enumeration(), shape.components()).unwrap();
    let mut image = image(shape);
    image.resize(KVM_XSAVE_LEN, 0);
    let mut vcpu = Vcpu::without_cpuid().expect("a vCPU");
    assert_eq!(vcpu.set_xsave(&image), Verdict::Taken);
    let parsed = KvmImage::parse(&image, layout, Xfd::NOTHING, shape.mxcsr_mask()).unwrap();
    let of_library = |shown: ComponentSet| {
        let origin = ImageOrigin {
            xcr0: shape.components(),
            mxcsr_mask: shape.mxcsr_mask(),
        };
        let mut bytes = vec![0xcc; KVM_XSAVE_LEN];
        let dropped = parsed.state().live().difference(shown);
        let state = parsed.state().without(dropped);
        state.write_kvm(&layout, origin, None, &mut bytes).unwrap();
        bytes
    };
    let hidden = vcpu.xsave();
    assert_eq!(number(&hidden, XSTATE_BV), 3);
    assert!(hidden == of_library(ComponentSet::LEGACY));
    vcpu.set_cpuid().expect("CPUID");
    let shown = vcpu.xsave();
    assert_eq!(number(&shown, XSTATE_BV), 7);
    assert!(shown == of_library(shape.components()));
}

/// Unlike ptrace and sigreturn, where it is 0 then.
#[test]
fn pkru_stays_where_xstate_bv_lacks_it() {
    let Some(court) = Court::open(Door::Vcpu) else {
        return;
    };
    let mut places = court.shape().places().iter();
    let Some((_, place)) = places.find(|(component, _)| *component == Component::Pkru) else {
        eprintln!(
            "SKIPPED: guests have no PKRU here; the library's rule is a unit test of kvm_image.rs"
        );
        return;
    };
    let mut image = image(court.shape());
    set_number(&mut image, place.clone(), 0x5555_5550);
    add(&mut image, ComponentSet::only(Component::Pkru).bits());
    image.resize(KVM_XSAVE_LEN, 0);
    let mut trial = court.trial();
    trial.put(&image).unwrap();
    set_number(&mut image, place.clone(), 0);
    set_number(&mut image, XSTATE_BV, 7);
    let after = trial.put(&image).unwrap().answer.after;
    assert_eq!(number(&after, place.clone()), 0x5555_5550);
}

#[test]
fn images_fit_the_structure_that_every_vmm_has() {
    let Some(_) = Court::open(Door::Vcpu) else {
        return;
    };
    let len = Vcpu::new().expect("a vCPU").xsave2_len();
    assert_eq!(len, 4096);
}

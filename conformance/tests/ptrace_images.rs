//! What Linux was observed to answer to `PTRACE_SETREGSET` (kernel 6.18), asked of this machine's
//! kernel and of the library.
#![cfg(target_arch = "x86_64")]

use conformance::judge::answer::Verdict;
use conformance::judge::court::Court;
use conformance::judge::door::Door;
use conformance::judge::legal::{MXCSR, RESERVED, XCOMP_BV, XSTATE_BV, number, set_number};
use conformance::judge::table::{self, FCW, Field, Row, THE_MXCSR, XMM, YMM_HIGH};

/// A bit that no MXCSR has.
const BAD_MXCSR: u64 = 0x8000_1f80;
const INITIAL: &[(Field, u64)] = &[
    (Field::XstateBv, 0),
    (Field::Fcw, 0x37f),
    (Field::Mxcsr, 0x1f80),
    (Field::Xmm7, 0),
    (Field::Ymm7High, 0),
];
const AS_IT_IS: &[(Field, u64)] = &[
    (Field::XstateBv, 7),
    (Field::Fcw, FCW),
    (Field::Mxcsr, THE_MXCSR),
    (Field::Xmm7, XMM),
    (Field::Ymm7High, YMM_HIGH),
];

const X86_XSTATE: [Row; 17] = [
    taken("as it is", |_, _| {}, AS_IT_IS),
    taken(
        "64 bytes longer",
        |_, image| image.resize(image.len() + 64, 0xff),
        AS_IT_IS,
    ),
    refused("8 bytes shorter", Verdict::EFAULT, |_, image| {
        image.truncate(image.len() - 8);
    }),
    refused("the header alone", Verdict::EFAULT, |_, image| {
        image.truncate(576)
    }),
    refused("nothing", Verdict::EFAULT, |_, image| image.clear()),
    refused("no multiple of 8", Verdict::EINVAL, |_, image| {
        image.push(0)
    }),
    refused(
        "a reserved byte of the header",
        Verdict::EINVAL,
        |_, image| {
            image[RESERVED.start] = 1;
        },
    ),
    refused("one that XRSTOR ignores", Verdict::EINVAL, |_, image| {
        image[RESERVED.end - 1] = 1;
    }),
    refused("XCOMP_BV", Verdict::EINVAL, |_, image| {
        set_number(image, XCOMP_BV, 1 << 63);
    }),
    refused("XSTATE_BV[40]", Verdict::EINVAL, |_, image| {
        add(image, 1 << 40)
    }),
    refused("tiles without permission", Verdict::EINVAL, |_, image| {
        add(image, 1 << 18);
    }),
    refused("a supervisor component", Verdict::EINVAL, |_, image| {
        add(image, 1 << 11);
    }),
    refused("a bad MXCSR with x87", Verdict::EINVAL, |_, image| {
        bad_mxcsr(image, 1)
    }),
    refused(
        "a bad MXCSR with x87 and SSE",
        Verdict::EINVAL,
        |_, image| {
            bad_mxcsr(image, 3);
        },
    ),
    refused("a bad MXCSR with AVX", Verdict::EINVAL, |_, image| {
        bad_mxcsr(image, 4)
    }),
    taken(
        "a bad MXCSR with nothing",
        |_, image| bad_mxcsr(image, 0),
        INITIAL,
    ),
    taken(
        "AVX alone",
        |_, image| set_number(image, XSTATE_BV, 4),
        &[
            (Field::XstateBv, 4),
            (Field::Mxcsr, THE_MXCSR),
            (Field::Xmm7, 0),
        ],
    ),
];

const PRFPREG: [Row; 5] = [
    taken(
        "as it is: AVX is what it was",
        |_, image| set_number(image, 0..2, 0x37e),
        &[
            (Field::XstateBv, 7),
            (Field::Fcw, 0x37e),
            (Field::Mxcsr, THE_MXCSR),
            (Field::Xmm7, XMM),
            (Field::Ymm7High, YMM_HIGH),
        ],
    ),
    taken(
        "8 bytes longer",
        |_, image| image.resize(520, 0xff),
        AS_IT_IS,
    ),
    refused("8 bytes shorter", Verdict::EINVAL, |_, image| {
        image.truncate(504)
    }),
    refused("no multiple of 8", Verdict::EINVAL, |_, image| {
        image.truncate(511)
    }),
    refused("a bad MXCSR", Verdict::EINVAL, |_, image| {
        set_number(image, MXCSR, BAD_MXCSR);
    }),
];

type Change = fn(&conformance::judge::shape::Shape, &mut Vec<u8>);

const fn taken(name: &'static str, change: Change, after: &'static [(Field, u64)]) -> Row {
    Row {
        name,
        change,
        verdict: Verdict::Taken,
        after,
    }
}

const fn refused(name: &'static str, verdict: Verdict, change: Change) -> Row {
    Row {
        name,
        change,
        verdict,
        after: &[],
    }
}

fn add(image: &mut [u8], components: u64) {
    let live = number(image, XSTATE_BV);
    set_number(image, XSTATE_BV, live | components);
}

fn bad_mxcsr(image: &mut [u8], live: u64) {
    set_number(image, XSTATE_BV, live);
    set_number(image, MXCSR, BAD_MXCSR);
}

#[test]
fn each_observed_answer_to_nt_x86_xstate_is_given_by_kernel_and_library() {
    if let Some(court) = Court::open(Door::X86Xstate) {
        table::check(&court, &X86_XSTATE, |_, _| {});
    }
}

#[test]
fn each_observed_answer_to_nt_prfpreg_is_given_by_kernel_and_library() {
    if let Some(court) = Court::open(Door::Prfpreg) {
        table::check(&court, &PRFPREG, |_, image| image.truncate(512));
    }
}

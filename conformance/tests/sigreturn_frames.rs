//! What Linux was observed to make of signal frames (kernel 6.18), asked of this machine's kernel and of
//! the library.
#![cfg(target_arch = "x86_64")]

use std::ops::Range;

use conformance::generators::seeds;
use conformance::judge::answer::Verdict;
use conformance::judge::court::Court;
use conformance::judge::door::Door;
use conformance::judge::frame::{
    self, EXTENDED_SIZE, MAGIC1, MAGIC2_VALUE, XFEATURES, XSTATE_SIZE,
};
use conformance::judge::kernel::signal_return::Pointer;
use conformance::judge::legal::{MXCSR, RESERVED, XCOMP_BV, XSTATE_BV, number, set_number};
use conformance::judge::shape::Shape;
use conformance::judge::table::{self, FCW, Field, Row, THE_MXCSR, XMM, YMM_HIGH, avx, image};
use fpstate::{Layout, StandardImage};
use fpstate_arch::{Component, ComponentSet, Instruction};

/// A bit that no MXCSR has.
const BAD_MXCSR: u64 = 0x8000_1f80;
/// Reserved bytes of the legacy region that XSAVE does not write: a frame has there what was on the stack.
const NOT_WRITTEN: Range<usize> = 416..464;

const WHOLE: &[(Field, u64)] = &[
    (Field::Fcw, FCW),
    (Field::Mxcsr, THE_MXCSR),
    (Field::Xmm7, XMM),
    (Field::Ymm7High, YMM_HIGH),
];
/// x87 and SSE from the frame, all else initial.
const FX_ONLY: &[(Field, u64)] = &[
    (Field::Fcw, FCW),
    (Field::Mxcsr, THE_MXCSR),
    (Field::Xmm7, XMM),
    (Field::Ymm7High, 0),
];
const INITIAL: &[(Field, u64)] = &[
    (Field::Fcw, 0x37f),
    (Field::Mxcsr, 0x1f80),
    (Field::Xmm7, 0),
    (Field::Ymm7High, 0),
];

const ROWS: [Row; 26] = [
    taken("as it is", |_, _| {}, WHOLE),
    taken(
        "another YMM7",
        |shape, frame| {
            let ymm7 = avx(shape) + 112;
            set_number(frame, ymm7..ymm7 + 8, 0x77);
        },
        &[(Field::Xmm7, XMM), (Field::Ymm7High, 0x77)],
    ),
    killed("a reserved byte of the header", |_, frame| {
        frame[RESERVED.start] = 1
    }),
    taken(
        "a reserved byte that XRSTOR ignores",
        |_, frame| frame[RESERVED.start + 8] = 1,
        WHOLE,
    ),
    killed("XCOMP_BV[63] without the components", |_, frame| {
        set_number(frame, XCOMP_BV, 1 << 63);
    }),
    killed("XCOMP_BV without bit 63", |_, frame| {
        set_number(frame, XCOMP_BV, 7)
    }),
    killed("XSTATE_BV[40]", |_, frame| add(frame, 1 << 40)),
    killed("XSTATE_BV[40], and xfeatures without it", |_, frame| {
        add(frame, 1 << 40);
        set_number(frame, XFEATURES, 3);
    }),
    killed("a bad MXCSR", |_, frame| {
        set_number(frame, MXCSR, BAD_MXCSR)
    }),
    killed("a bad MXCSR with nothing live", |_, frame| {
        set_number(frame, MXCSR, BAD_MXCSR);
        set_number(frame, XSTATE_BV, 0);
    }),
    killed(
        "a bad MXCSR in a frame that is FXSAVE's alone",
        |_, frame| {
            set_number(frame, MXCSR, BAD_MXCSR);
            set_number(frame, MAGIC1, 0);
        },
    ),
    taken(
        "a bad MXCSR that xfeatures does not ask for",
        |_, frame| {
            set_number(frame, MXCSR, BAD_MXCSR);
            set_number(frame, XFEATURES, 1);
        },
        &[(Field::Fcw, FCW), (Field::Mxcsr, 0x1f80), (Field::Xmm7, 0)],
    ),
    taken(
        "magic1 is 0",
        |_, frame| set_number(frame, MAGIC1, 0),
        FX_ONLY,
    ),
    taken(
        "magic2 is 0",
        |shape, frame| {
            let magic2 = shape.image_len();
            set_number(frame, magic2..magic2 + 4, 0);
        },
        FX_ONLY,
    ),
    taken(
        "xstate_size without room for the header",
        |_, frame| set_number(frame, XSTATE_SIZE, 575),
        FX_ONLY,
    ),
    taken(
        "extended_size is less than xstate_size",
        |shape, frame| set_number(frame, EXTENDED_SIZE, shape.image_len() as u64 - 1),
        FX_ONLY,
    ),
    taken(
        "extended_size is anything more",
        |_, frame| set_number(frame, EXTENDED_SIZE, u32::MAX.into()),
        WHOLE,
    ),
    taken(
        "a smaller frame",
        |_, frame| {
            set_number(frame, XFEATURES, 7);
            set_number(frame, XSTATE_SIZE, 832);
            set_number(frame, EXTENDED_SIZE, 836);
            set_number(frame, 832..836, MAGIC2_VALUE);
        },
        WHOLE,
    ),
    taken(
        "XSTATE_BV bits outside xfeatures, and nothing else in the way",
        |_, frame| {
            set_number(frame, XFEATURES, 4);
        },
        &[
            (Field::Fcw, 0x37f),
            (Field::Mxcsr, 0x1f80),
            (Field::Xmm7, 0),
            (Field::Ymm7High, YMM_HIGH),
        ],
    ),
    taken(
        "xfeatures without AVX",
        |_, frame| set_number(frame, XFEATURES, 3),
        FX_ONLY,
    ),
    taken(
        "no xfeatures",
        |_, frame| set_number(frame, XFEATURES, 0),
        INITIAL,
    ),
    taken(
        "all xfeatures there could be",
        |shape, frame| {
            let more = !shape.components().bits();
            let announced = number(frame, XFEATURES);
            set_number(frame, XFEATURES, announced | more);
        },
        WHOLE,
    ),
    taken(
        "nothing live: MXCSR comes from the frame",
        |_, frame| set_number(frame, XSTATE_BV, 0),
        &[
            (Field::Fcw, 0x37f),
            (Field::Mxcsr, THE_MXCSR),
            (Field::Xmm7, 0),
            (Field::Ymm7High, 0),
        ],
    ),
    taken(
        "the same in a frame that is FXSAVE's alone: nobody looks at the header",
        |_, frame| {
            set_number(frame, XSTATE_BV, 1 << 40);
            set_number(frame, MAGIC1, 0);
        },
        FX_ONLY,
    ),
    killed("the image cannot be read to its end", |shape, frame| {
        let (end, all) = (shape.image_len() - 1, shape.components().bits());
        add(frame, all);
        set_number(frame, XSTATE_SIZE, 576);
        set_number(frame, 576..580, MAGIC2_VALUE);
        frame.truncate(end / 64 * 64);
    }),
    killed("not even FXSAVE's bytes", |_, frame| frame.truncate(448)),
];

type Change = fn(&Shape, &mut Vec<u8>);

const fn taken(name: &'static str, change: Change, after: &'static [(Field, u64)]) -> Row {
    Row {
        name,
        change,
        verdict: Verdict::Taken,
        after,
    }
}

const fn killed(name: &'static str, change: Change) -> Row {
    Row {
        name,
        change,
        verdict: Verdict::Killed,
        after: INITIAL,
    }
}

fn add(image: &mut [u8], components: u64) {
    let live = number(image, XSTATE_BV);
    set_number(image, XSTATE_BV, live | components);
}

/// Makes a frame of an image, without what the process cannot do without.
fn whole(shape: &Shape, image: &mut Vec<u8>) {
    frame::complete(shape, image);
    let plain = ComponentSet::LEGACY
        .with(Component::Avx)
        .union(ComponentSet::AVX512);
    let announced = shape.components().intersection(plain);
    set_number(image, XFEATURES, announced.bits());
}

#[test]
fn each_observed_answer_to_a_signal_frame_is_given_by_kernel_and_library() {
    if let Some(court) = Court::open(Door::SignalFrame) {
        table::check(&court, &ROWS, whole);
    }
}

/// XRSTOR takes what XSAVEC wrote, and Linux does not look.
#[test]
fn a_compacted_frame_is_restored() {
    let Some(court) = Court::open(Door::SignalFrame) else {
        return;
    };
    if !court.shape().enumeration().has(Instruction::Xsavec) {
        eprintln!("SKIPPED: no XSAVEC here");
        return;
    }
    let compacted = [
        taken(
            "AVX is where it is in the standard format",
            |_, frame| set_number(frame, XCOMP_BV, 1 << 63 | 7),
            WHOLE,
        ),
        taken(
            "nothing live: MXCSR is initial with SSE",
            |_, frame| {
                set_number(frame, XSTATE_BV, 0);
                set_number(frame, XCOMP_BV, 1 << 63 | 7);
            },
            INITIAL,
        ),
        killed("XCOMP_BV lacks a live component", |_, frame| {
            set_number(frame, XCOMP_BV, 1 << 63 | 3);
        }),
        killed("the last reserved byte of the header", |_, frame| {
            set_number(frame, XCOMP_BV, 1 << 63 | 7);
            frame[RESERVED.end - 1] = 1;
        }),
    ];
    table::check(&court, &compacted, whole);
}

/// The context's pointer is no part of an image: what the library makes of it is its caller's business.
#[test]
fn a_context_without_an_image_restores_the_initial_state_and_a_misaligned_one_is_a_sigsegv() {
    let Some(court) = Court::open(Door::SignalFrame) else {
        return;
    };
    let mut frame = image(court.shape());
    let mut thread = court.signal_return();
    thread.begin_with(&frame);
    whole(court.shape(), &mut frame);
    for (pointer, verdict) in [
        (Pointer::Null, Verdict::Taken),
        (Pointer::Misaligned(&frame, 8), Verdict::Killed),
    ] {
        let answer = thread.return_with(pointer);
        assert_eq!(answer.verdict, verdict, "{pointer:?}");
        assert_eq!(number(&answer.after, 0..2), 0x37f);
        assert_eq!(number(&answer.after, MXCSR), 0x1f80);
        assert!(answer.after[160..416].iter().all(|byte| *byte == 0));
        assert!(answer.after[576..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn the_library_writes_the_frame_that_the_kernel_does() {
    let Some(court) = Court::open(Door::SignalFrame) else {
        return;
    };
    let shape = court.shape();
    if court.images(0).withholds_something() {
        eprintln!("SKIPPED: this process has components that the test cannot load");
        return;
    }
    let layout = Layout::standard(shape.enumeration(), shape.components()).unwrap();
    for seed in seeds(200) {
        let mut thread = court.signal_return();
        thread.begin_with(&court.images(seed).with_everything_live());
        // What the registers keep of it: no reserved bits.
        let mut image = thread.loaded();
        set_number(&mut image, XSTATE_BV, shape.components().bits());
        thread.begin_with(&image);
        thread.return_with(Pointer::Null);
        let mut written = thread.written().to_vec();
        written[NOT_WRITTEN].fill(0);
        let parsed = StandardImage::parse(&image, layout, shape.mxcsr_mask()).unwrap();
        let mut bytes = vec![0xcc; written.len()];
        let mask = shape.mxcsr_mask();
        let len = parsed
            .state()
            .write_signal_frame(&layout, mask, None, &mut bytes);
        assert_eq!(len, Ok(written.len()), "FPSTATE_SEED={seed}");
        // What is initial is live or not as the CPU likes, and has the same bytes either way.
        let live = number(&written, XSTATE_BV);
        let initial = shape.components().difference(ComponentSet::from_bits(live));
        for (_, place) in shape
            .places()
            .iter()
            .filter(|(it, _)| initial.contains(*it))
        {
            assert!(
                bytes[place.clone()].iter().all(|byte| *byte == 0),
                "FPSTATE_SEED={seed}"
            );
        }
        set_number(&mut bytes, XSTATE_BV, live);
        let differing = bytes.iter().zip(&written).position(|(a, b)| a != b);
        assert_eq!(differing, None, "FPSTATE_SEED={seed}");
    }
}

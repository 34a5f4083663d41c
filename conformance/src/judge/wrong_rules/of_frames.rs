//! Wrong rules for signal frames.

use fpstate_arch::{Component, ComponentSet};

use super::{Change, WrongRule};
use crate::judge::answer::Verdict;
use crate::judge::door::Door;
use crate::judge::frame::{
    EXTENDED_SIZE, MAGIC1, MAGIC1_VALUE, MAGIC2_VALUE, XFEATURES, XSTATE_SIZE,
};
use crate::judge::legal::{MXCSR, RESERVED, XCOMP_BV, XSTATE_BV, number, set_number};

const FRAME: &[Door] = &[Door::SignalFrame];
/// A component that no CPU has.
const NOBODYS: u64 = 1 << 62;

pub(super) const ALL: [WrongRule; 12] = [
    WrongRule::new(
        "a frame without the first magic number is refused",
        FRAME,
        Change::Answer(|_, handed| {
            if number(handed.image, MAGIC1) != MAGIC1_VALUE {
                handed.answer.verdict = Verdict::Killed;
            }
        }),
    ),
    WrongRule::new(
        "the second magic number is not looked at",
        FRAME,
        Change::Image(|_, frame| {
            let size = usize::try_from(number(frame, XSTATE_SIZE)).unwrap_or(0);
            if size <= frame.len() {
                set_number(frame, size..size + 4, MAGIC2_VALUE);
            }
        }),
    ),
    WrongRule::new(
        "xstate_size must be this kernel's",
        FRAME,
        Change::Image(|shape, frame| {
            if number(frame, XSTATE_SIZE) != shape.image_len() as u64 {
                set_number(frame, MAGIC1, 0);
            }
        }),
    ),
    WrongRule::new(
        "extended_size must be xstate_size and 4",
        FRAME,
        Change::Image(|_, frame| {
            if number(frame, EXTENDED_SIZE) != number(frame, XSTATE_SIZE) + 4 {
                set_number(frame, MAGIC1, 0);
            }
        }),
    ),
    WrongRule::new(
        "xfeatures beyond the CPU's are refused",
        FRAME,
        Change::Image(|shape, frame| {
            if number(frame, XFEATURES) & !shape.components().bits() != 0 {
                set_number(frame, XSTATE_BV, NOBODYS);
            }
        }),
    ),
    WrongRule::new(
        "XSTATE_BV is judged against xfeatures",
        FRAME,
        Change::Image(|_, frame| {
            if number(frame, XSTATE_BV) & !number(frame, XFEATURES) != 0 {
                set_number(frame, XSTATE_BV, NOBODYS);
            }
        }),
    ),
    WrongRule::new(
        "XSTATE_BV is cut to xfeatures before it is judged",
        FRAME,
        Change::Image(|_, frame| {
            let both = number(frame, XSTATE_BV) & number(frame, XFEATURES);
            set_number(frame, XSTATE_BV, both);
        }),
    ),
    WrongRule::new(
        "all reserved bytes of the header are judged in the standard format",
        FRAME,
        Change::Image(|_, frame| {
            let reserved = frame.get(RESERVED).unwrap_or(&[]);
            if reserved.iter().any(|byte| *byte != 0) {
                set_number(frame, RESERVED.start..RESERVED.start + 1, 1);
            }
        }),
    ),
    WrongRule::new(
        "compacted frames are refused",
        FRAME,
        Change::Image(|_, frame| {
            if number(frame, XCOMP_BV) != 0 {
                set_number(frame, XCOMP_BV, 1);
            }
        }),
    ),
    WrongRule::new(
        "MXCSR is loaded where xfeatures has AVX and not SSE",
        FRAME,
        Change::Answer(|_, handed| {
            let is_it = number(handed.image, XFEATURES) & 6 == 4
                && number(handed.image, MAGIC1) == MAGIC1_VALUE
                && handed.answer.verdict == Verdict::Taken;
            if is_it {
                let mxcsr = number(handed.image, MXCSR);
                set_number(&mut handed.answer.after, MXCSR, mxcsr);
            }
        }),
    )
    .that_needs(ComponentSet::only(Component::Avx)),
    WrongRule::new(
        "registers that xfeatures lacks stay as they are",
        FRAME,
        Change::Answer(|shape, handed| {
            let xfeatures = number(handed.image, XFEATURES);
            for (component, place) in shape.places() {
                if handed.answer.verdict == Verdict::Taken
                    && xfeatures & ComponentSet::only(*component).bits() == 0
                    && let Some(before) = handed.before.get(place.clone())
                {
                    handed.answer.after[place.clone()].copy_from_slice(before);
                }
            }
        }),
    )
    .that_needs(ComponentSet::only(Component::Avx)),
    WrongRule::new(
        "a refused frame leaves the registers as they were",
        FRAME,
        Change::Answer(|_, handed| {
            if handed.answer.verdict == Verdict::Killed && !handed.before.is_empty() {
                handed.answer.after.copy_from_slice(handed.before);
            }
        }),
    ),
];

//! Wrong rules for images.

use fpstate_arch::{Component, ComponentSet};

use super::{Change, Handed, WrongRule};
use crate::judge::answer::{Answer, Verdict};
use crate::judge::door::Door;
use crate::judge::legal::{MXCSR, MXCSR_MASK, RESERVED, XCOMP_BV, XSTATE_BV, number, set_number};
use crate::judge::shape::Shape;

const KERNEL_BUFFERED: &[Door] = &[Door::Vcpu, Door::X86Xstate];
const EVERY: &[Door] = &[
    Door::Vcpu,
    Door::X86Xstate,
    Door::Prfpreg,
    Door::SignalFrame,
];
const WITH_HEADER: &[Door] = &[Door::Vcpu, Door::X86Xstate, Door::SignalFrame];

const X87: u64 = 1;
const SSE: u64 = 2;
const AVX: u64 = 4;
/// The bytes that Linux leaves to software.
const SOFTWARE_BYTES: std::ops::Range<usize> = 464..512;

pub(super) const ALL: [WrongRule; 18] = [
    WrongRule::new(
        "MXCSR is never judged",
        EVERY,
        Change::Image(|shape, image| cut_mxcsr(shape, image)),
    ),
    WrongRule::new(
        "MXCSR is always judged",
        KERNEL_BUFFERED,
        Change::Image(|shape, image| {
            if !has_legal_mxcsr(shape, image) {
                add(image, SSE);
            }
        }),
    ),
    WrongRule::new(
        "MXCSR is not judged where x87 alone is live",
        KERNEL_BUFFERED,
        Change::Image(|shape, image| {
            if live(image) & (X87 | SSE | AVX) == X87 {
                cut_mxcsr(shape, image);
            }
        }),
    ),
    WrongRule::new(
        "MXCSR is taken where x87 alone is live",
        KERNEL_BUFFERED,
        Change::Answer(|_, handed| {
            if live(handed.image) & (X87 | SSE | AVX) == X87 {
                take(handed, MXCSR);
            }
        }),
    ),
    WrongRule::new(
        "MXCSR is not taken where AVX is live and SSE is not",
        KERNEL_BUFFERED,
        Change::Image(|shape, image| {
            if live(image) & (SSE | AVX) == AVX && has_legal_mxcsr(shape, image) {
                set_number(image, MXCSR, 0x1f80);
            }
        }),
    )
    .that_needs(ComponentSet::only(Component::Avx)),
    WrongRule::new(
        "MXCSR_MASK is always this CPU's",
        &[Door::Vcpu, Door::X86Xstate, Door::Prfpreg],
        Change::Answer(|shape, handed| {
            let mask = shape.mxcsr_mask().into();
            set_number(&mut handed.answer.after, MXCSR_MASK, mask);
        }),
    ),
    WrongRule::new(
        "eight reserved bytes of the header are judged",
        KERNEL_BUFFERED,
        Change::Image(|_, image| zero(image, RESERVED.start + 8..RESERVED.end)),
    ),
    WrongRule::new(
        "XCOMP_BV is ignored",
        WITH_HEADER,
        Change::Image(|_, image| set_number(image, XCOMP_BV, 0)),
    ),
    WrongRule::new(
        "a component that there is not is ignored",
        WITH_HEADER,
        Change::Image(|shape, image| {
            let known = live(image) & shape.components().bits();
            set_number(image, XSTATE_BV, known);
        }),
    ),
    WrongRule::new(
        "bytes of software are kept",
        &[Door::Vcpu, Door::X86Xstate],
        Change::Answer(|_, handed| take(handed, SOFTWARE_BYTES)),
    ),
    WrongRule::new(
        "a component that is not live keeps its bytes",
        KERNEL_BUFFERED,
        Change::Answer(|shape, handed| {
            for (component, place) in shape.places() {
                if live(handed.image) & ComponentSet::only(*component).bits() == 0 {
                    keep(handed, place.clone());
                }
            }
        }),
    )
    .that_needs(ComponentSet::only(Component::Avx)),
    WrongRule::new(
        "x87 comes in although the image is refused",
        &[Door::Vcpu, Door::X86Xstate, Door::Prfpreg],
        Change::Answer(|_, handed| {
            if handed.answer.verdict != Verdict::Taken
                && let Some(x87) = handed.image.get(..24)
            {
                handed.answer.after[..24].copy_from_slice(x87);
            }
        }),
    ),
    WrongRule::new(
        "short images are filled with zeros",
        &[Door::Vcpu],
        Change::Image(|_, image| fill_up_to(image, 4096)),
    ),
    WrongRule::new(
        "short images are filled with zeros",
        &[Door::X86Xstate],
        Change::Image(|shape, image| fill_up_to(image, shape.image_len())),
    ),
    WrongRule::new(
        "short images are filled with zeros",
        &[Door::Prfpreg],
        Change::Image(|_, image| fill_up_to(image, 512)),
    ),
    WrongRule::new(
        "a refusal for its length is EINVAL and not EFAULT",
        KERNEL_BUFFERED,
        Change::Answer(|_, handed| {
            if handed.answer.verdict == Verdict::EFAULT {
                handed.answer.verdict = Verdict::EINVAL;
            }
        }),
    ),
    WrongRule::new(
        "PKRU is 0 where XSTATE_BV lacks it",
        &[Door::Vcpu],
        Change::Answer(|shape, handed| {
            let places = shape.places().iter();
            let pkru = places.filter(|(component, _)| *component == Component::Pkru);
            for (component, place) in pkru {
                if live(handed.image) & ComponentSet::only(*component).bits() == 0 {
                    zero(&mut handed.answer.after, place.clone());
                }
            }
        }),
    )
    .that_needs(ComponentSet::only(Component::Pkru)),
    WrongRule::new(
        "NT_PRFPREG makes all but x87 and SSE initial",
        &[Door::Prfpreg],
        Change::Answer(|shape, handed| {
            if handed.answer.verdict == Verdict::Taken {
                let whole = shape.image_len();
                zero(&mut handed.answer.after, 576..whole);
                set_number(&mut handed.answer.after, XSTATE_BV, X87 | SSE);
            }
        }),
    )
    .that_needs(ComponentSet::only(Component::Avx)),
];

fn live(image: &[u8]) -> u64 {
    number(image, XSTATE_BV)
}

fn add(image: &mut [u8], components: u64) {
    let live = live(image);
    set_number(image, XSTATE_BV, live | components);
}

fn has_legal_mxcsr(shape: &Shape, image: &[u8]) -> bool {
    number(image, MXCSR) & !u64::from(shape.mxcsr_mask()) == 0
}

fn cut_mxcsr(shape: &Shape, image: &mut [u8]) {
    let mxcsr = number(image, MXCSR) & u64::from(shape.mxcsr_mask());
    set_number(image, MXCSR, mxcsr);
}

fn zero(bytes: &mut [u8], place: std::ops::Range<usize>) {
    if let Some(bytes) = bytes.get_mut(place) {
        bytes.fill(0);
    }
}

/// A taken image's bytes are in the state.
fn take(handed: &mut Handed<'_>, place: std::ops::Range<usize>) {
    let Answer { verdict, after } = &mut handed.answer;
    if let (Verdict::Taken, Some(bytes)) = (verdict, handed.image.get(place.clone())) {
        after[place].copy_from_slice(bytes);
    }
}

/// The former state's bytes are in the state.
fn keep(handed: &mut Handed<'_>, place: std::ops::Range<usize>) {
    let Answer { verdict, after } = &mut handed.answer;
    if let (Verdict::Taken, Some(bytes)) = (verdict, handed.before.get(place.clone())) {
        after[place].copy_from_slice(bytes);
    }
}

fn fill_up_to(image: &mut Vec<u8>, len: usize) {
    image.resize(image.len().max(len), 0);
}

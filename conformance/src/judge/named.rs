//! The differences that have a name; docs/surprises.md tells of each.

use fpstate_arch::{Component, ComponentSet, Format, LegacyRegion};

use super::answer::{Answer, Verdict};
use super::door::Door;
use super::frame::XFEATURES;
use super::legal::{MXCSR, MXCSR_MASK, XCOMP_BV, XSTATE_BV, number, set_number};
use super::trial::Named;

/// The differences that there may be at `door` when the library keeps its state in an area of `format`.
#[must_use]
pub const fn differences(door: Door, format: Format) -> &'static [Named] {
    match (door, format) {
        (Door::Vcpu, Format::Compacted) => &[SSE_ANNOUNCED_FOR_MXCSR],
        (Door::X86Xstate | Door::Prfpreg, Format::Compacted) => {
            &[PRFPREG_WITHOUT_MXCSR, SSE_ANNOUNCED_FOR_MXCSR]
        }
        (Door::X86Xstate | Door::Prfpreg, Format::Standard | Format::Fxsave) => {
            &[PRFPREG_WITHOUT_MXCSR]
        }
        (Door::Vcpu, Format::Standard | Format::Fxsave) => &[],
        (Door::SignalFrame, _) => &[CUT_IN_AN_INITIAL_COMPONENT],
    }
}

/// Of the library: in a compacted area MXCSR goes with SSE alone, so that one that AVX brought
/// announces SSE, initial XMM registers and all. Linux keeps XSTATE_BV as the image had it.
const SSE_ANNOUNCED_FOR_MXCSR: Named = Named {
    name: "SSE announced for MXCSR in a compacted area",
    forgive: |_, kernel, library| {
        let announced = number(&library.after, XSTATE_BV);
        let of_kernel = number(&kernel.after, XSTATE_BV);
        let is_it = has_avx_without_sse(kernel)
            && announced == of_kernel | bit(Component::Sse)
            && mxcsr_of(kernel) != INITIAL_MXCSR;
        if is_it {
            set_number(&mut library.after, XSTATE_BV, of_kernel);
        }
        is_it
    },
};

/// Of the kernel: `NT_PRFPREG` shows the initial MXCSR and not the thread's where AVX is live and SSE
/// is not. `NT_X86_XSTATE` of the same thread shows the thread's, and so does the library in both.
const PRFPREG_WITHOUT_MXCSR: Named = Named {
    name: "NT_PRFPREG with an initial MXCSR where only AVX carries it",
    forgive: |_, kernel, library| {
        let Some(prfpreg) = kernel.after.len().checked_sub(512) else {
            return false;
        };
        let (mxcsr, mask) = (prfpreg + 24..prfpreg + 28, prfpreg + 28..prfpreg + 32);
        let is_it = has_avx_without_sse(kernel)
            && number(&kernel.after, mxcsr.clone()) == INITIAL_MXCSR
            && library.after.len() == kernel.after.len()
            && number(&library.after, mxcsr.clone()) == mxcsr_of(kernel);
        if is_it {
            for place in [mxcsr, mask] {
                set_number(
                    &mut library.after,
                    place.clone(),
                    number(&kernel.after, place),
                );
            }
        }
        is_it
    },
};

/// Of the CPU: XRSTOR of a standard-format image reads the bytes of every component requested on Zen 4,
/// those that it makes initial too. A frame that ends inside one is a SIGSEGV; the library restores it. The
/// manual promises neither.
const CUT_IN_AN_INITIAL_COMPONENT: Named = Named {
    name: "a frame cut inside an initial component",
    forgive: |frame, kernel, library| {
        let is_it = (kernel.verdict, library.verdict) == (Verdict::Killed, Verdict::Taken)
            && number(frame, XCOMP_BV) == 0
            && number(frame, XFEATURES) & !number(frame, XSTATE_BV) != 0
            && frame.len() < library.after.len()
            && is_initial(&kernel.after);
        if is_it {
            library.clone_from(kernel);
        }
        is_it
    },
};

/// Whether all is initial in an image of XSAVE, but for MXCSR_MASK, which is no register.
fn is_initial(image: &[u8]) -> bool {
    let mut initial = vec![0; image.len()];
    let legacy = initial.first_chunk_mut().expect("a legacy region");
    LegacyRegion::INITIAL.write_to(legacy);
    initial[MXCSR_MASK].copy_from_slice(&image[MXCSR_MASK]);
    initial == image
}

const INITIAL_MXCSR: u64 = 0x1f80;

fn has_avx_without_sse(answer: &Answer) -> bool {
    let (sse, avx) = (bit(Component::Sse), bit(Component::Avx));
    number(&answer.after, XSTATE_BV) & (sse | avx) == avx
}

fn mxcsr_of(answer: &Answer) -> u64 {
    number(&answer.after, MXCSR)
}

const fn bit(component: Component) -> u64 {
    ComponentSet::only(component).bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is handed out of AVX alone, with this MXCSR.
    fn answer(mxcsr: u64) -> Answer {
        let mut after = vec![0; 832];
        set_number(&mut after, MXCSR, mxcsr);
        set_number(&mut after, XSTATE_BV, 4);
        let verdict = Verdict::Taken;
        Answer { verdict, after }
    }

    #[test]
    fn sse_may_be_announced_for_an_mxcsr_that_is_not_initial_and_for_nothing_else() {
        for (mxcsr, announced, is_named) in [
            (0x1fa0, 6, true),
            (0x1fa0, 7, false),
            (0x1fa0, 2, false),
            (0x1f80, 6, false),
        ] {
            let (kernel, mut library) = (answer(mxcsr), answer(mxcsr));
            set_number(&mut library.after, XSTATE_BV, announced);
            let before = library.clone();
            let forgiven = (SSE_ANNOUNCED_FOR_MXCSR.forgive)(&[], &kernel, &mut library);
            assert_eq!(forgiven, is_named, "{mxcsr:#x} {announced}");
            assert_eq!(library, if is_named { kernel } else { before });
        }
    }

    #[test]
    fn prfpreg_may_lack_an_mxcsr_that_avx_alone_carries() {
        let with_prfpreg = |mxcsr: u64, live| {
            let mut answer = answer(0x1fa0);
            set_number(&mut answer.after, XSTATE_BV, live);
            answer.after.resize(832 + 512, 0);
            set_number(&mut answer.after, 856..860, mxcsr);
            answer
        };
        for (of_kernel, of_library, live, is_named) in [
            (0x1f80, 0x1fa0, 4, true),
            (0x1f80, 0x1fa0, 6, false),
            (0x1f81, 0x1fa0, 4, false),
            (0x1f80, 0x1fa1, 4, false),
        ] {
            let kernel = with_prfpreg(of_kernel, live);
            let mut library = with_prfpreg(of_library, live);
            let forgiven = (PRFPREG_WITHOUT_MXCSR.forgive)(&[], &kernel, &mut library);
            assert_eq!(forgiven, is_named, "{of_kernel:#x} {of_library:#x} {live}");
            assert_eq!(kernel == library, is_named);
        }
    }

    #[test]
    fn a_frame_may_be_refused_that_ends_inside_an_initial_component() {
        let initial = || {
            let mut after = vec![0; 832];
            set_number(&mut after, 0..2, 0x37f);
            set_number(&mut after, MXCSR, INITIAL_MXCSR);
            after
        };
        let frame = |len: usize, live: u64| {
            let mut frame = vec![0; len];
            set_number(&mut frame, XFEATURES, 7);
            set_number(&mut frame, XSTATE_BV, live);
            frame
        };
        let mut compacted = frame(640, 3);
        set_number(&mut compacted, XCOMP_BV, 1 << 63 | 7);
        let mut not_initial = initial();
        not_initial[160] = 1;
        for (frame, after, is_named) in [
            (frame(640, 3), initial(), true),
            (frame(640, 7), initial(), false),
            (frame(832, 3), initial(), false),
            (compacted, initial(), false),
            (frame(640, 3), not_initial, false),
        ] {
            let verdict = Verdict::Killed;
            let (kernel, mut library) = (Answer { verdict, after }, answer(0x1fa0));
            let forgiven = (CUT_IN_AN_INITIAL_COMPONENT.forgive)(&frame, &kernel, &mut library);
            assert_eq!((forgiven, kernel == library), (is_named, is_named));
        }
    }
}

//! The rules of Linux that `KVM_SET_XSAVE` and `PTRACE_SETREGSET` share (`copy_uabi_to_xstate`,
//! Linux 6.12 and 7.2; observed on 6.18).

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::legacy_region::{LegacyRegion, Mxcsr};
use fpstate_arch::xsave_header::{Format, XsaveHeader};

use crate::area::as_restored;
use crate::image_error::ImageError;
use crate::image_faults;
use crate::image_state::MXCSR_CARRIERS;

/// XSTATE_BV, where one of these makes Linux judge MXCSR.
const MXCSR_JUDGED_WITH: ComponentSet = MXCSR_CARRIERS.with(Component::X87);

/// What is wrong with a header and the MXCSR before it. MXCSR is ignored where XSTATE_BV has
/// neither x87 nor SSE nor AVX.
pub(crate) fn faults(
    header: XsaveHeader,
    mxcsr: Mxcsr,
    allowed: ComponentSet,
    mxcsr_mask: u32,
) -> impl Iterator<Item = ImageError> + use<> {
    let judged = header.xstate_bv.intersects(MXCSR_JUDGED_WITH);
    let mxcsr = judged.then(|| image_faults::mxcsr(mxcsr, mxcsr_mask));
    image_faults::of_standard_header(header, allowed).chain(mxcsr.flatten())
}

/// What is taken of the legacy region. MXCSR counts with SSE or AVX alone: with x87 it is judged
/// and then not loaded.
pub(crate) fn legacy_taken(region: LegacyRegion, live: ComponentSet) -> LegacyRegion {
    let mut taken = as_restored(region, live, Format::Standard);
    if !live.intersects(MXCSR_CARRIERS) {
        taken.mxcsr = Mxcsr::INITIAL;
        taken.mxcsr_mask = LegacyRegion::INITIAL.mxcsr_mask;
    }
    taken
}

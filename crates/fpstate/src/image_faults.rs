//! The rules that several forms of images share, each as the faults it finds.

use fpstate_arch::component::ComponentSet;
use fpstate_arch::legacy_region::{LEGACY_REGION_LEN, LegacyRegion, Mxcsr};
use fpstate_arch::xsave_header::XsaveHeader;

use crate::area::MxcsrError;
use crate::image_error::ImageError;

/// Bytes 0 to 511, where there are so many.
#[inline]
pub(crate) fn legacy_of(bytes: &[u8]) -> Option<LegacyRegion> {
    bytes.first_chunk().map(LegacyRegion::from_bytes)
}

/// Bytes 512 to 575, where there are so many.
#[inline]
pub(crate) fn header_of(bytes: &[u8]) -> Option<XsaveHeader> {
    let header = bytes.get(LEGACY_REGION_LEN..)?.first_chunk()?;
    Some(XsaveHeader::from_bytes(header))
}

/// Fewer bytes than `needed`.
pub(crate) fn too_short(found: usize, needed: usize) -> Option<ImageError> {
    (found < needed).then_some(ImageError::TooShort { found, needed })
}

/// The rules of Linux for the header of a standard-format image from outside: XCOMP_BV and all 48
/// reserved bytes are 0, XSTATE_BV is part of `allowed`.
pub(crate) fn of_standard_header(
    header: XsaveHeader,
    allowed: ComponentSet,
) -> impl Iterator<Item = ImageError> + use<> {
    let found = header.xcomp_bv;
    let xcomp_bv = (found != 0).then_some(ImageError::XcompBv { found });
    let components = components_outside(header.xstate_bv, allowed);
    xcomp_bv
        .into_iter()
        .chain(reserved_bytes(header))
        .chain(components)
}

/// The reserved bytes of a header that are not 0.
pub(crate) fn reserved_bytes(header: XsaveHeader) -> impl Iterator<Item = ImageError> + use<> {
    // Most headers have none, and all at once are compared sooner.
    (header.reserved != [0; 48])
        .then(|| (528..).zip(header.reserved))
        .into_iter()
        .flatten()
        .filter(|&(_, value)| value != 0)
        .map(|(offset, value)| ImageError::ReservedHeaderByte { offset, value })
}

/// XSTATE_BV is not part of `allowed`.
pub(crate) const fn components_outside(
    found: ComponentSet,
    allowed: ComponentSet,
) -> Option<ImageError> {
    if allowed.contains_all(found) {
        None
    } else {
        Some(ImageError::ComponentsNotAllowed { found, allowed })
    }
}

/// MXCSR has a bit outside `mask`.
pub(crate) fn mxcsr(mxcsr: Mxcsr, mask: u32) -> Option<ImageError> {
    MxcsrError::check(mxcsr, mask).err().map(ImageError::Mxcsr)
}

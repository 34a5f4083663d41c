//! What is wrong with an image of `KVM_SET_XSAVE`, whatever its length.

use fpstate::{ImageError, KvmImage, Layout, LayoutError};
use fpstate_arch::{ComponentSet, Enumeration, Instruction, Xfd};

use crate::snapshot::xstate_bv;

/// The layout of KVM's images with `components` on a CPU: standard, or FXSAVE's on one without XSAVE.
pub(crate) fn image_layout(
    enumeration: &Enumeration,
    components: ComponentSet,
) -> Result<Layout<'_>, LayoutError> {
    if enumeration.has(Instruction::Xsave) {
        Layout::standard(enumeration, components)
    } else {
        Layout::fxsave(enumeration)
    }
}

/// Every rule that `image` breaks for a vCPU whose image has `layout` and whose IA32_XFD is `xfd`.
///
/// An image may end early, as far as it has what it announces: zeros behind it are the initial
/// configuration of what it does not announce.
pub(crate) fn image_faults(
    image: &[u8],
    layout: &Layout<'_>,
    xfd: ComponentSet,
    mxcsr_mask: u32,
) -> impl Iterator<Item = ImageError> + use<> {
    let announced = layout.narrowed_to(xstate_bv(image).union(ComponentSet::LEGACY));
    let (found, needed) = (image.len(), announced.area_len());
    let too_short = (found < needed).then_some(ImageError::TooShort { found, needed });
    // Taken as found: which values IA32_XFD may have is judged where it is written.
    let xfd = Xfd::new(xfd, xfd).unwrap_or(Xfd::NOTHING);
    // The length of the ioctl's buffer is not the image's to keep; and it comes from figures that a
    // snapshot may have made up, so no memory is taken by it.
    let others = KvmImage::faults(image, layout, xfd, mxcsr_mask)
        .filter(|fault| !matches!(fault, ImageError::TooShort { .. }));
    too_short.into_iter().chain(others)
}

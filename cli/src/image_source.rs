//! The state that an image file holds, by the rules of its format.

use fpstate::{CompactedImage, FxsaveImage, ImageError, ImageState, LayoutError, StandardImage};
use fpstate_arch::Format;

use crate::cpu_choice::CpuChoice;
use crate::image_file::ImageFile;

/// Why a file holds no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("its CPU: {0}")]
    Layout(#[from] LayoutError),
    #[error("{0}")]
    Image(#[from] ImageError),
}

/// The state of `image`, which was made on `cpu`: judged as a restore would.
pub(crate) fn state_of<'b>(
    image: &'b ImageFile,
    cpu: &'b CpuChoice,
) -> Result<ImageState<'b>, SourceError> {
    let (bytes, cpu, mask) = (image.bytes(), &cpu.enumeration, cpu.mxcsr_mask());
    Ok(match image.format() {
        Format::Fxsave => FxsaveImage::parse(bytes, cpu, mask)?.state(),
        Format::Standard => {
            let layout = image.standard_layout(cpu, None)?;
            StandardImage::parse(bytes, layout, mask)?.state()
        }
        Format::Compacted => CompactedImage::parse(bytes, cpu, mask)?.state(),
    })
}

/// Least length in bytes of an image that `KVM_SET_XSAVE` reads: `struct kvm_xsave`.
pub(crate) const KVM_XSAVE_LEN: usize = 4096;

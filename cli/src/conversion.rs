//! An image becomes another CPU's, or another format's.

use fpstate::{ExportError, ImageState, Layout, LayoutError, Loss, LossError};
use fpstate_arch::{Component, ComponentSet, Xcr0};

use crate::baseline::{largest_xcr0, user_components, with_companions};
use crate::cpu_choice::CpuChoice;
use crate::file_kind::SHORTEST_KVM_IMAGE;
use crate::saved_image::LONGEST_IMAGE;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetFormat {
    /// As `KVM_GET_XSAVE2` gives it: 4096 bytes, or the area where that is longer.
    Standard,
    /// The area and no byte more.
    Compacted,
}

/// A converted image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Converted {
    pub(crate) bytes: Vec<u8>,
    /// Extended components that are in use and were kept.
    pub(crate) kept: Vec<Kept>,
    /// Components that the image announced and that have no room.
    pub(crate) dropped: ComponentSet,
}

/// Where a component was and where it is, counted from byte 0 of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) component: Component,
    pub(crate) len: usize,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// Why an image cannot be converted as asked: the answer is no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Loss(#[from] LossError),
    #[error("MXCSR at byte 24 is {found:#x}; allowed there: the bits of {mask:#x}")]
    Mxcsr { found: u32, mask: u32 },
}

/// Why a conversion was not tried, or was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConversionError {
    #[error("{0}")]
    Refused(Refusal),
    /// The target has no such layout.
    #[error("{0}")]
    Target(#[from] LayoutError),
    #[error("{0}")]
    Export(#[from] ExportError),
    #[error("an area of {needed} bytes; allowed: {LONGEST_IMAGE}")]
    TooLong { needed: usize },
}

/// Writes `state` as an image for `to`, losing no more than `loss` permits. The image has room for the
/// components of `xcr0`; without one, for those of the image that `to` has.
pub(crate) fn convert(
    state: &ImageState<'_>,
    to: &CpuChoice,
    format: TargetFormat,
    xcr0: Option<Xcr0>,
    loss: Loss,
) -> Result<Converted, ConversionError> {
    let layout = room(state, to, format, xcr0)?;
    let needed = layout.area_len();
    if needed > LONGEST_IMAGE {
        // A dump may put a component anywhere.
        return Err(ConversionError::TooLong { needed });
    }
    let refused = |refusal: Refusal| ConversionError::Refused(refusal);
    let limited = state
        .limited_to(&layout, loss)
        .map_err(|error| refused(error.into()))?;
    let (mxcsr, mask) = (limited.legacy().mxcsr, to.mxcsr_mask());
    if !mxcsr.is_valid_under(mask) {
        let found = mxcsr.bits();
        return Err(refused(Refusal::Mxcsr { found, mask }));
    }
    let bytes = match format {
        TargetFormat::Standard => {
            let mut bytes = vec![0; layout.area_len().max(SHORTEST_KVM_IMAGE)];
            limited.write_standard(&layout, &mut bytes)?;
            bytes
        }
        TargetFormat::Compacted => {
            let mut bytes = vec![0; layout.area_len()];
            limited.write_compacted(&layout, &mut bytes)?;
            bytes
        }
    };
    Ok(Converted {
        bytes,
        kept: kept(&limited, &layout),
        dropped: state.live().difference(limited.live()),
    })
}

/// The layout of the converted image.
fn room<'e>(
    state: &ImageState<'_>,
    to: &'e CpuChoice,
    format: TargetFormat,
    xcr0: Option<Xcr0>,
) -> Result<Layout<'e>, LayoutError> {
    let of_image = state
        .layout()
        .components()
        .union(with_companions(state.live()));
    let both = of_image.intersection(user_components(to));
    let user = xcr0
        .or_else(|| largest_xcr0(both))
        .map_or(ComponentSet::LEGACY, Xcr0::components);
    let supervisor = of_image.intersection(to.enumeration.supervisor_components());
    match format {
        TargetFormat::Standard => Layout::standard(&to.enumeration, user),
        TargetFormat::Compacted => Layout::compacted(&to.enumeration, user.union(supervisor)),
    }
}

fn kept(state: &ImageState<'_>, target: &Layout<'_>) -> Vec<Kept> {
    let live = state.live();
    target
        .extended_components()
        .filter(|placed| live.contains(placed.component()))
        .filter_map(|to| {
            let from = state.layout().place_of(to.component())?;
            Some(Kept {
                component: to.component(),
                len: to.range().len(),
                from: from.offset(),
                to: to.offset(),
            })
        })
        .collect()
}

//! A standard-format image that comes from elsewhere, judged as XRSTOR does.

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::legacy_region::{LegacyRegion, Mxcsr};
use fpstate_arch::xsave_header::Format;

use crate::area::as_restored;
use crate::image_error::ImageError;
use crate::image_faults::{self, header_of, legacy_of, too_short};
use crate::image_state::{ImageState, MXCSR_CARRIERS};
use crate::layout::Layout;

/// A standard-format XSAVE image, checked, still in the bytes it came in.
///
/// The rules for the header are those of Linux for images from outside (`KVM_SET_XSAVE`, `ptrace`),
/// which are stricter than XRSTOR's: XCOMP_BV and all 48 reserved bytes are 0, while XRSTOR ignores the
/// last 40 of them. MXCSR is judged and taken as XRSTOR does. For the rules of one interface of Linux
/// see [`KvmImage`](crate::KvmImage), [`PtraceImage`](crate::PtraceImage) and
/// [`Sigreturn`](crate::Sigreturn).
///
/// Holding one is the proof that its header and MXCSR were checked; whether it fits a state is
/// checked when it is imported.
#[derive(Clone, Copy, Debug)]
pub struct StandardImage<'b> {
    state: ImageState<'b>,
}

impl<'b> StandardImage<'b> {
    /// Checks `bytes` as an image of `layout`, for a CPU whose MXCSR has the bits of `mxcsr_mask`.
    /// MXCSR is judged whatever XSTATE_BV is, as XRSTOR does (SDM 1, 13.8.1). Bytes behind the
    /// layout's last are not looked at.
    ///
    /// # Errors
    /// The first rule broken, with what was found and what is allowed.
    pub fn parse(bytes: &'b [u8], layout: Layout<'b>, mxcsr_mask: u32) -> Result<Self, ImageError> {
        if let Some(error) = Self::faults(bytes, &layout, mxcsr_mask).next() {
            return Err(error);
        }
        let (found, needed) = (bytes.len(), layout.area_len());
        let (Some(legacy), Some(header)) = (legacy_of(bytes), header_of(bytes)) else {
            return Err(ImageError::TooShort { found, needed });
        };
        let live = header.xstate_bv;
        let mut legacy = as_restored(legacy, live, Format::Standard);
        if !layout.components().intersects(MXCSR_CARRIERS) {
            legacy.mxcsr = Mxcsr::INITIAL;
        }
        Ok(Self {
            state: ImageState::new(bytes, layout, legacy, live),
        })
    }

    /// Every rule that `bytes` break, in the order in which [`parse`](Self::parse) looks at them.
    pub fn faults(
        bytes: &[u8],
        layout: &Layout<'_>,
        mxcsr_mask: u32,
    ) -> impl Iterator<Item = ImageError> + use<> {
        let (format, allowed) = (layout.format(), layout.components());
        let format = (format != Format::Standard).then_some(ImageError::NotStandard { format });
        let header = header_of(bytes).into_iter();
        let mxcsr =
            legacy_of(bytes).and_then(|legacy| image_faults::mxcsr(legacy.mxcsr, mxcsr_mask));
        format
            .into_iter()
            .chain(too_short(bytes.len(), layout.area_len()))
            .chain(header.flat_map(move |header| image_faults::of_standard_header(header, allowed)))
            .chain(mxcsr)
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> ImageState<'b> {
        self.state
    }

    /// The components that are not in their initial configuration.
    #[must_use]
    pub const fn xstate_bv(&self) -> ComponentSet {
        self.state.live()
    }

    /// The bytes of an extended component that is not in its initial configuration.
    #[must_use]
    pub fn extended(&self, component: Component) -> Option<&'b [u8]> {
        self.state.extended(component)
    }

    /// The legacy region as XRSTOR would load it with the layout's components as RFBM: initial
    /// where XSTATE_BV says so, MXCSR from the image in either case if SSE or AVX is requested (SDM 1,
    /// 13.8.1).
    #[must_use]
    pub const fn legacy(&self) -> LegacyRegion {
        self.state.legacy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded_cpu::emerald_rapids;

    #[test]
    fn mxcsr_is_loaded_if_sse_or_avx_is_requested_whatever_xstate_bv_says() {
        let cpu = emerald_rapids().enumeration();
        let mut bytes = [0; 832];
        bytes[24..28].copy_from_slice(&0x1fa0_u32.to_le_bytes());
        for (rfbm, mxcsr) in [(1, 0x1f80), (2, 0x1fa0), (3, 0x1fa0), (7, 0x1fa0)] {
            let layout = Layout::standard(&cpu, ComponentSet::from_bits(rfbm)).unwrap();
            let image = StandardImage::parse(&bytes, layout, 0xffff).unwrap();
            assert_eq!(image.legacy().mxcsr.bits(), mxcsr, "RFBM {rfbm}");
        }
    }
}

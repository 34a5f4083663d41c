//! A compacted image: what XSAVEC and XSAVES write, and what MSHV and WHP hand out.

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::enumeration::Enumeration;
use fpstate_arch::xsave_header::{Format, XsaveHeader};

use crate::area::as_restored;
use crate::image_error::ImageError;
use crate::image_faults::{self, header_of, legacy_of, too_short};
use crate::image_state::ImageState;
use crate::layout::Layout;

/// A compacted XSAVE image, checked by the rules of XRSTOR (SDM 1, 13.8.2), still in the bytes it
/// came in. It may have supervisor components.
#[derive(Clone, Copy, Debug)]
pub struct CompactedImage<'b> {
    state: ImageState<'b>,
    xcomp_bv: u64,
}

impl<'b> CompactedImage<'b> {
    /// Checks `bytes`, an image that a CPU of `enumeration` wrote; its layout is found from
    /// XCOMP_BV. MXCSR is judged and taken where XSTATE_BV has SSE, and initial otherwise. Bytes behind
    /// the layout's last are not looked at.
    ///
    /// # Errors
    /// The first rule broken, with what was found and what is allowed.
    pub fn parse(
        bytes: &'b [u8],
        enumeration: &'b Enumeration,
        mxcsr_mask: u32,
    ) -> Result<Self, ImageError> {
        if let Some(error) = Self::faults(bytes, enumeration, mxcsr_mask).next() {
            return Err(error);
        }
        let (found, needed) = (bytes.len(), 576);
        let (Some(legacy), Some(header)) = (legacy_of(bytes), header_of(bytes)) else {
            return Err(ImageError::TooShort { found, needed });
        };
        let layout = layout_of(&header, enumeration)?;
        let live = header.xstate_bv;
        let legacy = as_restored(legacy, live, Format::Compacted);
        Ok(Self {
            state: ImageState::new(bytes, layout, legacy, live),
            xcomp_bv: header.xcomp_bv,
        })
    }

    /// Every rule that `bytes` break, in the order in which [`parse`](Self::parse) looks at them.
    pub fn faults(
        bytes: &[u8],
        enumeration: &Enumeration,
        mxcsr_mask: u32,
    ) -> impl Iterator<Item = ImageError> + use<> {
        let header = header_of(bytes);
        let layout = header.map(|header| layout_of(&header, enumeration));
        // Without a layout only the fixed parts have a length.
        let needed = layout.map_or(576, |layout| layout.map_or(576, |l| l.area_len()));
        let of_header = header.into_iter().flat_map(|header| {
            let room = header.xcomp_bv_components();
            image_faults::reserved_bytes(header)
                .chain(image_faults::components_outside(header.xstate_bv, room))
        });
        let takes_mxcsr = |header: XsaveHeader| header.xstate_bv.contains(Component::Sse);
        let mxcsr = legacy_of(bytes)
            .filter(|_| header.is_some_and(takes_mxcsr))
            .and_then(|legacy| image_faults::mxcsr(legacy.mxcsr, mxcsr_mask));
        too_short(bytes.len(), needed)
            .into_iter()
            .chain(layout.and_then(Result::err))
            .chain(of_header)
            .chain(mxcsr)
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> ImageState<'b> {
        self.state
    }

    /// XCOMP_BV, bit 63 and all.
    #[must_use]
    pub const fn xcomp_bv(&self) -> u64 {
        self.xcomp_bv
    }

    /// XSTATE_BV: the components that are not in their initial configuration.
    #[must_use]
    pub const fn xstate_bv(&self) -> ComponentSet {
        self.state.live()
    }
}

fn layout_of<'b>(
    header: &XsaveHeader,
    enumeration: &'b Enumeration,
) -> Result<Layout<'b>, ImageError> {
    match header.format() {
        Format::Compacted => {
            Layout::compacted(enumeration, header.xcomp_bv_components()).map_err(ImageError::Layout)
        }
        Format::Standard | Format::Fxsave => Err(ImageError::NotCompacted {
            found: header.xcomp_bv,
        }),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::area::MxcsrError;
    use crate::layout::LayoutError;
    use crate::recorded_cpu::emerald_rapids;
    use std::vec::Vec;

    /// As XSAVES writes it: SSE, opmask and CET_U live, room for AVX too. 576 + 256 = 832 opmask,
    /// 896 CET_U, 912 the end.
    fn image() -> Vec<u8> {
        let mut bytes = std::vec![0; 912];
        bytes[0..2].copy_from_slice(&0x27f_u16.to_le_bytes());
        bytes[24..28].copy_from_slice(&0x1fa0_u32.to_le_bytes());
        bytes[160..416].fill(0x11);
        bytes[512..520].copy_from_slice(&0x822_u64.to_le_bytes());
        bytes[520..528].copy_from_slice(&0x8000_0000_0000_0827_u64.to_le_bytes());
        bytes[576..832].fill(0xee);
        bytes[832..896].fill(0x22);
        bytes[896..912].fill(0x33);
        bytes
    }

    #[test]
    fn the_layout_is_found_from_xcomp_bv() {
        let (bytes, cpu) = (image(), emerald_rapids().enumeration());
        let image = CompactedImage::parse(&bytes, &cpu, 0xffff).unwrap();
        assert_eq!(image.xcomp_bv(), 0x8000_0000_0000_0827);
        let state = image.state();
        assert_eq!(state.live().bits(), 0x822);
        assert_eq!(state.extended(Component::Opmask), Some(&[0x22; 64][..]));
        assert_eq!(state.extended(Component::CetU), Some(&[0x33; 16][..]));
        assert_eq!(state.extended(Component::Avx), None, "stale");
        assert_eq!(state.legacy().fcw, 0x37f, "stale");
        assert_eq!(state.legacy().mxcsr.bits(), 0x1fa0);
        assert_eq!(state.legacy().xmm, [[0x11; 16]; 16]);
    }

    #[test]
    fn mxcsr_is_sse_state_in_this_format() {
        let (mut bytes, cpu) = (image(), emerald_rapids().enumeration());
        bytes[512] = 0x20;
        bytes[27] = 0x80;
        let image = CompactedImage::parse(&bytes, &cpu, 0xffff).unwrap();
        assert_eq!(image.state().legacy().mxcsr.bits(), 0x1f80);
        bytes[512] = 0x22;
        let error = MxcsrError {
            found: 0x8000_1fa0,
            mask: 0xffff,
        };
        assert_eq!(
            CompactedImage::parse(&bytes, &cpu, 0xffff).unwrap_err(),
            ImageError::Mxcsr(error)
        );
    }

    #[test]
    fn each_rule_that_is_broken_is_named() {
        let cpu = emerald_rapids().enumeration();
        let missing = ComponentSet::only(Component::Apx);
        let cases = [
            (527, 0, ImageError::NotCompacted { found: 0x827 }),
            (
                522,
                8,
                ImageError::Layout(LayoutError::NotEnumerated { missing }),
            ),
            (
                575,
                1,
                ImageError::ReservedHeaderByte {
                    offset: 575,
                    value: 1,
                },
            ),
            (
                513,
                0x18,
                ImageError::ComponentsNotAllowed {
                    found: ComponentSet::from_bits(0x1822),
                    allowed: ComponentSet::from_bits(0x827),
                },
            ),
        ];
        for (offset, value, error) in cases {
            let mut bytes = image();
            bytes[offset] = value;
            let refused = CompactedImage::parse(&bytes, &cpu, 0xffff).unwrap_err();
            assert_eq!(refused, error, "byte {offset}");
        }
        let bytes = image();
        for (len, needed) in [(0, 576), (575, 576), (576, 912), (911, 912)] {
            let refused = CompactedImage::parse(&bytes[..len], &cpu, 0xffff).unwrap_err();
            assert_eq!(refused, ImageError::TooShort { found: len, needed });
        }
    }

    #[test]
    fn every_fault_is_given_at_once() {
        let cpu = emerald_rapids().enumeration();
        let mut bytes = image();
        (bytes[513], bytes[528], bytes[540], bytes[27]) = (0x18, 1, 2, 0x80);
        assert_eq!(CompactedImage::faults(&bytes, &cpu, 0xffff).count(), 4);
    }
}

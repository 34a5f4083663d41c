//! A state becomes an image: standard, compacted, or FXSAVE's 512 bytes.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::legacy_region::{LEGACY_REGION_LEN, LegacyRegion};
use fpstate_arch::pkru::Pkru;
use fpstate_arch::xsave_header::{Format, XSAVE_HEADER_LEN, XsaveHeader};

use crate::image_state::ImageState;
use crate::layout::Layout;
use crate::loss::{Loss, LossError};

impl ImageState<'_> {
    /// Writes a standard-format image of `layout`, [`area_len`](Layout::area_len) bytes; gives that
    /// length. Every byte of it is written, and 0 where no live component is. Of an initial x87 the
    /// control word is 37FH, of an initial SSE MXCSR is 1F80H.
    ///
    /// # Errors
    /// [`ExportError`]; nothing is written then.
    pub fn write_standard(
        &self,
        layout: &Layout<'_>,
        out: &mut [u8],
    ) -> Result<usize, ExportError> {
        require_format(layout, Format::Standard)?;
        Export::of(self, layout).write(self, out)
    }

    /// Writes a compacted image of `layout`, as [`write_standard`](Self::write_standard) does. XCOMP_BV
    /// has the layout's components. An MXCSR of its own makes SSE part of XSTATE_BV, as XSAVEC does
    /// (SDM 1, 13.10): nothing else carries it in this format.
    ///
    /// # Errors
    /// [`ExportError`]; nothing is written then.
    pub fn write_compacted(
        &self,
        layout: &Layout<'_>,
        out: &mut [u8],
    ) -> Result<usize, ExportError> {
        require_format(layout, Format::Compacted)?;
        let mut export = Export::of(self, layout);
        if self.legacy().mxcsr != LegacyRegion::INITIAL.mxcsr {
            export.also_announced = ComponentSet::only(Component::Sse);
        }
        export.write(self, out)
    }

    /// Writes FXSAVE's 512 bytes; `layout` is that of an FXSAVE area. The view that a debugger gets of a
    /// larger state (`NT_PRFPREG`) is [`write_prfpreg`](Self::write_prfpreg).
    ///
    /// # Errors
    /// [`ExportError`]; nothing is written then.
    pub fn write_fxsave(&self, layout: &Layout<'_>, out: &mut [u8]) -> Result<usize, ExportError> {
        require_format(layout, Format::Fxsave)?;
        Export::of(self, layout).write(self, out)
    }
}

pub(crate) fn require_format(layout: &Layout<'_>, allowed: Format) -> Result<(), ExportError> {
    let found = layout.format();
    if found == allowed {
        Ok(())
    } else {
        Err(ExportError::Format { found, allowed })
    }
}

/// What an image is to be beside its state.
pub(crate) struct Export<'a> {
    pub(crate) layout: &'a Layout<'a>,
    /// Bytes to write, the layout's or more.
    pub(crate) len: usize,
    pub(crate) legacy: LegacyRegion,
    /// Components in XSTATE_BV that may be initial.
    pub(crate) also_announced: ComponentSet,
    /// PKRU, where it is not the state's.
    pub(crate) pkru: Option<Pkru>,
}

impl<'a> Export<'a> {
    pub(crate) const fn of(state: &ImageState<'_>, layout: &'a Layout<'a>) -> Self {
        Self {
            layout,
            len: layout.area_len(),
            legacy: state.legacy(),
            also_announced: ComponentSet::EMPTY,
            pkru: None,
        }
    }

    pub(crate) fn write(
        &self,
        state: &ImageState<'_>,
        out: &mut [u8],
    ) -> Result<usize, ExportError> {
        let pkru = ComponentSet::only(Component::Pkru);
        let state = match self.pkru {
            Some(_) => state.without(pkru),
            None => *state,
        };
        if let Some(error) = state.refusals(self.layout, Loss::Reject).next() {
            return Err(error.into());
        }
        let of_pkru = self.announced_pkru()?;
        let (found, needed) = (out.len(), self.len);
        let out = out
            .get_mut(..needed)
            .ok_or(ExportError::TooShort { found, needed })?;
        out.fill(0);
        if let Some(region) = out.first_chunk_mut::<LEGACY_REGION_LEN>() {
            self.legacy.write_to(region);
        }
        let xstate_bv = state
            .live_with_mxcsr()
            .union(self.also_announced)
            .union(of_pkru);
        self.write_header(xstate_bv, out);
        self.layout.put(state.extended_components(), out);
        if let Some(pkru) = self.pkru {
            self.write_pkru(pkru, out);
        }
        Ok(needed)
    }

    /// Where there is room for it.
    fn write_pkru(&self, pkru: Pkru, out: &mut [u8]) {
        let place = self.layout.place_of(Component::Pkru);
        let field = place.and_then(|placed| out.get_mut(placed.range())?.first_chunk_mut());
        if let Some(field) = field {
            *field = pkru.bits().to_le_bytes();
        }
    }

    /// PKRU is announced where it has room, whatever its value: KVM keeps the former one where it
    /// is not. Where it has none, only the initial value can be meant.
    fn announced_pkru(&self) -> Result<ComponentSet, ExportError> {
        let found = ComponentSet::only(Component::Pkru);
        let room = self.layout.components();
        match self.pkru {
            None => Ok(ComponentSet::EMPTY),
            Some(_) if room.contains_all(found) => Ok(found),
            Some(Pkru::INITIAL) => Ok(ComponentSet::EMPTY),
            Some(_) => Err(ExportError::NoRoom { found, room }),
        }
    }

    fn write_header(&self, xstate_bv: ComponentSet, out: &mut [u8]) {
        let header = match self.layout.format() {
            Format::Fxsave => return,
            Format::Standard => XsaveHeader::standard(xstate_bv),
            Format::Compacted => XsaveHeader::compacted(xstate_bv, self.layout.components()),
        };
        let field = out
            .get_mut(LEGACY_REGION_LEN..)
            .and_then(<[u8]>::first_chunk_mut::<XSAVE_HEADER_LEN>);
        if let Some(field) = field {
            *field = header.to_bytes();
        }
    }
}

/// Why a state cannot be written as this image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportError {
    /// The layout has another format than the image.
    Format {
        /// The layout's.
        found: Format,
        /// The image's.
        allowed: Format,
    },
    /// Fewer bytes than the image has.
    TooShort {
        /// Bytes lent.
        found: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// Live components that the layout lacks; [`ImageState::limited_to`] decides what may be lost.
    NoRoom {
        /// The state's live components.
        found: ComponentSet,
        /// The layout's components.
        room: ComponentSet,
    },
    /// A component has another length in the layout.
    Length {
        /// The component.
        component: Component,
        /// Bytes in the state.
        found: usize,
        /// Bytes in the layout.
        needed: usize,
    },
}

impl From<LossError> for ExportError {
    fn from(error: LossError) -> Self {
        match error {
            LossError::NoRoom { found, room, .. } => Self::NoRoom { found, room },
            LossError::Length {
                component,
                found,
                needed,
            } => Self::Length {
                component,
                found,
                needed,
            },
        }
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { found, allowed } => {
                write!(f, "a layout of {found} format; allowed: {allowed}")
            }
            Self::TooShort { found, needed } => {
                write!(f, "{found} bytes for an image of {needed}")
            }
            Self::NoRoom { found, room } => {
                let lost = found.difference(*room);
                write!(f, "the state has {lost}; the layout has room for {room}")
            }
            Self::Length {
                component,
                found,
                needed,
            } => {
                write!(
                    f,
                    "{component} has {found} bytes in the state and {needed} in the layout"
                )
            }
        }
    }
}

impl core::error::Error for ExportError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::compacted_image::CompactedImage;
    use crate::image::StandardImage;
    use crate::recorded_cpu::emerald_rapids;
    use fpstate_arch::legacy_region::Mxcsr;
    use std::string::ToString;
    use std::vec::Vec;

    /// XSAVE of a CPU with AVX-512 and PKRU: x87, AVX and PKRU live, and stale bytes elsewhere.
    fn image() -> Vec<u8> {
        let mut bytes = std::vec![0xee; 0xa88];
        bytes[0..28].fill(0);
        bytes[0..2].copy_from_slice(&0x27f_u16.to_le_bytes());
        bytes[24..28].copy_from_slice(&0x1fa0_u32.to_le_bytes());
        bytes[512..576].fill(0);
        bytes[512..514].copy_from_slice(&0x205_u16.to_le_bytes());
        bytes[576..832].fill(0x5a);
        bytes[0xa80..0xa88].copy_from_slice(&4_u64.to_le_bytes());
        bytes
    }

    const ROOM: ComponentSet = ComponentSet::from_bits(0x2e7);

    #[test]
    fn a_standard_image_has_every_live_component_in_its_place_and_no_other_byte() {
        let (bytes, cpu) = (image(), emerald_rapids().enumeration());
        let layout = Layout::standard(&cpu, ROOM).unwrap();
        let image = StandardImage::parse(&bytes, layout, 0xffff).unwrap();
        let mut out = [0xaa; 0xa90];
        let written = image.state().write_standard(&layout, &mut out);
        assert_eq!(written, Ok(0xa88));
        let mut expected = [0; 0xa90];
        expected[..416].copy_from_slice(&bytes[..416]);
        expected[5] = 0;
        expected[160..416].fill(0);
        expected[512..832].copy_from_slice(&bytes[512..832]);
        expected[0xa80] = 4;
        expected[0xa88..].fill(0xaa);
        assert_eq!(out, expected);
    }

    #[test]
    fn a_compacted_image_has_the_layout_in_xcomp_bv_and_mxcsr_under_sse() {
        let (bytes, cpu) = (image(), emerald_rapids().enumeration());
        let layout = Layout::standard(&cpu, ROOM).unwrap();
        let state = StandardImage::parse(&bytes, layout, 0xffff)
            .unwrap()
            .state();
        let layout = Layout::compacted(&cpu, ComponentSet::from_bits(0x207)).unwrap();
        let mut out = [0xaa; 1024];
        assert_eq!(state.write_compacted(&layout, &mut out), Ok(840));
        assert_eq!(out[512..520], [0x07, 0x02, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[520..528], [0x07, 0x02, 0, 0, 0, 0, 0, 0x80]);
        assert_eq!(out[576..832], [0x5a; 256]);
        assert_eq!(out[832..840], [4, 0, 0, 0, 0, 0, 0, 0]);
        let back = CompactedImage::parse(&out, &cpu, 0xffff).unwrap().state();
        assert_eq!(back.legacy().mxcsr, Mxcsr::from_bits(0x1fa0));
    }

    #[test]
    fn what_does_not_fit_is_refused_before_a_byte_is_written() {
        let (bytes, cpu) = (image(), emerald_rapids().enumeration());
        let layout = Layout::standard(&cpu, ROOM).unwrap();
        let state = StandardImage::parse(&bytes, layout, 0xffff)
            .unwrap()
            .state();
        let mut out = [0xaa; 0xa88];
        let room = ComponentSet::from_bits(7);
        let small = Layout::standard(&cpu, room).unwrap();
        let found = ComponentSet::from_bits(0x205);
        assert_eq!(
            state.write_standard(&small, &mut out),
            Err(ExportError::NoRoom { found, room })
        );
        assert_eq!(
            state.write_standard(&layout, &mut out[..0xa87]),
            Err(ExportError::TooShort {
                found: 0xa87,
                needed: 0xa88
            })
        );
        assert_eq!(
            state.write_compacted(&layout, &mut out),
            Err(ExportError::Format {
                found: Format::Standard,
                allowed: Format::Compacted
            })
        );
        assert_eq!(out, [0xaa; 0xa88]);
    }

    #[test]
    fn a_refused_export_says_what_has_no_place() {
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        const TILES: ComponentSet = ComponentSet::TILES;
        for (shown, sentence) in [
            (
                ExportError::Format {
                    found: Format::Compacted,
                    allowed: Format::Standard,
                }
                .to_string(),
                "a layout of compacted format; allowed: standard",
            ),
            (
                ExportError::TooShort {
                    found: 575,
                    needed: 576,
                }
                .to_string(),
                "575 bytes for an image of 576",
            ),
            (
                ExportError::NoRoom {
                    found: AVX.union(TILES),
                    room: AVX,
                }
                .to_string(),
                "the state has XTILECFG+XTILEDATA; the layout has room for AVX",
            ),
            (
                ExportError::Length {
                    component: Component::Avx,
                    found: 128,
                    needed: 256,
                }
                .to_string(),
                "AVX has 128 bytes in the state and 256 in the layout",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }

    #[test]
    fn an_fxsave_image_is_the_legacy_region_and_512_bytes() {
        let (bytes, cpu) = (image(), emerald_rapids().enumeration());
        let layout = Layout::standard(&cpu, ComponentSet::LEGACY).unwrap();
        let mut legacy_only = bytes[..576].to_vec();
        legacy_only[512..514].copy_from_slice(&1_u16.to_le_bytes());
        let image = StandardImage::parse(&legacy_only, layout, 0xffff).unwrap();
        let layout = Layout::fxsave(&cpu).unwrap();
        let mut out = [0xaa; 520];
        assert_eq!(image.state().write_fxsave(&layout, &mut out), Ok(512));
        assert_eq!(out[..4], [0x7f, 2, 0, 0]);
        assert_eq!(out[160..416], [0; 256]);
        assert_eq!(out[512..], [0xaa; 8]);
    }
}

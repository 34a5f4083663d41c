//! Why bytes are not an image.

use core::fmt;

use fpstate_arch::component::ComponentSet;
use fpstate_arch::xsave_header::Format;

use crate::area::MxcsrError;
use crate::layout::LayoutError;

/// A rule that an image breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// The layout to read it by has another format.
    NotStandard {
        /// The layout's format.
        format: Format,
    },
    /// XCOMP_BV\[63\] (bytes 527:520) must be 1 in the compacted format.
    NotCompacted {
        /// XCOMP_BV.
        found: u64,
    },
    /// No layout to read it by: XCOMP_BV has components that the CPU lacks, say.
    Layout(LayoutError),
    /// Fewer bytes than the layout or the interface needs.
    TooShort {
        /// Bytes there are.
        found: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// Another number of bytes than the interface takes.
    Length {
        /// Bytes there are.
        found: usize,
        /// Bytes it takes.
        needed: usize,
    },
    /// XCOMP_BV (bytes 527:520) must be 0 in the standard format.
    XcompBv {
        /// Its value.
        found: u64,
    },
    /// XCOMP_BV (bytes 527:520) of a compacted image has components that are not enabled.
    RoomNotAllowed {
        /// XCOMP_BV\[62:0\].
        found: ComponentSet,
        /// The components enabled.
        allowed: ComponentSet,
    },
    /// Bytes 575:528 must be 0.
    ReservedHeaderByte {
        /// Offset from byte 0 of the image.
        offset: usize,
        /// Its value.
        value: u8,
    },
    /// XSTATE_BV has components that the layout does not.
    ComponentsNotAllowed {
        /// XSTATE_BV.
        found: ComponentSet,
        /// The layout's components.
        allowed: ComponentSet,
    },
    /// MXCSR (bytes 27:24) has a bit the CPU lacks.
    Mxcsr(MxcsrError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStandard { format } => {
                write!(f, "a layout of {format} format; allowed: standard")
            }
            Self::NotCompacted { found } => {
                write!(
                    f,
                    "XCOMP_BV at byte 520 is {found:#x}; allowed: bit 63 set in the compacted format"
                )
            }
            Self::Layout(error) => write!(f, "no layout to read the image by: {error}"),
            Self::TooShort { found, needed } => {
                write!(f, "image of {found} bytes; allowed: at least {needed}")
            }
            Self::Length { found, needed } => {
                write!(f, "image of {found} bytes; allowed: {needed}")
            }
            Self::XcompBv { found } => {
                write!(
                    f,
                    "XCOMP_BV at byte 520 is {found:#x}; allowed: 0 in the standard format"
                )
            }
            Self::RoomNotAllowed { found, allowed } => {
                let refused = found.difference(*allowed);
                write!(f, "XCOMP_BV at byte 520 has {refused}; allowed: {allowed}")
            }
            Self::ReservedHeaderByte { offset, value } => {
                write!(f, "reserved header byte {offset} is {value:#x}; allowed: 0")
            }
            Self::ComponentsNotAllowed { found, allowed } => {
                let refused = found.difference(*allowed);
                write!(f, "XSTATE_BV at byte 512 has {refused}; allowed: {allowed}")
            }
            Self::Mxcsr(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Layout(error) => Some(error),
            Self::NotStandard { .. }
            | Self::NotCompacted { .. }
            | Self::TooShort { .. }
            | Self::Length { .. }
            | Self::XcompBv { .. }
            | Self::RoomNotAllowed { .. }
            | Self::ReservedHeaderByte { .. }
            | Self::ComponentsNotAllowed { .. }
            // Displayed as it is.
            | Self::Mxcsr(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use fpstate_arch::Component;
    use std::string::ToString;

    #[test]
    fn a_refused_image_says_which_byte_held_what() {
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        for (shown, sentence) in [
            (
                ImageError::NotStandard {
                    format: Format::Compacted,
                }
                .to_string(),
                "a layout of compacted format; allowed: standard",
            ),
            (
                ImageError::NotCompacted { found: 7 }.to_string(),
                "XCOMP_BV at byte 520 is 0x7; allowed: bit 63 set in the compacted format",
            ),
            (
                ImageError::Layout(LayoutError::NotEnumerated { missing: AVX }).to_string(),
                "no layout to read the image by: this CPU lacks AVX",
            ),
            (
                ImageError::TooShort {
                    found: 575,
                    needed: 576,
                }
                .to_string(),
                "image of 575 bytes; allowed: at least 576",
            ),
            (
                ImageError::Length {
                    found: 577,
                    needed: 576,
                }
                .to_string(),
                "image of 577 bytes; allowed: 576",
            ),
            (
                ImageError::XcompBv { found: 1 }.to_string(),
                "XCOMP_BV at byte 520 is 0x1; allowed: 0 in the standard format",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }

    #[test]
    fn a_refused_header_or_mxcsr_says_what_it_holds() {
        const AVX: ComponentSet = ComponentSet::only(Component::Avx);
        const TILES: ComponentSet = ComponentSet::TILES;
        for (shown, sentence) in [
            (
                ImageError::RoomNotAllowed {
                    found: AVX.union(TILES),
                    allowed: AVX,
                }
                .to_string(),
                "XCOMP_BV at byte 520 has XTILECFG+XTILEDATA; allowed: AVX",
            ),
            (
                ImageError::ReservedHeaderByte {
                    offset: 530,
                    value: 0x80,
                }
                .to_string(),
                "reserved header byte 530 is 0x80; allowed: 0",
            ),
            (
                ImageError::ComponentsNotAllowed {
                    found: AVX.union(TILES),
                    allowed: AVX,
                }
                .to_string(),
                "XSTATE_BV at byte 512 has XTILECFG+XTILEDATA; allowed: AVX",
            ),
            (
                ImageError::Mxcsr(MxcsrError {
                    found: 0x1_0000,
                    mask: 0xffff,
                })
                .to_string(),
                "MXCSR at byte 24 is 0x10000; allowed bits: 0xffff",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }

    #[test]
    fn the_layout_is_the_source_of_an_image_without_one() {
        use core::error::Error as _;
        let layout = LayoutError::NotEnumerated {
            missing: ComponentSet::LEGACY,
        };
        assert_eq!(
            ImageError::Layout(layout).source().map(ToString::to_string),
            Some(layout.to_string())
        );
        assert!(ImageError::XcompBv { found: 1 }.source().is_none());
    }
}

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

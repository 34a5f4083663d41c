//! Why a snapshot cannot be restored somewhere, one line each.

use std::fmt;

use fpstate::{ImageError, LayoutError};
use fpstate_arch::xfd::XfdError;
use fpstate_arch::xss::XssError;
use fpstate_arch::{Component, ComponentSet, TilePalette, Xcr0Error};

/// One reason why a [`VcpuExtendedState`](crate::VcpuExtendedState) cannot be restored on a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The image breaks a rule of `KVM_SET_XSAVE`, on whatever CPU.
    Image(ImageError),
    /// The CPU the snapshot names has no layout: its figures contradict themselves.
    SourceLayout(LayoutError),
    /// The same for the target's CPU.
    TargetLayout(LayoutError),
    /// The state has live components for which the target has no room.
    ComponentsLacking {
        /// Those the target lacks.
        lacking: ComponentSet,
        /// Those it has.
        offered: ComponentSet,
    },
    /// A live component is at another place, or of another length: the image must be converted.
    OtherLayout {
        /// The component.
        component: Component,
        /// Offset and length in bytes in the image.
        found: (usize, usize),
        /// Offset and length in bytes on the target.
        needed: (usize, usize),
    },
    /// Tiles are in use, and the target's have another shape.
    OtherTiles {
        /// Those of the snapshot's CPU.
        found: Option<TilePalette>,
        /// Those of the target.
        needed: Option<TilePalette>,
    },
    /// No guest of the target can have this XCR0.
    Xcr0(Xcr0Error),
    /// The same for IA32_XSS.
    Xss(XssError),
    /// The same for IA32_XFD.
    Xfd(XfdError),
    /// The same for IA32_XFD_ERR.
    XfdErr(XfdError),
    /// The target has the components, and its guests are not permitted to use them: the handshake
    /// was left out, or refused.
    NotPermitted {
        /// The components, on-demand ones, that the state needs.
        needed: ComponentSet,
        /// The on-demand components that guests may have.
        permitted: ComponentSet,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => write!(f, "image: {error}"),
            Self::SourceLayout(error) => write!(f, "the CPU it came from: {error}"),
            Self::TargetLayout(error) => write!(f, "the target: {error}"),
            Self::ComponentsLacking { lacking, offered } => write!(
                f,
                "{lacking} in use, which the target lacks (it has {offered})"
            ),
            Self::OtherLayout {
                component,
                found,
                needed,
            } => write!(
                f,
                "{component} is {} bytes at offset {}; on the target {} bytes at offset {}",
                found.1, found.0, needed.1, needed.0
            ),
            Self::OtherTiles { found, needed } => {
                write!(f, "tiles in use are {}", Shape(*found))?;
                write!(f, "; on the target {}", Shape(*needed))
            }
            Self::Xcr0(error) => error.fmt(f),
            Self::Xss(error) => error.fmt(f),
            Self::Xfd(error) => error.fmt(f),
            Self::XfdErr(XfdError { found, supported }) => write!(
                f,
                "IA32_XFD_ERR {:#x} names {}; allowed: {supported}",
                found.bits(),
                found.difference(*supported)
            ),
            Self::NotPermitted { needed, permitted } => write!(
                f,
                "{needed} needs permission for the guests of the process (permitted: {permitted})"
            ),
        }
    }
}

impl std::error::Error for Reason {}

struct Shape(Option<TilePalette>);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("not described by CPUID"),
            Some(palette) => write!(
                f,
                "{} of {} rows of {} bytes",
                palette.names, palette.rows, palette.bytes_per_row
            ),
        }
    }
}

//! What `fpstate check` is asked about: a bare image, or a snapshot of `fpstate-kvm` as JSON.

use std::path::Path;

use fpstate_arch::{ComponentSet, Format};
use fpstate_kvm::VcpuExtendedState;

use crate::image_file::{ImageFile, ImageFileError, NoImage, read_bytes};

/// An image, with or without the registers that give it meaning.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Image(ImageFile),
    Snapshot(Box<VcpuExtendedState>),
}

impl Subject {
    pub(crate) fn read(path: &Path) -> Result<Self, ImageFileError> {
        let bytes = read_bytes(path)?;
        let subject = if is_json(&bytes) {
            snapshot(&bytes).map(Self::Snapshot)
        } else {
            ImageFile::recognise(bytes).map(Self::Image)
        };
        subject.map_err(|error| ImageFileError::NoImage {
            path: path.to_owned(),
            error,
        })
    }

    /// The image, in whatever format.
    pub(crate) fn image(&self) -> &[u8] {
        match self {
            Self::Image(image) => image.bytes(),
            Self::Snapshot(snapshot) => snapshot.xsave(),
        }
    }

    /// XSTATE_BV; `None` in the FXSAVE format.
    pub(crate) fn xstate_bv(&self) -> Option<ComponentSet> {
        match self {
            Self::Image(image) => image.header().map(|header| header.xstate_bv),
            Self::Snapshot(snapshot) => Some(snapshot.live()),
        }
    }

    /// The format, in a word or two.
    pub(crate) fn format(&self) -> String {
        match self {
            Self::Image(image) => image.format().to_string(),
            Self::Snapshot(_) => format!("snapshot, {}", Format::Standard),
        }
    }
}

/// An image of 576 bytes or more has a 0 in its header, and none of 512 begins like an object: FCW would
/// be xx7BH with a letter of JSON in its upper half, and all the rest printable.
fn is_json(bytes: &[u8]) -> bool {
    bytes.starts_with(b"{") && !bytes.contains(&0)
}

fn snapshot(bytes: &[u8]) -> Result<Box<VcpuExtendedState>, NoImage> {
    serde_json::from_slice(bytes).map_err(|error| NoImage::Snapshot {
        offset: offset_of(bytes, error.line(), error.column()),
        reason: error.to_string(),
    })
}

/// The byte at `column` of `line`, both counted from 1.
fn offset_of(bytes: &[u8], line: usize, column: usize) -> usize {
    let before: usize = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    before + column.saturating_sub(1)
}

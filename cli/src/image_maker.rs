//! The CPU that made an image: named, noted beside the image, or nobody knows.

use fpstate::{ImageError, ImageState, LayoutError};
use fpstate_arch::Enumeration;

use crate::CommandError;
use crate::cpu_choice::CpuChoice;
use crate::elf_core::LayoutNote;
use crate::saved_image::{self, SavedImage, Unsaid};

/// A CPU that made an image.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    pub(crate) name: String,
    /// Who says so.
    pub(crate) source: String,
    pub(crate) enumeration: Enumeration,
    /// The bits its MXCSR may have; all where nobody knows.
    mxcsr_mask: u32,
}

/// Why an image holds no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("its CPU: {0}")]
    Layout(#[from] LayoutError),
    #[error("{0}")]
    Image(#[from] ImageError),
}

impl Maker {
    /// The CPU of `--from`, or the one that is noted beside the image; `None` where nobody says.
    ///
    /// # Errors
    /// `--from` of a snapshot.
    pub(crate) fn known(
        image: &SavedImage,
        noted: Option<LayoutNote>,
        from: Option<CpuChoice>,
    ) -> Result<Option<Self>, CommandError> {
        match (image.snapshot(), from) {
            (Some(_), Some(_)) => Err(CommandError::FromOfSnapshot),
            (Some(snapshot), None) => Ok(Some(Self {
                name: snapshot.cpu().vendor(),
                source: "as the snapshot says".to_owned(),
                enumeration: snapshot.cpu().enumeration(),
                mxcsr_mask: snapshot.cpu().mxcsr_mask(),
            })),
            (None, Some(from)) => Ok(Some(Self::of(from))),
            (None, None) => Ok(noted.map(|note| Self {
                name: "the CPU of the core".to_owned(),
                source: format!("NT_X86_XSAVE_LAYOUT at byte {}", note.offset),
                enumeration: note.enumeration,
                mxcsr_mask: u32::MAX,
            })),
        }
    }

    pub(crate) fn of(cpu: CpuChoice) -> Self {
        Self {
            source: cpu.source.description(),
            mxcsr_mask: cpu.mxcsr_mask(),
            name: cpu.name,
            enumeration: cpu.enumeration,
        }
    }

    /// The state of `image`, which was made on this CPU: judged by the rules of its form.
    pub(crate) fn state_of<'b>(
        &'b self,
        image: &'b SavedImage,
    ) -> Result<ImageState<'b>, SourceError> {
        let layout = image.layout(&self.enumeration, Unsaid::AllOfItsCpu)?;
        Ok(image.state(layout, self.mxcsr_mask)?)
    }

    /// Why of a signal frame the first 512 bytes alone are the state; `None` where all of it is.
    pub(crate) fn fx_only(&self, image: &SavedImage) -> Option<String> {
        let layout = image.layout(&self.enumeration, Unsaid::AllOfItsCpu).ok()?;
        let form = image.frame_form(layout, self.mxcsr_mask)?;
        saved_image::fx_only(form)
    }
}

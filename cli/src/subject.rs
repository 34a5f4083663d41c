//! The images of a file, each with a CPU by whose layout it is read.

use std::path::PathBuf;
use std::rc::Rc;

use fpstate::{FrameForm, ImageError, ImageState, Layout, LayoutError};
use fpstate_arch::ComponentSet;

use crate::elf_core::LayoutNote;
use crate::file_kind::FileKind;
use crate::image_cpu::{Candidates, Extent, ImageCpu, ImageCpuError, Wanted};
use crate::saved_file::SavedFile;
use crate::saved_image::{Form, LONGEST_IMAGE, Place, SavedImage, Unsaid, frame_bytes};

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) path: PathBuf,
    pub(crate) kind: FileKind,
    /// Of the file, in bytes.
    pub(crate) len: u64,
    /// One for a file that is one image.
    pub(crate) threads: Vec<Thread>,
}

/// An image, whose registers can be read.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) image: SavedImage,
    pub(crate) cpu: Rc<ImageCpu>,
}

/// Why there is nothing to show of a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubjectError {
    #[error("{place}: {error}")]
    Cpu { place: Place, error: ImageCpuError },
    #[error("{place}: its layout has {needed} bytes; allowed: {LONGEST_IMAGE}")]
    Area { place: Place, needed: usize },
    #[error("{0}")]
    Image(#[from] BrokenImage),
}

/// An image breaks a rule of its form.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {error}")]
pub(crate) struct BrokenImage {
    place: Place,
    error: ImageError,
}

/// Which bits MXCSR may have depends on the CPU, which is not asked here: it is shown as it is.
const ANY_MXCSR: u32 = u32::MAX;

impl Subject {
    /// The images of `file`, each with its CPU.
    pub(crate) fn of(file: SavedFile, candidates: &Candidates) -> Result<Self, SubjectError> {
        let SavedFile {
            path,
            kind,
            len,
            images,
            layout,
        } = file;
        let mut finder = Finder {
            candidates,
            noted: layout.map(|note| Rc::new(note.into())),
            last: None,
        };
        let threads = images.into_iter().map(|image| {
            let cpu = finder.cpu_of(&image)?;
            let thread = Thread { image, cpu };
            // Judged here once, and not only when it is its turn to be shown.
            let state = thread.state()?;
            // A frame names components without having their bytes, and a dump gives them any length.
            let (place, needed) = (thread.image.place, state.layout().area_len());
            if needed > LONGEST_IMAGE {
                return Err(SubjectError::Area { place, needed });
            }
            Ok(thread)
        });
        Ok(Self {
            path,
            kind,
            len,
            threads: threads.collect::<Result<_, SubjectError>>()?,
        })
    }
}

impl From<LayoutNote> for ImageCpu {
    fn from(note: LayoutNote) -> Self {
        Self {
            enumeration: note.enumeration,
            reason: format!("NT_X86_XSAVE_LAYOUT at byte {}", note.offset),
        }
    }
}

/// Finds CPUs for the images of one file.
struct Finder<'c> {
    candidates: &'c Candidates,
    noted: Option<Rc<ImageCpu>>,
    /// The threads of one process have one layout: what was found for an image of these components
    /// and this length need not be looked for again.
    last: Option<(ComponentSet, usize, Rc<ImageCpu>)>,
}

impl Finder<'_> {
    fn cpu_of(&mut self, image: &SavedImage) -> Result<Rc<ImageCpu>, SubjectError> {
        let len = image.bytes().len();
        match image.place.form {
            Form::Fxsave | Form::CoreFxsave => Ok(self.candidates.fxsave()),
            Form::Snapshot => Ok(match (self.candidates.given(), image.snapshot()) {
                (Some(given), _) => given,
                (None, Some(snapshot)) => Rc::new(ImageCpu {
                    enumeration: snapshot.cpu().enumeration(),
                    reason: format!("the layout of its own CPU, {}", snapshot.cpu().vendor()),
                }),
                (None, None) => self.candidates.fxsave(),
            }),
            Form::Kvm | Form::Xsave | Form::Compacted => self.find(image, Extent::AtMost(len)),
            Form::SignalFrame => self.of_frame(image),
            Form::CoreXstate => self.of_thread(image),
        }
    }

    /// A frame that Linux wrote has the length of its layout and says so; `sigreturn` takes others too.
    fn of_frame(&self, image: &SavedImage) -> Result<Rc<ImageCpu>, SubjectError> {
        let len = image.bytes().len();
        let said = frame_bytes(image.bytes())
            .and_then(|frame| usize::try_from(frame.xstate_size).ok())
            .filter(|said| *said <= len);
        let exact = said.map(|said| self.find(image, Extent::Exact(said)));
        match exact {
            Some(Ok(cpu)) => Ok(cpu),
            // Of a frame without software bytes 512 bytes matter, which are the same everywhere.
            Some(Err(_)) | None => self.find(image, Extent::AtMost(usize::MAX)),
        }
    }

    fn of_thread(&mut self, image: &SavedImage) -> Result<Rc<ImageCpu>, SubjectError> {
        let (room, len) = (image.room(), image.bytes().len());
        let noted = self.noted.as_ref();
        let cpu = match (
            noted.filter(|_| self.candidates.given().is_none()),
            &self.last,
        ) {
            (Some(noted), _) => Rc::clone(noted),
            (None, Some((of, of_len, cpu))) if (*of, *of_len) == (room, len) => Rc::clone(cpu),
            (None, _) => self.find(image, Extent::Exact(len))?,
        };
        self.last = Some((room, len, Rc::clone(&cpu)));
        Ok(cpu)
    }

    fn find(&self, image: &SavedImage, extent: Extent) -> Result<Rc<ImageCpu>, SubjectError> {
        let found = self.candidates.find(Wanted { image, extent });
        found.map_err(|error| SubjectError::Cpu {
            place: image.place,
            error,
        })
    }
}

impl Thread {
    /// The registers of its image.
    pub(crate) fn state(&self) -> Result<ImageState<'_>, BrokenImage> {
        let state = self
            .layout()
            .map_err(ImageError::Layout)
            .and_then(|layout| self.image.state(layout, ANY_MXCSR));
        state.map_err(|error| BrokenImage {
            place: self.image.place,
            error,
        })
    }

    /// How much of a signal frame `sigreturn` restores; `None` for other images.
    pub(crate) fn frame_form(&self) -> Option<FrameForm> {
        let layout = self.layout().ok()?;
        self.image.frame_form(layout, ANY_MXCSR)
    }

    fn layout(&self) -> Result<Layout<'_>, LayoutError> {
        self.image
            .layout(&self.cpu.enumeration, Unsaid::AnnouncedOnly)
    }
}

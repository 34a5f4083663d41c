//! What is in a file: one image, or the images of a process's threads.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::ValueEnum;
use fpstate::ImageState;
use fpstate_arch::Format;

use crate::elf_core::{CoreError, CoreThread, ElfCore, LONGEST_IMAGE, MAGIC};
use crate::image_cpu::{Candidates, ImageCpu};
use crate::saved_image::{Form, Image, Place, SavedImageError, header, software_xcr0};

/// Bytes of `struct kvm_xsave`.
const SHORTEST_KVM_IMAGE: usize = 4096;

/// What a file is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileKind {
    /// The image of KVM, 4096 bytes or more: standard format, XCR0 in bytes 471:464
    Kvm,
    /// A standard-format image of XSAVE or XSAVEOPT
    Xsave,
    /// A compacted image: XSAVEC, XSAVES, MSHV, WHP
    Compacted,
    /// 512 bytes of FXSAVE64
    Fxsave,
    /// An ELF core of a 64-bit process
    ElfCore,
}

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

/// Who had the registers.
#[derive(Debug)]
pub(crate) struct Thread {
    /// `None` outside a core.
    pub(crate) tid: Option<u32>,
    pub(crate) signal: Option<u16>,
    pub(crate) image: Image,
}

/// Why there is nothing to show of a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubjectError {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("{0}")]
    Core(#[from] CoreError),
    #[error("the file has {found} bytes; allowed: {LONGEST_IMAGE} for an image")]
    TooLong { found: u64 },
    #[error("no regular file")]
    NotAFile,
    #[error("thread {tid} has neither NT_X86_XSTATE nor NT_PRFPREG")]
    WithoutState { tid: u32 },
    #[error("{0}")]
    Image(#[from] SavedImageError),
}

impl FileKind {
    /// How the image is read that a file of this kind is.
    const fn form(self) -> Form {
        match self {
            Self::Kvm => Form::Kvm,
            Self::Xsave => Form::Xsave,
            Self::Compacted => Form::Compacted,
            Self::Fxsave => Form::Fxsave,
            // A core is none; its images are notes of its threads.
            Self::ElfCore => Form::CoreXstate,
        }
    }

    /// As `--as` has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Xsave => "xsave",
            Self::Compacted => "compacted",
            Self::Fxsave => "fxsave",
            Self::ElfCore => "elf-core",
        }
    }
}

impl Subject {
    /// Reads the file at `path`, as a `kind` or as what its content says.
    ///
    /// # Errors
    /// What is wrong and at which byte.
    pub(crate) fn read(
        path: &Path,
        kind: Option<FileKind>,
        candidates: &Candidates,
    ) -> Result<Self, SubjectError> {
        // A pipe could make the opening wait for ever.
        if !fs::metadata(path)?.is_file() {
            return Err(SubjectError::NotAFile);
        }
        let mut file = File::open(path)?;
        let (kind, len, threads) = read(&mut file, kind, candidates)?;
        Ok(Self {
            path: path.to_owned(),
            kind,
            len,
            threads,
        })
    }
}

/// The same for anything that has bytes.
pub(crate) fn read(
    file: &mut (impl Read + Seek),
    kind: Option<FileKind>,
    candidates: &Candidates,
) -> Result<(FileKind, u64, Vec<Thread>), SubjectError> {
    let len = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic)?;
    file.rewind()?;
    let is_elf = kind == Some(FileKind::ElfCore) || kind.is_none() && magic == MAGIC;
    if is_elf {
        let core = ElfCore::read(file)?;
        return Ok((FileKind::ElfCore, len, threads_of(core, candidates)?));
    }
    if len > LONGEST_IMAGE {
        return Err(SubjectError::TooLong { found: len });
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_IMAGE).read_to_end(&mut bytes)?;
    let kind = match kind {
        Some(kind) => kind,
        None => recognised(&bytes)?,
    };
    let image = Image::alone(kind.form(), bytes, candidates)?;
    let thread = Thread {
        tid: None,
        signal: None,
        image,
    };
    Ok((kind, len, vec![thread]))
}

/// What an image is, from its length and header.
fn recognised(bytes: &[u8]) -> Result<FileKind, SavedImageError> {
    if bytes.len() == 512 {
        return Ok(FileKind::Fxsave);
    }
    let Some(header) = header(bytes) else {
        return Err(SavedImageError::TooShort {
            found: bytes.len() as u64,
        });
    };
    Ok(match (header.format(), software_xcr0(bytes)) {
        (Format::Compacted, _) => FileKind::Compacted,
        (_, Some(_)) if bytes.len() >= SHORTEST_KVM_IMAGE => FileKind::Kvm,
        (_, Some(_) | None) => FileKind::Xsave,
    })
}

fn threads_of(core: ElfCore, candidates: &Candidates) -> Result<Vec<Thread>, SubjectError> {
    let noted = core.layout.map(|note| {
        Rc::new(ImageCpu {
            enumeration: note.enumeration,
            reason: format!("NT_X86_XSAVE_LAYOUT at byte {}", note.offset),
        })
    });
    let mut last = None;
    let mut threads = Vec::with_capacity(core.threads.len());
    for thread in core.threads {
        let CoreThread {
            tid,
            signal,
            fpregs,
            xstate,
        } = thread;
        let image = match (xstate, fpregs) {
            (Some(xstate), _) => {
                let noted = noted.as_ref().filter(|_| candidates.given().is_none());
                Image::of_note(tid, xstate, noted, &mut last, candidates)?
            }
            (None, Some(fpregs)) => Image::fxsave(Form::CoreFxsave, fpregs, Some(tid), candidates)?,
            (None, None) => return Err(SubjectError::WithoutState { tid }),
        };
        threads.push(Thread {
            tid: Some(tid),
            signal: Some(signal),
            image,
        });
    }
    Ok(threads)
}

impl Thread {
    /// The registers of its image.
    pub(crate) fn state(&self) -> Result<ImageState<'_>, SavedImageError> {
        let Image { form, offset, .. } = self.image;
        let place = Place {
            tid: self.tid,
            form,
            offset,
        };
        self.image
            .state()
            .map_err(|error| SavedImageError::Image { place, error })
    }

    /// What makes the thread this one.
    pub(crate) fn title(&self) -> String {
        match (self.tid, self.signal) {
            (Some(tid), Some(0) | None) => format!("thread {tid}"),
            (Some(tid), Some(signal)) => format!("thread {tid}, signal {signal}"),
            (None, _) => "image".to_owned(),
        }
    }
}

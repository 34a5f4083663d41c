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

/// Most bytes of a snapshot: 64 KiB of image with a line for each byte.
const LONGEST_SNAPSHOT: u64 = 1 << 20;
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
    /// A snapshot of fpstate-kvm in JSON
    Snapshot,
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
    #[error("the file has {found} bytes; allowed: {allowed} for what is no ELF core")]
    TooLong { found: u64, allowed: u64 },
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
            Self::Snapshot => Form::Snapshot,
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
            Self::Snapshot => "snapshot",
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
    // Of text that is too long for an image: is it a snapshot?
    let longest = match kind {
        None | Some(FileKind::Snapshot) => LONGEST_SNAPSHOT,
        Some(_) => LONGEST_IMAGE,
    };
    let too_long = |allowed| SubjectError::TooLong {
        found: len,
        allowed,
    };
    if len > longest {
        return Err(too_long(if kind.is_none() {
            LONGEST_IMAGE
        } else {
            longest
        }));
    }
    let mut bytes = Vec::new();
    file.take(longest).read_to_end(&mut bytes)?;
    let kind = match kind {
        Some(kind) => kind,
        None => recognised(&bytes)?,
    };
    if kind != FileKind::Snapshot && len > LONGEST_IMAGE {
        return Err(too_long(LONGEST_IMAGE));
    }
    let image = if kind == FileKind::Snapshot {
        Image::of_snapshot(&bytes, candidates)?
    } else {
        Image::alone(kind.form(), bytes, candidates)?
    };
    let thread = Thread {
        tid: None,
        signal: None,
        image,
    };
    Ok((kind, len, vec![thread]))
}

/// Whether the first bytes are those of a JSON object: an image has zeros among them.
fn is_text(bytes: &[u8]) -> bool {
    let first = bytes.get(..512).unwrap_or(bytes);
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    first.trim_ascii_start().first() == Some(&b'{') && first.iter().all(is_text)
}

/// What an image is, from its length and header.
fn recognised(bytes: &[u8]) -> Result<FileKind, SavedImageError> {
    if is_text(bytes) {
        return Ok(FileKind::Snapshot);
    }
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

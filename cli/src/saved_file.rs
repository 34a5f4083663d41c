//! What is in a file: one image, or those of a process's threads. The one reader of every command.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::CommandError;
use crate::elf_core::{CoreError, CoreThread, ElfCore, LayoutNote, MAGIC};
use crate::file_kind::{CutShort, FileKind, recognised, require_header};
use crate::saved_image::{Form, LONGEST_IMAGE, Place, SavedImage};

/// A file that was read; nothing of its images was judged.
#[derive(Debug)]
pub(crate) struct SavedFile {
    pub(crate) path: PathBuf,
    pub(crate) kind: FileKind,
    /// In bytes.
    pub(crate) len: u64,
    /// One for each thread of a core; one of any other file.
    pub(crate) images: Vec<SavedImage>,
    /// What a core says of where components lie.
    pub(crate) layout: Option<LayoutNote>,
}

/// Why a file has no images.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("no regular file")]
    NotAFile,
    #[error("{0}")]
    Core(#[from] CoreError),
    #[error("thread {tid} has neither NT_X86_XSTATE nor NT_PRFPREG")]
    WithoutState { tid: u32 },
    #[error("the file has {found} bytes; allowed: {LONGEST_IMAGE} for what is no ELF core")]
    TooLong { found: u64 },
    #[error("{0}")]
    CutShort(#[from] CutShort),
    #[error("no snapshot of fpstate-kvm: byte {offset}: {error}")]
    Snapshot {
        offset: usize,
        error: serde_json::Error,
    },
}

/// Why a file has not the one thread that is asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ThreadError {
    #[error("--thread {found}: no such thread; {path:?} has {present}")]
    Unknown {
        found: u32,
        path: PathBuf,
        present: String,
    },
    #[error("{path:?} has the threads {present}; --thread says which")]
    Several { path: PathBuf, present: String },
}

impl SavedFile {
    /// Reads the file at `path`, as a `kind` or as what its content says.
    ///
    /// # Errors
    /// What is wrong and at which byte.
    pub(crate) fn read(path: &Path, kind: Option<FileKind>) -> Result<Self, CommandError> {
        let opened = open(path).and_then(|mut file| Self::of(&mut file, kind));
        let path = path.to_owned();
        match opened {
            Ok(file) => Ok(Self { path, ..file }),
            Err(error) => Err(CommandError::File { path, error }),
        }
    }

    /// The same for anything that has bytes.
    pub(crate) fn of(
        file: &mut (impl Read + Seek),
        kind: Option<FileKind>,
    ) -> Result<Self, FileError> {
        let len = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut magic = Vec::new();
        file.by_ref().take(4).read_to_end(&mut magic)?;
        file.rewind()?;
        let read = |kind, images, layout| Self {
            path: PathBuf::new(),
            kind,
            len,
            images,
            layout,
        };
        let kind = kind.or_else(|| (magic == MAGIC).then_some(FileKind::ElfCore));
        if kind == Some(FileKind::ElfCore) {
            let ElfCore { threads, layout } = ElfCore::read(file)?;
            let images = threads.into_iter().map(of_thread);
            let images = images.collect::<Result<_, _>>()?;
            return Ok(read(FileKind::ElfCore, images, layout));
        }
        if len > LONGEST_IMAGE as u64 {
            return Err(FileError::TooLong { found: len });
        }
        let mut bytes = Vec::new();
        file.take(LONGEST_IMAGE as u64).read_to_end(&mut bytes)?;
        let kind = kind.map_or_else(|| recognised(&bytes), Ok)?;
        let image = kind.form().map(|form| alone(form, bytes)).transpose()?;
        Ok(read(kind, image.into_iter().collect(), None))
    }

    /// The file with the image of this thread alone; with all that it has where none is named.
    pub(crate) fn of_thread(mut self, tid: Option<u32>) -> Result<Self, ThreadError> {
        let Some(found) = tid else { return Ok(self) };
        let present = self.threads();
        self.images.retain(|image| image.place.tid == tid);
        if self.images.is_empty() {
            let path = self.path;
            return Err(ThreadError::Unknown {
                found,
                path,
                present,
            });
        }
        Ok(self)
    }

    /// Its only image, of this thread if one is named.
    pub(crate) fn one_image(
        self,
        tid: Option<u32>,
    ) -> Result<(SavedImage, Option<LayoutNote>), ThreadError> {
        let mut file = self.of_thread(tid)?;
        let present = file.threads();
        match (file.images.pop(), file.images.is_empty()) {
            (Some(image), true) => Ok((image, file.layout)),
            _ => Err(ThreadError::Several {
                path: file.path,
                present,
            }),
        }
    }

    /// The ids of its threads, not all where they are many.
    fn threads(&self) -> String {
        let tids = self.images.iter().filter_map(|image| image.place.tid);
        let tids: Vec<_> = tids.take(20).map(|tid| tid.to_string()).collect();
        match (tids.len(), self.images.len()) {
            (0, _) => "none".to_owned(),
            (shown, all) if shown < all => format!("{} and {} more", tids.join(", "), all - shown),
            _ => tids.join(", "),
        }
    }
}

/// Only what has an end and is there: opening a pipe could wait for ever.
fn open(path: &Path) -> Result<File, FileError> {
    if !fs::metadata(path)?.is_file() {
        return Err(FileError::NotAFile);
    }
    Ok(File::open(path)?)
}

/// The image that a file is, by these rules.
fn alone(form: Form, bytes: Vec<u8>) -> Result<SavedImage, FileError> {
    match form {
        Form::Snapshot => return snapshot(&bytes),
        Form::Kvm | Form::Xsave | Form::Compacted | Form::CoreXstate => require_header(&bytes)?,
        Form::Fxsave | Form::CoreFxsave | Form::SignalFrame => {}
    }
    Ok(SavedImage::alone(form, bytes))
}

/// The image in a snapshot that serde wrote as JSON.
fn snapshot(text: &[u8]) -> Result<SavedImage, FileError> {
    let snapshot = serde_json::from_slice(text).map_err(|error| FileError::Snapshot {
        offset: byte_of(text, &error),
        error,
    })?;
    Ok(SavedImage::of_snapshot(snapshot))
}

/// Offset of the byte that an error in `text` is about.
fn byte_of(text: &[u8], error: &serde_json::Error) -> usize {
    let before = error.line().saturating_sub(1);
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let start: usize = lines.take(before).map(<[u8]>::len).sum();
    start + error.column().saturating_sub(1)
}

/// The image of a core's thread: the longer one of the two that it may have.
fn of_thread(thread: CoreThread) -> Result<SavedImage, FileError> {
    let CoreThread {
        tid,
        signal,
        fpregs,
        xstate,
    } = thread;
    let (form, note) = match (xstate, fpregs) {
        (Some(xstate), _) => (Form::CoreXstate, xstate),
        (None, Some(fpregs)) => (Form::CoreFxsave, fpregs),
        (None, None) => return Err(FileError::WithoutState { tid }),
    };
    let place = Place {
        tid: Some(tid),
        form,
        offset: note.offset,
    };
    Ok(SavedImage::of_thread(place, signal, note.bytes))
}

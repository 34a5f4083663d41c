//! Bytes of a file by their offset; of a long file only those asked for.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::notes::NoteKind;

/// A file that is read at offsets that mostly grow.
pub(super) struct Bounded<R> {
    reader: BufReader<R>,
    position: u64,
    len: u64,
}

/// Why a file is not a core that can be read, and at which byte. One line each.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CoreError {
    #[error("ELF core: byte {offset}: {error}")]
    Read { offset: u64, error: io::Error },
    #[error("ELF core: {what} at byte {offset} needs {needed} bytes; {room} ends at byte {end}")]
    Truncated {
        what: &'static str,
        offset: u64,
        needed: u64,
        room: &'static str,
        end: u64,
    },
    #[error("ELF core: {what} at byte {offset} is {found}; allowed: {allowed}")]
    Header {
        what: &'static str,
        offset: u64,
        found: u64,
        allowed: &'static str,
    },
    #[error(
        "ELF core: the PT_NOTE segments up to program header {index} have {found} bytes; \
         the file has {len}"
    )]
    SegmentsTooLong { index: u32, found: u64, len: u64 },
    #[error("ELF core: the note at byte {offset} has neither name nor content")]
    EmptyNote { offset: u64 },
    #[error("ELF core: {kind} at byte {offset} has {found} bytes; allowed: {allowed}")]
    NoteLen {
        kind: NoteKind,
        offset: u64,
        found: u64,
        allowed: String,
    },
    #[error("ELF core: {kind} at byte {offset} comes before any NT_PRSTATUS")]
    NobodysNote { kind: NoteKind, offset: u64 },
    #[error("ELF core: a second {kind} of the same thread at byte {offset}")]
    SecondNote { kind: NoteKind, offset: u64 },
    #[error(
        "ELF core: NT_X86_XSAVE_LAYOUT at byte {offset} has component {number}; allowed: {allowed}"
    )]
    LayoutComponent {
        offset: u64,
        number: u32,
        allowed: &'static str,
    },
    #[error("ELF core: it has no NT_PRSTATUS, so no threads")]
    WithoutThreads,
}

impl<R: Read + Seek> Bounded<R> {
    pub(super) fn new(mut file: R) -> Result<Self, CoreError> {
        let failed = |error| CoreError::Read { offset: 0, error };
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok(Self {
            reader: BufReader::new(file),
            position: 0,
            len,
        })
    }

    /// Length of the file in bytes.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// The `N` bytes at `offset`, which are `what`.
    pub(super) fn array<const N: usize>(
        &mut self,
        offset: u64,
        what: &'static str,
    ) -> Result<[u8; N], CoreError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, offset, what)?;
        Ok(bytes)
    }

    /// Fills `bytes` from `offset` on. The caller knows that they are not too many.
    pub(super) fn fill(
        &mut self,
        bytes: &mut [u8],
        offset: u64,
        what: &'static str,
    ) -> Result<(), CoreError> {
        let needed = bytes.len() as u64;
        if offset.checked_add(needed).is_none_or(|end| end > self.len) {
            return Err(CoreError::Truncated {
                what,
                offset,
                needed,
                room: "the file",
                end: self.len,
            });
        }
        let failed = |error| CoreError::Read { offset, error };
        // Within what is buffered this reads nothing.
        match i64::try_from(i128::from(offset) - i128::from(self.position)) {
            Ok(distance) => self.reader.seek_relative(distance).map_err(failed)?,
            Err(_) => {
                self.reader.seek(SeekFrom::Start(offset)).map_err(failed)?;
            }
        }
        self.position = offset;
        self.reader.read_exact(bytes).map_err(failed)?;
        self.position += needed;
        Ok(())
    }
}

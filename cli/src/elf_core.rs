//! ELF cores: the extended state of every thread, without reading what else is in the file.
//!
//! * `bounded` - bytes of a file that may be long, sparse or hostile
//! * `headers` - the ELF header and the `PT_NOTE` segments
//! * `notes` - the notes of a segment
//! * `layout_note` - `NT_X86_XSAVE_LAYOUT`
//!
//! Memory is what the threads' images need: no more than the file is long. Time is that of one walk
//! over the notes: the `PT_NOTE` segments together may not be longer than the file.

mod bounded;
mod headers;
mod notes;
mod layout_note;
#[cfg(test)]
pub(crate) mod made;

use std::io::{Read, Seek};

use bounded::Bounded;
pub(crate) use bounded::CoreError;
use headers::{NoteSegments, Segment};
pub(crate) use layout_note::LayoutNote;
use notes::{Note, NoteKind};

/// What a core says of the extended state of a process.
#[derive(Debug, Default)]
pub(crate) struct ElfCore {
    pub(crate) threads: Vec<CoreThread>,
    /// Of Linux 6.12 and later.
    pub(crate) layout: Option<LayoutNote>,
}

/// One thread: an `NT_PRSTATUS` and the notes up to the next one.
#[derive(Debug)]
pub(crate) struct CoreThread {
    pub(crate) tid: u32,
    /// The signal it got; 0 for none.
    pub(crate) signal: u16,
    /// `NT_PRFPREG`: 512 bytes as of FXSAVE64.
    pub(crate) fpregs: Option<Descriptor>,
    /// `NT_X86_XSTATE`: a standard-format image.
    pub(crate) xstate: Option<Descriptor>,
}

/// The bytes of a note, and where they are in the file.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The first bytes of every ELF file.
pub(crate) const MAGIC: &[u8; 4] = b"\x7fELF";
const LONGEST_IMAGE: u64 = crate::saved_image::LONGEST_IMAGE as u64;
/// Where `struct elf_prstatus` of x86-64 has `pr_cursig` and `pr_pid`.
const CURSIG: usize = 12;
const PID: usize = 32;
/// Its length.
const PRSTATUS_LEN: u64 = 336;

impl ElfCore {
    /// Reads the core that begins at byte 0 of `file`.
    ///
    /// # Errors
    /// What is not as the format has it, and at which byte.
    pub(crate) fn read(file: impl Read + Seek) -> Result<Self, CoreError> {
        let mut file = Bounded::new(file)?;
        let mut core = Self::default();
        let mut segments = NoteSegments::of(&mut file)?;
        while let Some(segment) = segments.next(&mut file)? {
            core.read_segment(&mut file, segment)?;
        }
        if core.threads.is_empty() {
            return Err(CoreError::WithoutThreads);
        }
        Ok(core)
    }

    fn read_segment<R: Read + Seek>(
        &mut self,
        file: &mut Bounded<R>,
        segment: Segment,
    ) -> Result<(), CoreError> {
        let mut at = segment.offset;
        while at < segment.end {
            let note = Note::read(file, at, segment.end)?;
            at = note.end();
            let Some(kind) = note.kind() else { continue };
            match kind {
                NoteKind::PrStatus => {
                    let thread = CoreThread::of(&note.read_descriptor(file, kind, PRSTATUS_LEN)?);
                    self.threads.push(thread);
                }
                NoteKind::XsaveLayout => {
                    let layout = note.read_descriptor(file, kind, layout_note::LONGEST)?;
                    self.layout = Some(LayoutNote::parse(&layout)?);
                }
                NoteKind::PrFpReg => {
                    let fpregs = note.read_descriptor(file, kind, LONGEST_IMAGE)?;
                    let thread = self.threads.last_mut();
                    note.put(kind, thread.map(|thread| &mut thread.fpregs), fpregs)?;
                }
                NoteKind::Xstate => {
                    let xstate = note.read_descriptor(file, kind, LONGEST_IMAGE)?;
                    let thread = self.threads.last_mut();
                    note.put(kind, thread.map(|thread| &mut thread.xstate), xstate)?;
                }
            }
        }
        Ok(())
    }
}

impl CoreThread {
    /// `prstatus` has the length that was asked for.
    fn of(prstatus: &Descriptor) -> Self {
        let bytes = &prstatus.bytes;
        let signal = bytes[CURSIG..]
            .first_chunk()
            .map_or(0, |b| u16::from_le_bytes(*b));
        let tid = bytes[PID..]
            .first_chunk()
            .map_or(0, |b| u32::from_le_bytes(*b));
        Self {
            tid,
            signal,
            fpregs: None,
            xstate: None,
        }
    }
}

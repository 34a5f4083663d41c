//! One note: a header of 12 bytes, a name and a descriptor, each filled up to four bytes.

use std::fmt;
use std::io::{Read, Seek};

use object::elf;

use super::Descriptor;
use super::bounded::{Bounded, CoreError};

/// `NT_X86_XSAVE_LAYOUT` (Linux 6.12, `include/uapi/linux/elf.h`).
const NT_X86_XSAVE_LAYOUT: u32 = 0x205;
const HEADER_LEN: u64 = 12;

/// The notes that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoteKind {
    PrStatus,
    PrFpReg,
    Xstate,
    XsaveLayout,
}

impl fmt::Display for NoteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrStatus => "NT_PRSTATUS",
            Self::PrFpReg => "NT_PRFPREG",
            Self::Xstate => "NT_X86_XSTATE",
            Self::XsaveLayout => "NT_X86_XSAVE_LAYOUT",
        })
    }
}

/// Where a note is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    offset: u64,
    number: u32,
    /// What of the name is looked at; longer names are nobody's here.
    name: [u8; 6],
    name_len: u64,
    descriptor: u64,
    len: u64,
}

impl Note {
    /// The note at `offset` of a segment that ends at `end`.
    pub(super) fn read<R: Read + Seek>(
        file: &mut Bounded<R>,
        offset: u64,
        end: u64,
    ) -> Result<Self, CoreError> {
        let fits = |what, needed: u64| {
            if end - offset < needed {
                let room = "its PT_NOTE segment";
                return Err(CoreError::Truncated {
                    what,
                    offset,
                    needed,
                    room,
                    end,
                });
            }
            Ok(())
        };
        fits("the header of a note", HEADER_LEN)?;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = file.array(offset, "the header of a note")?;
        let name_len = u64::from(u32::from_le_bytes([a, b, c, d]));
        let len = u64::from(u32::from_le_bytes([e, f, g, h]));
        if name_len == 0 && len == 0 {
            return Err(CoreError::EmptyNote { offset });
        }
        let before = HEADER_LEN + name_len.next_multiple_of(4);
        fits("a note", before + len)?;
        let mut name = [0; 6];
        if let Some(name) = usize::try_from(name_len)
            .ok()
            .and_then(|len| name.get_mut(..len))
        {
            file.fill(name, offset + HEADER_LEN, "the name of a note")?;
        }
        Ok(Self {
            offset,
            number: u32::from_le_bytes([i, j, k, l]),
            name,
            name_len,
            descriptor: offset + before,
            len,
        })
    }

    /// Offset of the note behind this one; the last one need not be filled up.
    pub(super) const fn end(&self) -> u64 {
        self.descriptor + self.len.next_multiple_of(4)
    }

    /// What it is, if it is read.
    pub(super) fn kind(&self) -> Option<NoteKind> {
        let name = self.name.get(..usize::try_from(self.name_len).ok()?)?;
        match (name, self.number) {
            (b"CORE\0", number) if number == elf::NT_PRSTATUS.0 => Some(NoteKind::PrStatus),
            (b"CORE\0", number) if number == elf::NT_PRFPREG.0 => Some(NoteKind::PrFpReg),
            (b"LINUX\0", number) if number == elf::NT_X86_XSTATE.0 => Some(NoteKind::Xstate),
            (b"LINUX\0", NT_X86_XSAVE_LAYOUT) => Some(NoteKind::XsaveLayout),
            _ => None,
        }
    }

    /// Its descriptor, which is of this `kind`: 336 bytes of `NT_PRSTATUS`, 512 of `NT_PRFPREG`, of
    /// the others at most `longest`.
    pub(super) fn read_descriptor<R: Read + Seek>(
        &self,
        file: &mut Bounded<R>,
        kind: NoteKind,
        longest: u64,
    ) -> Result<Descriptor, CoreError> {
        let allowed = match kind {
            NoteKind::PrStatus if self.len != longest => longest.to_string(),
            NoteKind::PrFpReg if self.len != 512 => "512".to_owned(),
            NoteKind::XsaveLayout if !self.len.is_multiple_of(16) || self.len > longest => {
                format!("a multiple of 16, at most {longest}")
            }
            NoteKind::Xstate if self.len > longest || self.len < 576 => {
                format!("576 to {longest}")
            }
            NoteKind::PrStatus | NoteKind::PrFpReg | NoteKind::Xstate | NoteKind::XsaveLayout => {
                String::new()
            }
        };
        let (offset, found) = (self.descriptor, self.len);
        let (Ok(len), true) = (usize::try_from(found), allowed.is_empty()) else {
            return Err(CoreError::NoteLen {
                kind,
                offset,
                found,
                allowed,
            });
        };
        let mut bytes = vec![0; len];
        file.fill(&mut bytes, offset, "the content of a note")?;
        Ok(Descriptor { offset, bytes })
    }

    /// Gives `descriptor` to the thread that has the `place` for it, if it has none yet.
    pub(super) fn put(
        &self,
        kind: NoteKind,
        place: Option<&mut Option<Descriptor>>,
        descriptor: Descriptor,
    ) -> Result<(), CoreError> {
        let offset = self.offset;
        match place {
            None => Err(CoreError::NobodysNote { kind, offset }),
            Some(Some(_)) => Err(CoreError::SecondNote { kind, offset }),
            Some(place) => {
                *place = Some(descriptor);
                Ok(())
            }
        }
    }
}

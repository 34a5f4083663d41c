//! The ELF header, and the `PT_NOTE` segments one program header after the other.

use std::io::{Read, Seek};

use object::LittleEndian as Le;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64};
use object::pod;

use super::bounded::{Bounded, CoreError};

/// The bytes of notes: not empty, inside the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) end: u64,
}

/// The walk over the program headers.
#[derive(Debug)]
pub(super) struct NoteSegments {
    /// Offset of the first program header.
    table: u64,
    next: u32,
    count: u32,
    /// Bytes of the `PT_NOTE` segments so far.
    total: u64,
}

const PROGRAM_HEADER_LEN: u64 = 56;

impl NoteSegments {
    /// Reads and judges the ELF header.
    pub(super) fn of<R: Read + Seek>(file: &mut Bounded<R>) -> Result<Self, CoreError> {
        let bytes: [u8; 64] = file.array(0, "the ELF header")?;
        let [_, _, _, _, class, data, ..] = bytes;
        let header = |what, offset, found, allowed| {
            Err(CoreError::Header {
                what,
                offset,
                found,
                allowed,
            })
        };
        if class != elf::ELFCLASS64.0 {
            let allowed = "2, ELFCLASS64 (the cores of 32-bit programs are not read)";
            return header("EI_CLASS", 4, u64::from(class), allowed);
        }
        if data != elf::ELFDATA2LSB.0 {
            return header("EI_DATA", 5, u64::from(data), "1, ELFDATA2LSB");
        }
        let Ok((ehdr, _)) = pod::from_bytes::<FileHeader64<Le>>(&bytes) else {
            return header("the ELF header", 0, 64, "64 bytes");
        };
        let (kind, machine) = (ehdr.e_type.get(Le), ehdr.e_machine.get(Le));
        if kind != elf::ET_CORE {
            return header("e_type", 16, u64::from(kind.0), "4, ET_CORE");
        }
        if machine != elf::EM_X86_64 {
            return header("e_machine", 18, u64::from(machine.0), "62, EM_X86_64");
        }
        let entry_len = u64::from(ehdr.e_phentsize.get(Le));
        if entry_len != PROGRAM_HEADER_LEN {
            return header("e_phentsize", 54, entry_len, "56");
        }
        if ehdr.e_phnum.get(Le) == elf::PN_XNUM && ehdr.e_shoff.get(Le) == 0 {
            let allowed = "the offset of section header 0, which has the count of program headers";
            return header("e_shoff", 40, 0, allowed);
        }
        let count = match ehdr.e_phnum.get(Le) {
            elf::PN_XNUM => count_of_section_0(file, ehdr.e_shoff.get(Le))?,
            count => u32::from(count),
        };
        Ok(Self {
            table: ehdr.e_phoff.get(Le),
            next: 0,
            count,
            total: 0,
        })
    }

    /// The next segment with notes.
    pub(super) fn next<R: Read + Seek>(
        &mut self,
        file: &mut Bounded<R>,
    ) -> Result<Option<Segment>, CoreError> {
        while self.next < self.count {
            let index = self.next;
            self.next += 1;
            let offset = self
                .table
                .saturating_add(u64::from(index) * PROGRAM_HEADER_LEN);
            let bytes: [u8; 56] = file.array(offset, "a program header")?;
            let Ok((header, _)) = pod::from_bytes::<ProgramHeader64<Le>>(&bytes) else {
                continue;
            };
            let (start, len) = (header.p_offset.get(Le), header.p_filesz.get(Le));
            if header.p_type.get(Le) != elf::PT_NOTE || len == 0 {
                continue;
            }
            let Some(end) = start.checked_add(len).filter(|end| *end <= file.len()) else {
                return Err(CoreError::Truncated {
                    what: "a PT_NOTE segment",
                    offset: start,
                    needed: len,
                    room: "the file",
                    end: file.len(),
                });
            };
            // Segments that lie over each other would make the walk quadratic.
            self.total = self.total.saturating_add(len);
            if self.total > file.len() {
                return Err(CoreError::SegmentsTooLong {
                    index,
                    found: self.total,
                    len: file.len(),
                });
            }
            return Ok(Some(Segment { offset: start, end }));
        }
        Ok(None)
    }
}

/// The number of program headers where `e_phnum` has no room for it: `sh_info` of section 0.
fn count_of_section_0<R: Read + Seek>(
    file: &mut Bounded<R>,
    offset: u64,
) -> Result<u32, CoreError> {
    let bytes: [u8; 64] = file.array(offset, "section header 0")?;
    Ok(pod::from_bytes::<SectionHeader64<Le>>(&bytes)
        .map_or(0, |(section, _)| section.sh_info.get(Le)))
}

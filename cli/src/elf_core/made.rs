//! Cores for tests, byte by byte. Also a module of the integration tests.

use std::io::{Cursor, Seek, SeekFrom, Write};

/// Bytes of an ELF core: the header, one `PT_NOTE`, maybe a `PT_LOAD` before the notes.
#[derive(Clone, Debug, Default)]
pub(crate) struct MadeCore {
    notes: Vec<u8>,
    /// Bytes between the program headers and the notes: somebody's memory.
    pub(crate) memory: u64,
}

impl MadeCore {
    /// A note; the name gets its final zero.
    pub(crate) fn note(&mut self, name: &str, number: u32, content: &[u8]) -> &mut Self {
        let name = [name.as_bytes(), b"\0"].concat();
        for number in [name.len(), content.len()] {
            self.notes
                .extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        self.notes.extend(number.to_le_bytes());
        for part in [name.as_slice(), content] {
            self.notes.extend(part);
            self.notes.resize(self.notes.len().next_multiple_of(4), 0);
        }
        self
    }

    /// `NT_PRSTATUS`, `NT_PRFPREG` and `NT_X86_XSTATE` of a thread.
    pub(crate) fn thread(&mut self, tid: u32, signal: u16, xstate: &[u8]) -> &mut Self {
        let mut prstatus = [0; 336];
        prstatus[12..14].copy_from_slice(&signal.to_le_bytes());
        prstatus[32..36].copy_from_slice(&tid.to_le_bytes());
        self.note("CORE", 1, &prstatus);
        self.note("CORE", 2, &xstate[..512]);
        self.note("LINUX", 0x202, xstate)
    }

    /// What stands before the memory: 64 bytes of header and two program headers.
    pub(crate) fn head(&self) -> Vec<u8> {
        const HEADERS: u64 = 64 + 2 * 56;
        let mut head = Vec::new();
        head.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        for half in [4u16, 62] {
            head.extend(half.to_le_bytes());
        }
        head.extend(1u32.to_le_bytes());
        for address in [0u64, 64, 0] {
            head.extend(address.to_le_bytes());
        }
        head.extend(0u32.to_le_bytes());
        for half in [64u16, 56, 2, 64, 0, 0] {
            head.extend(half.to_le_bytes());
        }
        let notes = self.notes.len() as u64;
        for (kind, offset, address, len) in [
            (1u32, HEADERS, 0x1000u64, self.memory),
            (4, HEADERS + self.memory, 0, notes),
        ] {
            head.extend(kind.to_le_bytes());
            head.extend(4u32.to_le_bytes());
            for field in [offset, address, 0, len, len, 1] {
                head.extend(field.to_le_bytes());
            }
        }
        head
    }

    /// Writes the file; its memory is a hole.
    pub(crate) fn write(&self, file: &mut (impl Write + Seek)) {
        file.write_all(&self.head()).unwrap();
        file.seek(SeekFrom::Current(i64::try_from(self.memory).unwrap()))
            .unwrap();
        file.write_all(&self.notes).unwrap();
    }

    /// The file, for little memory.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        self.write(&mut file);
        file.into_inner()
    }
}

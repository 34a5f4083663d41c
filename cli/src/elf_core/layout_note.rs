//! `NT_X86_XSAVE_LAYOUT`: where the components of the core's images lie (Linux 6.12).

use fpstate_arch::{Component, ComponentSet, CpuidRegisters, Enumeration};

use super::Descriptor;
use super::bounded::CoreError;

/// `struct x86_xfeat_component`: type, size, offset, flags.
const ENTRY_LEN: usize = 16;
/// Bytes for every component that is not in the legacy region.
pub(super) const LONGEST: u64 = 61 * ENTRY_LEN as u64;

/// The note's figures as the CPUID leaf 0DH that they were read from.
#[derive(Debug)]
pub(crate) struct LayoutNote {
    /// Of its first entry in the file.
    pub(crate) offset: u64,
    pub(crate) enumeration: Enumeration,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    component: Component,
    len: u32,
    offset: u32,
}

impl LayoutNote {
    pub(super) fn parse(note: &Descriptor) -> Result<Self, CoreError> {
        let mut entries: Vec<Entry> = Vec::new();
        let (words, _) = note.bytes.as_chunks::<ENTRY_LEN>();
        for (entry, index) in words.iter().zip(0..) {
            let entry = Entry::of(entry, note.offset + index * ENTRY_LEN as u64)?;
            if entries
                .iter()
                .any(|other| other.component == entry.component)
            {
                return Err(CoreError::LayoutComponent {
                    offset: note.offset + index * ENTRY_LEN as u64,
                    number: u32::from(entry.component.number()),
                    allowed: "each once",
                });
            }
            entries.push(entry);
        }
        Ok(Self {
            offset: note.offset,
            enumeration: Enumeration::read(|leaf, subleaf| cpuid(&entries, leaf, subleaf)),
        })
    }
}

impl Entry {
    fn of(bytes: &[u8; ENTRY_LEN], offset: u64) -> Result<Self, CoreError> {
        let (words, _) = bytes.as_chunks();
        let [number, len, standard_offset, _flags] =
            [0, 1, 2, 3].map(|i| u32::from_le_bytes(words[i]));
        let component = u8::try_from(number).ok().and_then(Component::from_number);
        match component.filter(|component| !component.is_legacy()) {
            Some(component) => Ok(Self {
                component,
                len,
                offset: standard_offset,
            }),
            None => Err(CoreError::LayoutComponent {
                offset,
                number,
                allowed: "2 to 62",
            }),
        }
    }
}

/// CPUID of a CPU with XSAVE and these components.
fn cpuid(entries: &[Entry], leaf: u32, subleaf: u32) -> CpuidRegisters {
    let nothing = CpuidRegisters::default();
    match (leaf, subleaf) {
        (1, _) => CpuidRegisters {
            ecx: 1 << 26,
            edx: 1 << 24,
            ..nothing
        },
        (0xd, 0) => {
            let all = entries.iter().map(|entry| entry.component);
            let (eax, edx) = all.fold(ComponentSet::LEGACY, ComponentSet::with).halves();
            CpuidRegisters {
                eax,
                edx,
                ..nothing
            }
        }
        (0xd, _) => entries
            .iter()
            .find(|entry| u32::from(entry.component.number()) == subleaf)
            .map_or(nothing, |entry| CpuidRegisters {
                eax: entry.len,
                ebx: entry.offset,
                ..nothing
            }),
        _ => nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate::Layout;

    fn layout_of(note: &[u32]) -> LayoutNote {
        let bytes = note.iter().flat_map(|word| word.to_le_bytes()).collect();
        LayoutNote::parse(&Descriptor {
            offset: 1000,
            bytes,
        })
        .unwrap()
    }

    #[test]
    fn components_are_where_the_note_puts_them() {
        let note = layout_of(&[2, 256, 1024, 0]);
        let layout = Layout::standard(&note.enumeration, ComponentSet::from_bits(7)).unwrap();
        let avx = layout.place_of(Component::Avx).unwrap();
        assert_eq!(avx.range(), 1024..1280);
    }

    /// Also L42.
    #[test]
    fn a_note_without_components_is_that_of_a_cpu_with_x87_and_sse_alone() {
        let note = layout_of(&[]);
        let user = note.enumeration.user_components();
        assert_eq!(user, ComponentSet::LEGACY);
        let layout = Layout::standard(&note.enumeration, user).unwrap();
        assert_eq!(layout.area_len(), 576);
    }
}

//! What CPUID leaf 0DH says of each component, in the model's own terms (SDM 1, 13.2).

use alloc::collections::BTreeMap;

use fpstate_arch::enumeration::ComponentEntry;
use fpstate_arch::{Component, ComponentSet, Enumeration};

/// A component said to be longer than this gets no registers: 128 times the longest one that
/// exists. It keeps a nonsensical enumeration from exhausting memory.
const LONGEST_COMPONENT: u32 = 1 << 20;

/// Where the compacted format may place a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alignment {
    /// Directly behind the one before it.
    None,
    /// At the next multiple of 64 bytes.
    To64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) len: usize,
    /// From byte 0 of a standard-format area.
    pub(crate) standard_offset: usize,
    pub(crate) alignment: Alignment,
}

/// The extended components of one CPU.
#[derive(Clone, Debug)]
pub(crate) struct ComponentTable {
    rows: BTreeMap<Component, Row>,
}

impl ComponentTable {
    pub(crate) fn new(enumeration: &Enumeration) -> Self {
        let rows = enumeration
            .components()
            .difference(ComponentSet::LEGACY)
            .iter()
            .filter_map(|component| Some((component, row(enumeration.entry(component)?)?)))
            .collect();
        Self { rows }
    }

    pub(crate) fn row(&self, component: Component) -> Option<Row> {
        self.rows.get(&component).copied()
    }

    pub(crate) fn lengths(&self) -> impl Iterator<Item = (Component, usize)> {
        self.rows
            .iter()
            .map(|(component, row)| (*component, row.len))
    }
}

fn row(entry: ComponentEntry) -> Option<Row> {
    if entry.len > LONGEST_COMPONENT {
        return None;
    }
    Some(Row {
        len: usize::try_from(entry.len).ok()?,
        standard_offset: usize::try_from(entry.standard_offset).ok()?,
        alignment: if entry.is_aligned_64() {
            Alignment::To64
        } else {
            Alignment::None
        },
    })
}

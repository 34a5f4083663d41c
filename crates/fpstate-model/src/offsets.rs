//! Where the components of the extended region lie (SDM 1, 13.4.3). The library works this out for
//! itself; the two must not share code.

use alloc::vec::Vec;
use core::ops::Range;

use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{Component, ComponentSet, Fault};

use crate::component_table::{Alignment, ComponentTable};

/// One component of the extended region and its bytes, counted from byte 0 of the area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) component: Component,
    pub(crate) range: Range<usize>,
}

/// The standard format: CPUID.(EAX=0DH,ECX=i):EBX is the offset.
pub(crate) fn standard(table: &ComponentTable, components: ComponentSet) -> Vec<Placed> {
    let placed = components.iter().filter_map(|component| {
        let row = table.row(component)?;
        let end = row.standard_offset.saturating_add(row.len);
        Some(Placed {
            component,
            range: row.standard_offset..end,
        })
    });
    placed.collect()
}

/// The compacted format: `format` is XCOMP_BV\[62:0\]; each component follows the one before it.
pub(crate) fn compacted(table: &ComponentTable, format: ComponentSet) -> Vec<Placed> {
    let mut next_feature_offset = EXTENDED_REGION_OFFSET;
    let placed = format.iter().filter_map(|component| {
        let row = table.row(component)?;
        let start = match row.alignment {
            Alignment::None => next_feature_offset,
            Alignment::To64 => next_feature_offset
                .checked_next_multiple_of(64)
                .unwrap_or(usize::MAX),
        };
        next_feature_offset = start.saturating_add(row.len);
        Some(Placed {
            component,
            range: start..next_feature_offset,
        })
    });
    placed.collect()
}

/// Bytes from byte 0 of an area that an instruction reaches when it operates on `placed`: the
/// legacy region and the header belong to it in any case (SDM 1, 13.13).
pub(crate) fn reach(placed: &[Placed]) -> usize {
    placed
        .iter()
        .map(|placed| placed.range.end)
        .fold(EXTENDED_REGION_OFFSET, usize::max)
}

/// Refuses an area that ends before `reach`.
pub(crate) const fn require_reach(area: &[u8], reach: usize) -> Result<(), Fault> {
    let len = area.len();
    if reach <= len {
        Ok(())
    } else {
        Err(Fault::OutsideArea { reach, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded_cpus::{EMERALD_RAPIDS, GENOA};
    use fpstate_arch::Enumeration;
    use fpstate_arch::cpuid::RecordedLeaves;

    fn table(leaves: &[crate::recorded_cpus::Leaf]) -> ComponentTable {
        ComponentTable::new(&Enumeration::read(RecordedLeaves(leaves)))
    }

    fn range(placed: &[Placed], component: Component) -> Range<usize> {
        let found = placed.iter().find(|placed| placed.component == component);
        found.unwrap().range.clone()
    }

    #[test]
    fn the_standard_format_places_components_where_cpuid_says() {
        let placed = standard(&table(&GENOA), ComponentSet::from_bits(0x2e7));
        // The EBX and EAX of the dump.
        assert_eq!(range(&placed, Component::Avx), 0x240..0x340);
        assert_eq!(range(&placed, Component::Pkru), 0x980..0x988);
        assert_eq!(reach(&placed), 0x988);
    }

    #[test]
    fn the_compacted_format_leaves_no_gap_except_to_align() {
        let tables = table(&EMERALD_RAPIDS);
        let tiles_and_pkru = ComponentSet::TILES.with(Component::Pkru);
        let placed = compacted(&tables, tiles_and_pkru.with(Component::X87));
        // PKRU is at 576 and 8 long; XTILECFG and XTILEDATA have ECX[1] = 1: 640, then 704.
        assert_eq!(range(&placed, Component::Pkru), 576..584);
        assert_eq!(range(&placed, Component::TileConfig), 640..704);
        assert_eq!(range(&placed, Component::TileData), 704..704 + 8192);
    }

    #[test]
    fn an_area_has_its_header_even_without_a_component() {
        assert_eq!(reach(&[]), 576);
    }

    #[test]
    fn a_nonsensical_offset_reaches_beyond_every_area_and_does_not_wrap() {
        let mut leaves = GENOA;
        for (leaf, subleaf, registers) in &mut leaves {
            if (*leaf, *subleaf) == (0xd, 2) {
                registers.ebx = u32::MAX;
            }
        }
        let placed = standard(&table(&leaves), ComponentSet::from_bits(0x4));
        assert_eq!(reach(&placed), 0xffff_ffff + 0x100);
    }
}

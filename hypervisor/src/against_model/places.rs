//! Where components lie in areas that the cases are made of and looked at by.

use alloc::vec::Vec;
use core::ops::Range;

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{Component, ComponentSet, Enumeration, XsaveHeader};

/// The bytes of an extended component.
pub type Place = (Component, Range<usize>);

fn number(figure: u32) -> usize {
    usize::try_from(figure).unwrap_or(usize::MAX)
}

/// Each user component at its offset (SDM 1, 13.4.3).
#[must_use]
pub fn standard(enumeration: &Enumeration) -> Vec<Place> {
    let user = enumeration.user_components().iter();
    let entries = user.filter_map(|component| Some((component, enumeration.entry(component)?)));
    entries
        .map(|(component, entry)| {
            let first = number(entry.standard_offset);
            (component, first..first + number(entry.len))
        })
        .collect()
}

/// One after the other (SDM 1, 13.4.3).
#[must_use]
pub fn compacted(enumeration: &Enumeration, room: ComponentSet) -> Vec<Place> {
    let mut end = EXTENDED_REGION_OFFSET;
    let entries = room
        .iter()
        .filter_map(|component| Some((component, enumeration.entry(component)?)));
    entries
        .map(|(component, entry)| {
            if entry.is_aligned_64() {
                end = end.next_multiple_of(64);
            }
            let first = end;
            end += number(entry.len);
            (component, first..end)
        })
        .collect()
}

/// At least what any area of this CPU has, a multiple of 64.
#[must_use]
pub fn most_bytes(enumeration: &Enumeration) -> usize {
    let all = compacted(enumeration, enumeration.components());
    let ends = standard(enumeration).into_iter().chain(all);
    let last = ends.map(|(_, place)| place.end).max();
    last.unwrap_or(EXTENDED_REGION_OFFSET).next_multiple_of(64)
}

/// The header of an area.
///
/// # Panics
/// If it has none.
#[must_use]
pub fn header_of(area: &[u8]) -> XsaveHeader {
    let header = area[LEGACY_REGION_LEN..].first_chunk();
    XsaveHeader::from_bytes(header.expect("a header"))
}

/// Replaces the header.
///
/// # Panics
/// If the area has none.
pub fn set_header(area: &mut [u8], header: &XsaveHeader) {
    area[LEGACY_REGION_LEN..EXTENDED_REGION_OFFSET].copy_from_slice(&header.to_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::CpuidRegisters;
    use fpstate_arch::cpuid::RecordedLeaves;

    const fn leaf(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuidRegisters {
        CpuidRegisters { eax, ebx, ecx, edx }
    }

    #[test]
    fn compacted_components_lie_at_the_next_multiple_of_64_where_cpuid_says_so() {
        let leaves = [
            (0x1, 0, leaf(0, 0, 1 << 26, 1 << 24)),
            (0xd, 0, leaf(0x2_0207, 0, 0, 0)),
            (0xd, 1, leaf(0xf, 0, 0, 0)),
            (0xd, 2, leaf(256, 576, 0, 0)),
            (0xd, 9, leaf(8, 2688, 0, 0)),
            (0xd, 17, leaf(64, 2752, 2, 0)),
        ];
        let enumeration = Enumeration::read(RecordedLeaves(&leaves));
        let room = ComponentSet::from_bits(0x2_0207);
        let [avx, pkru, tiles] = &compacted(&enumeration, room)[..] else {
            unreachable!("three components");
        };
        assert_eq!(avx, &(Component::Avx, 576..832));
        assert_eq!(pkru, &(Component::Pkru, 832..840));
        assert_eq!(tiles, &(Component::TileConfig, 896..960));
        assert_eq!(most_bytes(&enumeration), 2816);
    }
}

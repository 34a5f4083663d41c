//! What lies where in an area, for people and for what the comparison allows.

use std::ops::Range;

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::{COMPACTED_BIT, EXTENDED_REGION_OFFSET};
use fpstate_arch::{Component, Enumeration};

use super::case::header_of;

/// The bytes of `component` in a standard-format area; MXCSR belongs to none.
pub(super) fn standard_places(
    enumeration: &Enumeration,
    component: Component,
) -> Vec<Range<usize>> {
    if component == Component::X87 {
        return vec![0..24, 32..160];
    }
    if component == Component::Sse {
        return std::iter::once(160..416).collect();
    }
    let number = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    enumeration
        .entry(component)
        .map(|entry| number(entry.standard_offset)..number(entry.standard_offset + entry.len))
        .into_iter()
        .collect()
}

/// What lies at `offset` of an area, going by its own header.
pub(super) fn name_of(area: &[u8], offset: usize, on: &Enumeration) -> String {
    let fixed = match offset {
        24..28 => "MXCSR",
        28..32 => "MXCSR_MASK",
        0..160 => "x87",
        160..416 => "SSE",
        416..LEGACY_REGION_LEN => "unused bytes of the legacy region",
        512..520 => "XSTATE_BV",
        520..528 => "XCOMP_BV",
        528..EXTENDED_REGION_OFFSET => "reserved bytes of the header",
        EXTENDED_REGION_OFFSET.. => return name_in_extended_region(area, offset, on),
    };
    fixed.into()
}

fn name_in_extended_region(area: &[u8], offset: usize, on: &Enumeration) -> String {
    let header = header_of(area);
    let mut next = EXTENDED_REGION_OFFSET;
    for component in on.components().iter() {
        let Some(entry) = on.entry(component) else {
            continue;
        };
        let len = usize::try_from(entry.len).unwrap_or(usize::MAX);
        let start = if header.xcomp_bv & COMPACTED_BIT == 0 {
            usize::try_from(entry.standard_offset).unwrap_or(usize::MAX)
        } else if header.xcomp_bv_components().contains(component) {
            let start = if entry.is_aligned_64() {
                next.next_multiple_of(64)
            } else {
                next
            };
            next = start.saturating_add(len);
            start
        } else {
            continue;
        };
        if (start..start.saturating_add(len)).contains(&offset) {
            return format!("{component} + {}", offset - start);
        }
    }
    "no component".into()
}

//! An area as ranges of bytes, each with what lies there, and as the rows of a picture. The
//! terminal and the SVG show the same one.

use std::ops::Range;

use fpstate::Layout;
use fpstate_arch::enumeration::ComponentEntry;
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{Component, Format};

/// Rows of 512 bytes are easiest to read: the legacy region is one.
const LEAST_ROW_LEN: usize = 512;
/// Longest picture; a row has more bytes where the area needs it.
const MOST_ROWS: usize = 32;

/// What lies in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// x87 and SSE, whatever the components.
    LegacyRegion,
    Header,
    Component(Component),
    /// Bytes of the standard format that are nobody's.
    Hole,
    /// Bytes that the compacted format leaves out before an aligned component.
    AlignmentGap,
}

/// A range of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) content: Content,
    /// Counted from byte 0 of the area.
    pub(crate) range: Range<usize>,
    /// Of the start in the compacted format, in bytes; `None` for what has a fixed place.
    pub(crate) alignment: Option<u32>,
}

/// All bytes of an area.
#[derive(Clone, Debug)]
pub(crate) struct AreaPicture {
    pub(crate) format: Format,
    pub(crate) area_len: usize,
    /// In the order of their offsets, without a gap.
    pub(crate) parts: Vec<Part>,
}

/// Some bytes of one part, in one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Place in [`AreaPicture::parts`].
    pub(crate) part: usize,
    pub(crate) range: Range<usize>,
}

/// As many bytes as a row of the picture has.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) offset: usize,
    pub(crate) segments: Vec<Segment>,
}

impl Part {
    /// What lies there, in a word or two.
    pub(crate) fn name(&self) -> String {
        match self.content {
            Content::LegacyRegion => "legacy region".to_owned(),
            Content::Header => "XSAVE header".to_owned(),
            Content::Component(component) => component.to_string(),
            Content::Hole => "hole".to_owned(),
            Content::AlignmentGap => "alignment gap".to_owned(),
        }
    }

    /// Whether the bytes are nobody's.
    pub(crate) const fn is_gap(&self) -> bool {
        match self.content {
            Content::Hole | Content::AlignmentGap => true,
            Content::LegacyRegion | Content::Header | Content::Component(_) => false,
        }
    }
}

impl AreaPicture {
    pub(crate) fn of(layout: &Layout<'_>) -> Self {
        let mut placed: Vec<_> = layout.extended_components().collect();
        placed.sort_by_key(|placed| placed.offset());
        let (gap, aligned) = match layout.format() {
            Format::Fxsave | Format::Standard => (Content::Hole, Alignment::FixedPlaces),
            Format::Compacted => (Content::AlignmentGap, Alignment::OfEachStart),
        };
        let mut parts = vec![
            fixed(Content::LegacyRegion, 0..LEGACY_REGION_LEN),
            fixed(Content::Header, LEGACY_REGION_LEN..EXTENDED_REGION_OFFSET),
        ];
        let mut end = EXTENDED_REGION_OFFSET;
        for placed in placed {
            let (component, range) = (placed.component(), placed.range());
            if end < range.start {
                parts.push(fixed(gap, end..range.start));
            }
            end = range.end;
            let alignment = match aligned {
                Alignment::FixedPlaces => None,
                Alignment::OfEachStart => Some(alignment_of(layout.enumeration().entry(component))),
            };
            parts.push(Part {
                content: Content::Component(component),
                range,
                alignment,
            });
        }
        Self {
            format: layout.format(),
            area_len: layout.area_len(),
            parts,
        }
    }

    /// Bytes that are nobody's.
    pub(crate) fn gap_len(&self) -> usize {
        let gaps = self.parts.iter().filter(|part| part.is_gap());
        gaps.map(|part| part.range.len()).sum()
    }

    /// Bytes in a row: a power of two.
    pub(crate) fn row_len(&self) -> usize {
        self.area_len
            .div_ceil(MOST_ROWS)
            .next_power_of_two()
            .max(LEAST_ROW_LEN)
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let offsets = (0..self.area_len).step_by(self.row_len());
        offsets
            .map(|offset| Row {
                offset,
                segments: self.segments(offset..offset.saturating_add(self.row_len())),
            })
            .collect()
    }

    fn segments(&self, row: Range<usize>) -> Vec<Segment> {
        let parts = self.parts.iter().enumerate();
        parts
            .map(|(part, Part { range, .. })| Segment {
                part,
                range: range.start.max(row.start)..range.end.min(row.end),
            })
            .filter(|segment| !segment.range.is_empty())
            .collect()
    }
}

#[derive(Clone, Copy)]
enum Alignment {
    FixedPlaces,
    OfEachStart,
}

const fn fixed(content: Content, range: Range<usize>) -> Part {
    Part {
        content,
        range,
        alignment: None,
    }
}

/// The alignment that CPUID asks for in the compacted format.
pub(crate) fn alignment_of(entry: Option<ComponentEntry>) -> u32 {
    if entry.is_some_and(ComponentEntry::is_aligned_64) {
        64
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::{Enumeration, cpuid::RecordedLeaves};
    use fpstate_model::Profile;

    fn enumeration(profile: Profile) -> Enumeration {
        Enumeration::read(RecordedLeaves(&profile.leaves()))
    }

    #[test]
    fn the_parts_cover_the_area_without_gap_or_overlap() {
        for profile in Profile::ALL {
            let cpu = enumeration(*profile);
            let standard = Layout::standard(&cpu, cpu.user_components()).unwrap();
            let compacted = Layout::compacted(&cpu, cpu.components()).ok();
            for layout in [Some(standard), compacted].into_iter().flatten() {
                let picture = AreaPicture::of(&layout);
                let mut end = 0;
                for part in &picture.parts {
                    assert_eq!(part.range.start, end, "{}: {part:?}", profile.name());
                    end = part.range.end;
                }
                assert_eq!(end, layout.area_len());
                let drawn: usize = picture
                    .rows()
                    .iter()
                    .flat_map(|row| &row.segments)
                    .map(|segment| segment.range.len())
                    .sum();
                assert_eq!(drawn, layout.area_len(), "{}", profile.name());
            }
        }
    }

    #[test]
    fn sapphire_rapids_has_holes_where_mpx_was_and_before_the_tiles() {
        let cpu = enumeration(Profile::SAPPHIRE_RAPIDS);
        let layout = Layout::standard(&cpu, cpu.user_components()).unwrap();
        let picture = AreaPicture::of(&layout);
        let holes: Vec<_> = picture
            .parts
            .iter()
            .filter(|part| part.content == Content::Hole)
            .map(|part| part.range.clone())
            .collect();
        // The dump: AVX ends at 340H, opmask begins at 440H; PKRU ends at A88H, XTILECFG is at AC0H.
        assert_eq!(holes, [0x340..0x440, 0xa88..0xac0]);
        assert_eq!(picture.gap_len(), 0x100 + 0x38);
    }

    #[test]
    fn the_components_of_apx_are_drawn_in_the_order_of_their_offsets() {
        let cpu = enumeration(Profile::APX_SYNTHETIC);
        let layout = Layout::standard(&cpu, cpu.user_components()).unwrap();
        let picture = AreaPicture::of(&layout);
        let place = |name: &str| picture.parts.iter().position(|part| part.name() == name);
        assert!(place("AVX") < place("APX") && place("APX") < place("opmask"));
    }

    #[test]
    fn an_area_of_gigabytes_has_no_more_rows_than_another() {
        let picture = AreaPicture {
            format: Format::Standard,
            area_len: 0x1_ffff_fffe,
            parts: vec![fixed(Content::LegacyRegion, 0..0x1_ffff_fffe)],
        };
        assert_eq!(picture.rows().len(), MOST_ROWS);
    }
}

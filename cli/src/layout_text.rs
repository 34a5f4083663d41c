//! The picture of an area in the terminal: one character for some bytes, and a table.

use std::io;

use crate::layout_picture::{AreaPicture, Content, Row, Segment};
use crate::output::{align_right, print_line, print_table, table};

/// Characters in a row.
const CELLS: usize = 64;
/// The character of bytes that are nobody's.
const GAP: char = '.';

pub(crate) fn print(picture: &AreaPicture) -> io::Result<()> {
    let row_len = picture.row_len();
    print_line(&format!(
        "one character is {} bytes, one line {row_len}",
        row_len / CELLS
    ))?;
    let keys = keys(picture);
    let lines: Vec<_> = picture
        .rows()
        .iter()
        .map(|row| (row.offset, cells(row, row_len, &keys)))
        .collect();
    let mut repeated = 0;
    for (place, (offset, cells)) in lines.iter().enumerate() {
        // As hexdump does: rows like the one before and the one behind are left out.
        let neighbours = [place.wrapping_sub(1), place + 1];
        if neighbours
            .iter()
            .all(|&other| lines.get(other).is_some_and(|(_, other)| other == cells))
        {
            repeated += 1;
            continue;
        }
        print_repeated(&mut repeated)?;
        print_line(&format!("{offset:>9}  {cells}"))?;
    }
    print_legend(picture, &keys)
}

fn print_repeated(repeated: &mut usize) -> io::Result<()> {
    match std::mem::take(repeated) {
        0 => Ok(()),
        1 => print_line("        :  1 more line of these"),
        rows => print_line(&format!("        :  {rows} more lines of these")),
    }
}

/// The character of each part: L and H, a to z for components in the order of their offsets.
fn keys(picture: &AreaPicture) -> Vec<char> {
    let mut letters = ('a'..='z')
        .chain('A'..='G')
        .chain('I'..='K')
        .chain('M'..='Z');
    let keys = picture.parts.iter().map(|part| match part.content {
        Content::LegacyRegion => 'L',
        Content::Header => 'H',
        Content::Component(_) => letters.next().unwrap_or('#'),
        Content::Hole | Content::AlignmentGap => GAP,
    });
    keys.collect()
}

/// A part that begins within a cell has it, and nobody's bytes only a cell of their own: no part
/// gets lost because it is small.
fn cells(row: &Row, row_len: usize, keys: &[char]) -> String {
    let cell_len = row_len / CELLS;
    let mut cells = [' '; CELLS];
    let key = |segment: &Segment| keys.get(segment.part).copied().unwrap_or('#');
    let (gaps, parts): (Vec<_>, Vec<_>) = row
        .segments
        .iter()
        .partition(|&segment| key(segment) == GAP);
    for segment in gaps.into_iter().chain(parts) {
        let first = (segment.range.start - row.offset) / cell_len;
        let end = (segment.range.end - row.offset).div_ceil(cell_len);
        if let Some(cells) = cells.get_mut(first..end) {
            cells.fill(key(segment));
        }
    }
    cells.iter().collect::<String>().trim_end().to_owned()
}

fn print_legend(picture: &AreaPicture, keys: &[char]) -> io::Result<()> {
    let columns = ["", "number", "what", "offset", "bytes", "align"];
    // Only the compacted format aligns.
    let has_alignments = picture.parts.iter().any(|part| part.alignment.is_some());
    let shown = if has_alignments { 6 } else { 5 };
    let mut table = table(columns.get(..shown).unwrap_or(&columns));
    for (part, key) in picture.parts.iter().zip(keys) {
        let number = match part.content {
            Content::LegacyRegion => "0, 1".to_owned(),
            Content::Component(component) => component.number().to_string(),
            Content::Header | Content::Hole | Content::AlignmentGap => String::new(),
        };
        let alignment = part.alignment.map(|bytes| bytes.to_string());
        let cells = [
            key.to_string(),
            number,
            part.name(),
            part.range.start.to_string(),
            part.range.len().to_string(),
            alignment.unwrap_or_default(),
        ];
        table.add_row(cells.into_iter().take(shown));
    }
    align_right(&mut table, &[1, 3, 4, 5]);
    print_table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_smaller_than_a_character_is_shown() {
        let segment = |part, range| Segment { part, range };
        let row = Row {
            offset: 512,
            segments: vec![
                segment(0, 512..576),
                segment(1, 576..580),
                segment(2, 580..600),
                segment(3, 600..602),
            ],
        };
        assert_eq!(cells(&row, 512, &['H', 'a', GAP, 'b']), "HHHHHHHHa..b");
    }
}

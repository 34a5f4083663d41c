//! The picture of an area as an SVG of README's width: rows of bytes at the left, a legend at the
//! right. It has its own background and follows a light or dark scheme; there is no script in it.

use std::fmt::{self, Write};

use fpstate_arch::Component;

use crate::layout_picture::{AreaPicture, Content, Part};
use crate::svg_text::{Escaped, write_text};

/// Everything in pixels.
const WIDTH: usize = 900;
const STRIP_X: usize = 72;
const STRIP_WIDTH: usize = 512;
const LEGEND_X: usize = 612;
const TOP: usize = 84;
const ROW_PITCH: usize = 22;
const ROW_HEIGHT: usize = 20;
const BOTTOM: usize = 20;
/// Of the letters in the strip, on average.
const LETTER_WIDTH: usize = 7;

const STYLE: &str = "\
text{font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:12px;fill:#1f2328}
.title{font-size:16px;font-weight:600}
.muted{fill:#59636e}
.number{text-anchor:end}
.in{font-size:11px;fill:#1f2328;text-anchor:middle}
.paper{fill:#ffffff;stroke:#d1d9e0}
.part{stroke:#ffffff}
.hole{fill:#f6f8fa}
.hatch{stroke:#8c959f;stroke-width:1.5}
@media(prefers-color-scheme:dark){
text{fill:#f0f6fc}
.muted{fill:#9198a1}
.in{fill:#1f2328}
.paper{fill:#0d1117;stroke:#3d444d}
.part{stroke:#0d1117}
.hole{fill:#151b23}
.hatch{stroke:#7d8590}
}";

/// What the picture says beside the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caption<'c> {
    pub(crate) title: &'c str,
    pub(crate) subtitle: &'c str,
    /// The command that draws it again.
    pub(crate) command: &'c str,
}

/// The whole file.
pub(crate) fn draw(picture: &AreaPicture, caption: Caption<'_>) -> String {
    let mut svg = String::new();
    // Writing to a string does not fail.
    let _ = write_svg(&mut svg, picture, caption);
    svg
}

fn write_svg(svg: &mut String, picture: &AreaPicture, caption: Caption<'_>) -> fmt::Result {
    let lines = picture.rows().len().max(picture.parts.len());
    let height = TOP + lines * ROW_PITCH + BOTTOM;
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">"#
    )?;
    writeln!(svg, "<title>{}</title>", Escaped(caption.title))?;
    // A comment could not hold the two hyphens of an option.
    writeln!(svg, "<desc>Made by: {}</desc>", Escaped(caption.command))?;
    writeln!(svg, "<style>{STYLE}</style>")?;
    writeln!(
        svg,
        r#"<defs><pattern id="nobodys" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hole" width="6" height="6"/><line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>"#
    )?;
    writeln!(
        svg,
        r#"<rect class="paper" x="0.5" y="0.5" width="{}" height="{}" rx="6"/>"#,
        WIDTH - 1,
        height - 1
    )?;
    write_text(svg, 20, 32, "title", caption.title)?;
    write_text(svg, 20, 54, "muted", caption.subtitle)?;
    write_strip(svg, picture)?;
    write_legend(svg, picture)?;
    writeln!(svg, "</svg>")
}

/// One bar in the picture.
struct Bar<'p> {
    part: &'p Part,
    place: usize,
    x: usize,
    y: usize,
    width: usize,
}

fn bars(picture: &AreaPicture) -> Vec<Bar<'_>> {
    let row_len = picture.row_len();
    let pixels = |bytes: usize| bytes * STRIP_WIDTH / row_len;
    let mut bars = Vec::new();
    for (row, y) in picture.rows().iter().zip((TOP..).step_by(ROW_PITCH)) {
        for segment in &row.segments {
            let Some(part) = picture.parts.get(segment.part) else {
                continue;
            };
            let x = pixels(segment.range.start - row.offset);
            bars.push(Bar {
                part,
                place: segment.part,
                x: STRIP_X + x,
                y,
                width: (pixels(segment.range.end - row.offset) - x).max(1),
            });
        }
    }
    bars
}

fn write_strip(svg: &mut String, picture: &AreaPicture) -> fmt::Result {
    for (row, y) in picture.rows().iter().zip((TOP..).step_by(ROW_PITCH)) {
        write_text(svg, STRIP_X - 8, y + 14, "number muted", row.offset)?;
    }
    let bars = bars(picture);
    for bar in &bars {
        writeln!(
            svg,
            r#"<rect class="part" x="{}" y="{}" width="{}" height="{ROW_HEIGHT}" fill="{}"><title>{}: bytes {} to {}</title></rect>"#,
            bar.x,
            bar.y,
            bar.width,
            colour(bar.part.content),
            Escaped(bar.part.name()),
            bar.part.range.start,
            bar.part.range.end - 1
        )?;
    }
    for place in 0..picture.parts.len() {
        let of_part: Vec<_> = bars.iter().filter(|bar| bar.place == place).collect();
        let widest = of_part.iter().map(|bar| bar.width).max().unwrap_or(0);
        let widest: Vec<_> = of_part.iter().filter(|bar| bar.width == widest).collect();
        // The middle one of those that are as wide, so that tile data has its name in the middle.
        if let Some(bar) = widest.get(widest.len() / 2)
            && let Some(label) = label(bar.part, bar.width)
        {
            write_text(svg, bar.x + bar.width / 2, bar.y + 14, "in", label)?;
        }
    }
    Ok(())
}

/// What fits into a bar: the name, or the component's number as in the legend, or nothing.
fn label(part: &Part, width: usize) -> Option<String> {
    let number = match part.content {
        Content::Component(component) => component.number().to_string(),
        Content::LegacyRegion | Content::Header => String::new(),
        Content::Hole | Content::AlignmentGap => return None,
    };
    let name = match part.content {
        Content::LegacyRegion => "legacy region: x87, SSE".to_owned(),
        Content::Header => "header".to_owned(),
        Content::Component(_) | Content::Hole | Content::AlignmentGap => part.name(),
    };
    [name, number]
        .into_iter()
        .find(|text| !text.is_empty() && text.len() * LETTER_WIDTH <= width + 1)
}

fn write_legend(svg: &mut String, picture: &AreaPicture) -> fmt::Result {
    let (offset_x, len_x, align_x) = (LEGEND_X + 176, LEGEND_X + 222, LEGEND_X + 266);
    write_text(svg, offset_x, TOP - 10, "number muted", "offset")?;
    write_text(svg, len_x, TOP - 10, "number muted", "bytes")?;
    let has_alignments = picture.parts.iter().any(|part| part.alignment.is_some());
    if has_alignments {
        write_text(svg, align_x, TOP - 10, "number muted", "align")?;
    }
    for (part, y) in picture.parts.iter().zip((TOP..).step_by(ROW_PITCH)) {
        writeln!(
            svg,
            r#"<rect class="part" x="{LEGEND_X}" y="{}" width="14" height="14" fill="{}"/>"#,
            y + 3,
            colour(part.content)
        )?;
        if let Content::Component(component) = part.content {
            write_text(
                svg,
                LEGEND_X + 36,
                y + 14,
                "number muted",
                component.number(),
            )?;
        }
        write_text(svg, LEGEND_X + 44, y + 14, "name", part.name())?;
        write_text(svg, offset_x, y + 14, "number", part.range.start)?;
        write_text(svg, len_x, y + 14, "number", part.range.len())?;
        if let Some(alignment) = part.alignment {
            write_text(svg, align_x, y + 14, "number", alignment)?;
        }
    }
    Ok(())
}

/// Light enough for dark letters in either scheme. AVX and AVX-512 are blue, tiles orange, what the
/// supervisor manages green.
const fn colour(content: Content) -> &'static str {
    match content {
        Content::LegacyRegion => "#c3ccd6",
        Content::Header => "#dfc27d",
        Content::Hole | Content::AlignmentGap => "url(#nobodys)",
        Content::Component(component) => match component {
            Component::X87 | Component::Sse => "#c3ccd6",
            Component::Avx => "#a6cee3",
            Component::BndRegs => "#d9c7e8",
            Component::BndCsr => "#c5a9dd",
            Component::Opmask => "#54aeff",
            Component::ZmmHi256 => "#80ccff",
            Component::Hi16Zmm => "#6fb1e0",
            Component::Pt => "#d3e4a8",
            Component::Pkru => "#ff8182",
            Component::Pasid => "#f2e394",
            Component::CetU => "#7fd18b",
            Component::CetS => "#aceebb",
            Component::Hdc => "#c9d99e",
            Component::Uintr => "#7fcdbb",
            Component::Lbr => "#9fd8a4",
            Component::Hwp => "#e8f0b0",
            Component::TileConfig => "#fb8f44",
            Component::TileData => "#ffc680",
            Component::Apx => "#d8b9ff",
            Component::Unnamed(_) => "#f0c6dd",
        },
    }
}

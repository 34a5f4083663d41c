//! `fpstate layout`

use std::fs;
use std::path::PathBuf;

use fpstate::Layout;
use fpstate_arch::{ComponentSet, Enumeration, Format};
use serde::Serialize;

use crate::arguments::LayoutArguments;
use crate::component_list::{ComponentsError, names, parse};
use crate::cpu_choice::{CpuChoice, OddityReport};
use crate::image_arguments::AreaFormat;
use crate::layout_picture::{AreaPicture, Content, Part};
use crate::layout_svg::{self, Caption};
use crate::layout_text;
use crate::output::{print_json, print_line};
use crate::{Answer, CommandError};

/// An area in JSON.
#[derive(Debug, Serialize)]
struct LayoutReport {
    cpu: String,
    source: String,
    format: String,
    /// The bitmap, and its components by name.
    components: u64,
    component_names: Vec<String>,
    /// In bytes, from byte 0 to the end of the component that ends last.
    area_len: usize,
    /// Bytes that are nobody's.
    gap_len: usize,
    /// In the order of their offsets; together they are the whole area.
    parts: Vec<PartReport>,
    oddities: Vec<OddityReport>,
}

/// A range of bytes.
#[derive(Debug, Serialize)]
struct PartReport {
    kind: &'static str,
    /// `null` for what is no component.
    number: Option<u8>,
    name: String,
    offset: usize,
    len: usize,
    /// In bytes, in the compacted format; `null` for what has a fixed place.
    alignment: Option<u32>,
}

pub(crate) fn execute(arguments: &LayoutArguments) -> Result<Answer, CommandError> {
    let cpu = CpuChoice::of(arguments.cpu.as_deref())?;
    let components = components(arguments, &cpu.enumeration)?;
    let layout = match arguments.format {
        AreaFormat::Standard => Layout::standard(&cpu.enumeration, components)?,
        AreaFormat::Compacted => Layout::compacted(&cpu.enumeration, components)?,
    };
    let picture = AreaPicture::of(&layout);
    if let Some(path) = &arguments.svg {
        write_svg(arguments, &cpu, &picture, path)?;
    }
    if arguments.json {
        print_json(&LayoutReport::of(&cpu, &layout, &picture))?;
        return Ok(Answer::Yes);
    }
    print_line(&title(&cpu, &picture))?;
    print_line(&format!(
        "{}; components {components}",
        cpu.source.description()
    ))?;
    layout_text::print(&picture)?;
    print_line(&format!("{} bytes are nobody's", picture.gap_len()))?;
    for oddity in &cpu.oddities {
        print_line(&format!("odd: {oddity}"))?;
    }
    Ok(Answer::Yes)
}

/// The components asked for; otherwise all that the format has room for.
fn components(
    arguments: &LayoutArguments,
    cpu: &Enumeration,
) -> Result<ComponentSet, ComponentsError> {
    match (&arguments.components, arguments.format) {
        (Some(list), AreaFormat::Standard | AreaFormat::Compacted) => parse(list, cpu),
        (None, AreaFormat::Standard) => Ok(cpu.user_components()),
        (None, AreaFormat::Compacted) => Ok(cpu.components()),
    }
}

fn title(cpu: &CpuChoice, picture: &AreaPicture) -> String {
    format!(
        "{}: XSAVE area in the {} format, {} bytes",
        cpu.name, picture.format, picture.area_len
    )
}

fn write_svg(
    arguments: &LayoutArguments,
    cpu: &CpuChoice,
    picture: &AreaPicture,
    path: &PathBuf,
) -> Result<(), CommandError> {
    let caption = Caption {
        title: &title(cpu, picture),
        subtitle: &format!(
            "{}; one row is {} bytes; hatched: {} bytes that are nobody's",
            cpu.source.description(),
            picture.row_len(),
            picture.gap_len()
        ),
        command: &command(arguments, cpu, picture.format),
    };
    let svg = layout_svg::draw(picture, caption);
    fs::write(path, svg).map_err(|error| CommandError::Svg {
        path: path.clone(),
        error,
    })
}

/// The command line that draws the picture.
fn command(arguments: &LayoutArguments, cpu: &CpuChoice, format: Format) -> String {
    let mut command = "fpstate layout".to_owned();
    if let Some(argument) = cpu.source.argument() {
        command += &format!(" --cpu {}", argument.display());
    }
    if let Some(list) = &arguments.components {
        command += &format!(" --components {list}");
    }
    command += &format!(" --format {format}");
    if let Some(path) = &arguments.svg {
        command += &format!(" --svg {}", path.display());
    }
    command
}

impl LayoutReport {
    fn of(cpu: &CpuChoice, layout: &Layout<'_>, picture: &AreaPicture) -> Self {
        Self {
            cpu: cpu.name.clone(),
            source: cpu.source.description(),
            format: layout.format().to_string(),
            components: layout.components().bits(),
            component_names: names(layout.components()),
            area_len: layout.area_len(),
            gap_len: picture.gap_len(),
            parts: picture.parts.iter().map(PartReport::of).collect(),
            oddities: cpu.oddity_reports(),
        }
    }
}

impl PartReport {
    fn of(part: &Part) -> Self {
        let (kind, number) = match part.content {
            Content::LegacyRegion => ("legacy region", None),
            Content::Header => ("header", None),
            Content::Component(component) => ("component", Some(component.number())),
            Content::Hole => ("hole", None),
            Content::AlignmentGap => ("alignment gap", None),
        };
        Self {
            kind,
            number,
            name: part.name(),
            offset: part.range.start,
            len: part.range.len(),
            alignment: part.alignment,
        }
    }
}

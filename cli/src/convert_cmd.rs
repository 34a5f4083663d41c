//! `fpstate convert`

use std::io;

use fpstate::{ImageState, Loss, LossError};
use fpstate_arch::{Component, Enumeration, Xcr0};
use serde::Serialize;

use crate::baseline::user_components;
use crate::component_list::{self, ComponentsError, joined, names};
use crate::conversion::{ConversionError, Converted, Kept, Refusal, TargetFormat, convert};
use crate::cpu_choice::CpuChoice;
use crate::image_arguments::{AreaFormat, ConvertArguments};
use crate::image_maker::Maker;
use crate::output::{align_right, print_json, print_line, print_table, table};
use crate::replace_file::replace;
use crate::saved_file::SavedFile;
use crate::saved_image::SavedImage;
use crate::{Answer, CommandError};

/// What became of an image.
#[derive(Debug, Serialize)]
struct ConvertReport {
    converted: bool,
    /// Why not; `null` where it was.
    reason: Option<String>,
    image: ImageReport,
    /// Of a core; `null` for other files.
    thread: Option<u32>,
    /// `null` where nothing was written.
    output: Option<ImageReport>,
    /// Why of a signal frame the first 512 bytes alone are converted; `null` for all of it.
    fx_only: Option<String>,
    /// What a snapshot has beside its image, which is all that is written.
    not_in_output: Vec<String>,
    /// Components in use, by name.
    live: Vec<String>,
    /// Announced by the image and left out, as `--loss` permits.
    dropped: Vec<String>,
    /// Extended components in use that were kept.
    kept: Vec<KeptReport>,
    /// What would be lost and may not be.
    refused: Vec<RefusedReport>,
}

#[derive(Debug, Serialize)]
struct ImageReport {
    path: String,
    cpu: String,
    source: String,
    format: String,
    /// In bytes.
    len: usize,
}

#[derive(Debug, Serialize)]
struct KeptReport {
    name: String,
    /// In bytes; offsets are counted from byte 0 of the image.
    len: usize,
    from: usize,
    to: usize,
}

#[derive(Debug, Serialize)]
struct RefusedReport {
    name: String,
    /// Its bytes in the image; `null` in the legacy region.
    offset: Option<usize>,
    len: Option<usize>,
    /// The first one that is not 0, counted from byte 0 of the image.
    first_byte_not_zero: Option<usize>,
}

pub(crate) fn execute(arguments: &ConvertArguments) -> Result<Answer, CommandError> {
    let file = SavedFile::read(&arguments.image.path, arguments.image.kind)?;
    let (image, noted) = file.one_image(arguments.image.thread)?;
    let from = arguments.cpu.as_deref();
    let from = from.map(|from| CpuChoice::of(Some(from))).transpose()?;
    let from = match Maker::known(&image, noted, from)? {
        Some(from) => from,
        None => Maker::of(CpuChoice::of(None)?),
    };
    let to = CpuChoice::of(Some(&arguments.to)).map_err(CommandError::To)?;
    let loss = loss(&arguments.loss, &from.enumeration).map_err(CommandError::Loss)?;
    let xcr0 = xcr0(arguments.xcr0.as_deref(), &to).map_err(CommandError::Xcr0)?;
    let state = from
        .state_of(&image)
        .map_err(|error| CommandError::Source {
            path: arguments.image.path.clone(),
            error,
        })?;
    let (format, converted) = match arguments.format {
        AreaFormat::Standard => ("standard", TargetFormat::Standard),
        AreaFormat::Compacted => ("compacted", TargetFormat::Compacted),
    };
    let mut report = ConvertReport::of(arguments, &image, &from, &state);
    let answer = match convert(&state, &to, converted, xcr0, loss) {
        Ok(converted) => {
            write(arguments, &converted)?;
            report.add_converted(arguments, &to, format, &converted);
            Answer::Yes
        }
        Err(ConversionError::Refused(refusal)) => {
            report.add_refusal(&image, &state, &refusal);
            Answer::No
        }
        Err(error) => return Err(CommandError::Conversion(error)),
    };
    if arguments.json {
        print_json(&report)?;
    } else {
        report.print()?;
    }
    Ok(answer)
}

fn write(arguments: &ConvertArguments, converted: &Converted) -> Result<(), CommandError> {
    replace(&arguments.output, &converted.bytes, &arguments.image.path).map_err(|error| {
        CommandError::WriteImage {
            path: arguments.output.clone(),
            error,
        }
    })
}

/// `reject`, `initial`, or components of the image's CPU by name.
fn loss(text: &str, cpu: &Enumeration) -> Result<Loss, ComponentsError> {
    Ok(match text {
        "reject" => Loss::Reject,
        "initial" => Loss::DropInitial,
        list => Loss::Drop(component_list::parse(list, cpu)?),
    })
}

fn xcr0(text: Option<&str>, to: &CpuChoice) -> Result<Option<Xcr0>, ComponentsError> {
    let supported = user_components(to);
    text.map(|text| component_list::parse_xcr0(text, &to.enumeration, supported))
        .transpose()
}

/// What an image has no place for.
fn not_in_image(image: &SavedImage) -> Vec<String> {
    let registers = image.snapshot().map(|snapshot| {
        [
            ("XCR0", snapshot.xcr0()),
            ("IA32_XSS", snapshot.xss()),
            ("IA32_XFD", snapshot.xfd()),
            ("IA32_XFD_ERR", snapshot.xfd_err()),
        ]
    });
    let registers = registers.into_iter().flatten();
    registers
        .map(|(name, value)| format!("{name} {:#x}", value.bits()))
        .collect()
}

impl ConvertReport {
    fn of(
        arguments: &ConvertArguments,
        image: &SavedImage,
        from: &Maker,
        state: &ImageState<'_>,
    ) -> Self {
        Self {
            converted: false,
            reason: None,
            image: ImageReport {
                path: arguments.image.path.display().to_string(),
                cpu: from.name.clone(),
                source: from.source.clone(),
                format: state.layout().format().to_string(),
                len: image.bytes().len(),
            },
            thread: image.place.tid,
            output: None,
            fx_only: from.fx_only(image),
            not_in_output: not_in_image(image),
            live: names(state.live()),
            dropped: Vec::new(),
            kept: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn add_converted(
        &mut self,
        arguments: &ConvertArguments,
        to: &CpuChoice,
        format: &str,
        converted: &Converted,
    ) {
        self.converted = true;
        self.output = Some(ImageReport {
            path: arguments.output.display().to_string(),
            cpu: to.name.clone(),
            source: to.source.description(),
            format: format.to_owned(),
            len: converted.bytes.len(),
        });
        self.dropped = names(converted.dropped);
        self.kept = converted.kept.iter().map(KeptReport::of).collect();
    }

    fn add_refusal(&mut self, image: &SavedImage, state: &ImageState<'_>, refusal: &Refusal) {
        self.reason = Some(refusal.to_string());
        let refused = match refusal {
            Refusal::Loss(LossError::NoRoom { refused, .. }) => refused.iter().collect(),
            Refusal::Loss(LossError::Length { component, .. }) => vec![*component],
            Refusal::Loss(_) | Refusal::Mxcsr { .. } => Vec::new(),
        };
        self.refused = refused
            .into_iter()
            .map(|component| RefusedReport::of(component, image, state))
            .collect();
    }

    fn print(&self) -> io::Result<()> {
        print_line(&self.image.description(self.thread))?;
        if let Some(because) = &self.fx_only {
            print_line(&format!(
                "fx-only: bytes 0 to 511 are the state, the rest is initial: {because}"
            ))?;
        }
        print_line(&format!("in use: {}", joined(&self.live)))?;
        if let Some(reason) = &self.reason {
            print_line(&format!("not converted: {reason}"))?;
            return self.refused.iter().try_for_each(RefusedReport::print);
        }
        if !self.dropped.is_empty() {
            print_line(&format!("left out: {}", joined(&self.dropped)))?;
        }
        if let Some(output) = &self.output {
            print_line(&output.description(None))?;
            if !self.not_in_output.is_empty() {
                print_line(&format!(
                    "of the snapshot the image alone is written; not {}",
                    self.not_in_output.join(", ")
                ))?;
            }
        }
        if self.kept.is_empty() {
            return Ok(());
        }
        let mut table = table(&["component", "bytes", "from", "to"]);
        for kept in &self.kept {
            table.add_row([
                kept.name.clone(),
                kept.len.to_string(),
                kept.from.to_string(),
                kept.to.to_string(),
            ]);
        }
        align_right(&mut table, &[1, 2, 3]);
        print_table(&table)
    }
}

impl ImageReport {
    fn description(&self, thread: Option<u32>) -> String {
        let Self {
            path,
            cpu,
            source,
            format,
            len,
        } = self;
        let thread = thread.map_or(String::new(), |tid| format!(", thread {tid}"));
        format!("{path:?}{thread}: {len} bytes, {format}, of {cpu} ({source})")
    }
}

impl KeptReport {
    fn of(kept: &Kept) -> Self {
        Self {
            name: kept.component.to_string(),
            len: kept.len,
            from: kept.from,
            to: kept.to,
        }
    }
}

impl RefusedReport {
    fn of(component: Component, image: &SavedImage, state: &ImageState<'_>) -> Self {
        let range = state
            .layout()
            .place_of(component)
            .map(|placed| placed.range());
        let first_byte_not_zero = range.clone().and_then(|range| {
            let bytes = image.bytes().get(range.clone())?;
            let within = bytes.iter().position(|byte| *byte != 0)?;
            Some(range.start + within)
        });
        Self {
            name: component.to_string(),
            offset: range.as_ref().map(|range| range.start),
            len: range.as_ref().map(ExactSizeIterator::len),
            first_byte_not_zero,
        }
    }

    fn print(&self) -> io::Result<()> {
        let (Some(offset), Some(len)) = (self.offset, self.len) else {
            return Ok(());
        };
        let content = match self.first_byte_not_zero {
            Some(byte) => format!("the first that is not 0 is byte {byte}"),
            None => "all 0: --loss initial leaves it out".to_owned(),
        };
        print_line(&format!(
            "  {}: bytes {offset} to {} of the image, {content}",
            self.name,
            offset + len.saturating_sub(1)
        ))
    }
}

//! Registers for people: one line each, runs of initial ones together.

use fpstate::{FrameForm, ImageState};
use fpstate_arch::TileConfig;

use crate::output::grouped;
use crate::registers::lanes::{Values, hex};
use crate::registers::tiles::configured_rows;
use crate::registers::{Register, Shape};
use crate::subject::{Subject, Thread};

/// Whether registers in their initial configuration are told one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Initial {
    Together,
    OneByOne,
}

/// What the file is.
pub(crate) fn of_subject(subject: &Subject) -> String {
    let threads = match subject.threads.len() {
        1 => String::new(),
        many => format!(", {many} threads"),
    };
    let (kind, len) = (subject.kind.name(), grouped(subject.len));
    format!("{:?}: {kind}, {len} bytes{threads}", subject.path)
}

/// What the image of a thread is, and what of it is live.
pub(crate) fn of_thread(thread: &Thread, state: &ImageState<'_>) -> Vec<String> {
    let image = &thread.image;
    let initial = state.layout().components().difference(state.live());
    let mut lines = vec![
        format!(
            "{}: {} from byte {}, {} bytes, {} format; {}",
            image.title(),
            image.place.form.name(),
            image.place.offset,
            image.bytes().len(),
            state.layout().format(),
            thread.cpu.reason
        ),
        format!("  live: {}; initial: {initial}", state.live()),
    ];
    lines.extend(thread.frame_form().map(of_frame));
    lines.extend(image.xcr0().map(|xcr0| format!("  XCR0: {xcr0}")));
    lines.extend(image.snapshot().map(|guest| {
        let (xss, xfd, xfd_err) = (guest.xss(), guest.xfd(), guest.xfd_err());
        format!("  IA32_XSS: {xss}; IA32_XFD: {xfd}; IA32_XFD_ERR: {xfd_err}")
    }));
    lines
}

/// What `sigreturn` restores of a frame.
pub(crate) fn of_frame(form: FrameForm) -> String {
    match form {
        FrameForm::Full => "  sigreturn restores the whole frame".to_owned(),
        FrameForm::FxOnly(reason) => {
            format!("  fx-only: sigreturn restores bytes 0 to 511, the rest is initial: {reason}")
        }
    }
}

/// The registers in their order.
pub(crate) fn of_registers(
    registers: &[Register],
    values: Values,
    initial: Initial,
) -> Vec<String> {
    let names = registers.iter().map(|register| register.name.len());
    let width = names.max().unwrap_or(0);
    let together = |a: &Register, b: &Register| {
        let same = a.is_initial() && b.is_initial() && a.components == b.components;
        initial == Initial::Together && same
    };
    let runs = registers.chunk_by(together);
    runs.flat_map(|run| match run {
        [first, .., last] if run.len() > 1 => {
            vec![format!("  {} to {}: initial", first.name, last.name)]
        }
        run => run
            .iter()
            .flat_map(|register| of_register(register, width, values))
            .collect(),
    })
    .collect()
}

fn of_register(register: &Register, width: usize, values: Values) -> Vec<String> {
    let mut words = Vec::new();
    let mut rows = Vec::new();
    match &register.shape {
        Shape::Number => words.push(hex(&register.bytes)),
        Shape::Float80 { tag, mmx } => {
            words.push(hex(&register.bytes));
            words.extend(register.value());
            words.push(format!("({}, mm{mmx})", tag.name()));
        }
        Shape::Vector => words.push(vector(&register.bytes, values)),
        Shape::TileConfig(config) => words.push(configuration(config)),
        Shape::Tile { rows: 0, .. } | Shape::Tile { colsb: 0, .. } => {
            words.push("not configured".to_owned());
            if register.bytes.iter().any(|byte| *byte != 0) {
                words.push("(its bytes are not zero)".to_owned());
            }
        }
        Shape::Tile { rows: count, colsb } => {
            words.push(format!("{count} rows × {colsb} bytes"));
            rows = configured_rows(&register.bytes, *count, *colsb);
        }
    }
    words.extend(register.flags());
    if register.is_initial() {
        words.push("(initial)".to_owned());
    }
    let first = format!("  {:width$}  {}", register.name, words.join(" "));
    let rows = rows
        .iter()
        .enumerate()
        .map(|(number, row)| format!("  {:width$}    row {number:2}  {}", "", vector(row, values)));
    std::iter::once(first.trim_end().to_owned())
        .chain(rows)
        .collect()
}

fn configuration(config: &TileConfig) -> String {
    let TileConfig {
        palette, start_row, ..
    } = config;
    match palette {
        0 => "palette 0: no tiles".to_owned(),
        _ => format!("palette {palette}, start row {start_row}"),
    }
}

/// Hexadecimal in groups of eight bytes, the highest first; or lanes, lane 0 first.
fn vector(bytes: &[u8], values: Values) -> String {
    if values != Values::Hex {
        return format!("[{}]", values.lanes(bytes).join(", "));
    }
    let digits = hex(bytes);
    let groups = digits.as_bytes()[2..].rchunks(16).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    format!("0x{}", groups.join("_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_grouped_from_the_low_end() {
        let bytes: Vec<u8> = (0..10).collect();
        assert_eq!(vector(&bytes, Values::Hex), "0x0908_0706050403020100");
        assert_eq!(vector(&bytes[..2], Values::U8), "[0, 1]");
    }
}

//! The round trips of `fpstate bench` as bars.

use std::fmt::{self, Write};

use fpstate_bench::BenchReport;
use fpstate_bench::policy_name::PolicyName;

use crate::svg_text::{Escaped, write_text};

/// Everything in pixels.
const WIDTH: usize = 900;
const BAR_X: usize = 300;
const BAR_WIDTH: usize = 500;
const TOP: usize = 84;
const PITCH: usize = 34;
const BAR_HEIGHT: usize = 22;
const BOTTOM: usize = 40;

const STYLE: &str = "\
text{font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:12px;fill:#1f2328}
.title{font-size:16px;font-weight:600}
.muted{fill:#59636e}
.number{text-anchor:end}
.paper{fill:#ffffff;stroke:#d1d9e0}
.limit{fill:#c3ccd6}
.theirs{fill:#a6cee3}
.ours{fill:#fb8f44}
.spread{stroke:#1f2328;stroke-width:1.5}
@media(prefers-color-scheme:dark){
text{fill:#f0f6fc}
.muted{fill:#9198a1}
.paper{fill:#0d1117;stroke:#3d444d}
.limit{fill:#57606a}
.theirs{fill:#1f6feb}
.spread{stroke:#f0f6fc}
}";

/// The whole file.
pub(crate) fn draw(report: &BenchReport) -> String {
    let mut svg = String::new();
    // Writing to a string does not fail.
    let _ = write_svg(&mut svg, report);
    svg
}

fn write_svg(svg: &mut String, report: &BenchReport) -> fmt::Result {
    let bars: Vec<_> = report.round_trip_spread.iter().collect();
    let longest = bars
        .iter()
        .map(|(_, spread)| spread.p75)
        .fold(1.0, f64::max);
    let pixels = |cycles: f64| cycles / longest * BAR_WIDTH as f64;
    let height = TOP + bars.len() * PITCH + BOTTOM;
    let title = format!("Into a guest and back on {}", report.machine.cpu);
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">"#
    )?;
    writeln!(svg, "<title>{}</title>", Escaped(&title))?;
    writeln!(svg, "<desc>Made by: fpstate bench --svg FILE</desc>")?;
    writeln!(svg, "<style>{STYLE}</style>")?;
    writeln!(
        svg,
        r#"<rect class="paper" x="0.5" y="0.5" width="{}" height="{}" rx="6"/>"#,
        WIDTH - 1,
        height - 1
    )?;
    write_text(svg, 20, 32, "title", &title)?;
    write_text(svg, 20, 54, "muted", subtitle(report))?;
    for ((name, spread), y) in bars.iter().zip((TOP..).step_by(PITCH)) {
        let (class, middle) = (class(*name), y + BAR_HEIGHT / 2);
        write_text(svg, BAR_X - 12, middle + 4, "number", name.title())?;
        writeln!(
            svg,
            r#"<rect class="{class}" x="{BAR_X}" y="{y}" width="{:.1}" height="{BAR_HEIGHT}"/>"#,
            pixels(spread.median)
        )?;
        let (from, to) = (pixels(spread.p25), pixels(spread.p75));
        writeln!(
            svg,
            r#"<line class="spread" x1="{:.1}" y1="{middle}" x2="{:.1}" y2="{middle}"/>"#,
            BAR_X as f64 + from,
            BAR_X as f64 + to
        )?;
        write_text(
            svg,
            WIDTH - 24,
            middle + 4,
            "number",
            format!("{:.0}", spread.median),
        )?;
    }
    let footnote = "black: the middle half of the samples; all policies in one process, in turns";
    write_text(svg, 20, height - 16, "muted", footnote)?;
    writeln!(svg, "</svg>")
}

fn subtitle(report: &BenchReport) -> String {
    format!(
        "cycles of the time-stamp counter, at CPL 3{}; SSE and AVX live on both sides, x87 initial; {} and {}",
        if report.machine.virtual_machine {
            " in a virtual machine"
        } else {
            ""
        },
        report.strategy.save_instruction,
        report.strategy.restore_instruction
    )
}

/// The bare limits, other designs, this library.
const fn class(name: PolicyName) -> &'static str {
    match name {
        PolicyName::InstructionsPair | PolicyName::PlainMoves => "limit",
        PolicyName::TwoBuffers | PolicyName::PointerSwap | PolicyName::XsaveCrate => "theirs",
        PolicyName::OursInstructions | PolicyName::OursFull | PolicyName::OursAbi => "ours",
    }
}

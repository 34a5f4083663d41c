//! Lines for people, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

/// One JSON object and a line feed on standard output.
pub(crate) fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

/// A line on standard output.
pub(crate) fn print_line(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// A line on standard error.
pub(crate) fn remark(line: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{line}")
}

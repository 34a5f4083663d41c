//! `fpstate bench`

use std::fs;
use std::io::{self, Write};

use fpstate_bench::{BenchConfig, BenchReport};

use crate::arguments::BenchArguments;
use crate::output::{is_watched, print_json};
use crate::{Answer, CommandError, bench_svg, bench_table, heap};

pub(crate) fn execute(arguments: &BenchArguments) -> Result<Answer, CommandError> {
    let config = BenchConfig {
        switch_by: arguments.switch_by.0,
        ..if arguments.quick {
            BenchConfig::quick()
        } else {
            BenchConfig::full()
        }
    };
    let report = fpstate_bench::run(&config, heap::live_bytes, tell)?;
    if let Some(path) = &arguments.svg {
        fs::write(path, bench_svg::draw(&report)).map_err(|error| CommandError::Svg {
            path: path.clone(),
            error,
        })?;
    }
    print(arguments, &report)?;
    Ok(if report.is_clean() {
        Answer::Yes
    } else {
        Answer::No
    })
}

fn print(arguments: &BenchArguments, report: &BenchReport) -> io::Result<()> {
    if arguments.json {
        print_json(report)
    } else {
        bench_table::print(report)
    }
}

/// What comes next, to somebody who waits.
fn tell(next: &str) {
    if is_watched() {
        // Without standard error nobody waits.
        let _ = writeln!(io::stderr(), "{next}");
    }
}

//! `simulate`: large random worlds from seeds; see [`conformance::simulator`].
//!
//! Exit status: 0 if nothing was found, 1 if something was, 2 for bad input.

mod arguments;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use conformance::simulator::{Counts, Schedule, shrunk};

use arguments::Arguments;
use report::{Outcome, Report};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is reported as a finding, not once for every schedule that is tried.
    std::panic::set_hook(Box::new(|_| {}));
    let answer = match &arguments.replay {
        Some(file) => replay(file),
        None => Ok(simulate(&arguments)),
    };
    let report = match answer {
        Ok(report) => report,
        Err(what) => {
            eprintln!("simulate: {what}");
            return ExitCode::from(2);
        }
    };
    if let (Some(file), Outcome::Failed { shrunk, .. }) = (&arguments.save, &report.outcome)
        && let Err(error) = std::fs::write(file, shrunk.schedule.to_string())
    {
        eprintln!("simulate: {}: {error}", file.display());
        return ExitCode::from(2);
    }
    if arguments.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    match report.outcome {
        Outcome::Nothing { .. } => ExitCode::SUCCESS,
        Outcome::Failed { .. } | Outcome::FailedAgain(_) => ExitCode::from(1),
    }
}

fn simulate(arguments: &Arguments) -> Report {
    let campaign = arguments.campaign();
    let mut counts = Counts::default();
    let begin = Instant::now();
    let deadline = begin + Duration::from_secs_f64(arguments.minutes.seconds());
    let found = campaign.run(arguments.worlds, deadline, &mut counts);
    let lived = begin.elapsed();
    let outcome = match found {
        Ok(()) => Outcome::Nothing { told: Vec::new() },
        Err((setting, finding)) => {
            let shrunk = Box::new(shrunk(&setting, &finding));
            Outcome::Failed {
                setting,
                finding,
                shrunk,
                took: begin.elapsed() - lived,
            }
        }
    };
    Report {
        first: campaign.first,
        cpus: campaign.cpus,
        counts,
        lived,
        outcome,
    }
}

fn replay(file: &Path) -> Result<Report, String> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
    let schedule: Schedule = text
        .parse()
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let begin = Instant::now();
    let mut counts = Counts::default();
    let outcome = match schedule.replay() {
        Ok(lived) => {
            counts.add(&lived);
            Outcome::Nothing { told: lived.told }
        }
        Err(finding) => Outcome::FailedAgain(finding),
    };
    Ok(Report {
        first: schedule.setting,
        cpus: vec![schedule.setting.cpu],
        counts,
        lived: begin.elapsed(),
        outcome,
    })
}

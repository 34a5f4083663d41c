//! `cargo xtask boot`

use std::time::Duration;

use serde::Serialize;

use crate::arguments::BootArguments;
use crate::emulation::{Boot, End};
use crate::machine::Machine;
use crate::tap::{Report, ScenarioResult, Verdict};
use crate::{Answer, CommandError, kernel_image, output};

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error("--scenario {0}: no scenario's name begins so; cargo xtask scenarios prints the names")]
    UnknownScenario(String),
}

/// How the kernel begins to say so.
const UNKNOWN_SCENARIO: &str = "no scenario is called";

/// The answer for programs.
#[derive(Debug, Serialize)]
struct BootAnswer<'a> {
    machine: Machine,
    cpu_model: &'a str,
    cpus: u32,
    scenarios: usize,
    passed: usize,
    failed: usize,
    skipped: usize,
    /// How the emulator's program differs from the one that is installed.
    corrections: &'a [String],
    results: &'a [ScenarioResult],
    /// Why the run counts for nothing, whatever the scenarios said.
    trouble: Option<String>,
}

/// Builds, boots, and says how it ended.
pub(crate) fn execute(arguments: &BootArguments) -> Result<Answer, CommandError> {
    let machine = arguments.machine;
    let command_line = match &arguments.scenario {
        Some(name) => format!("scenario={name}"),
        None => String::new(),
    };
    let image = kernel_image::build()?;
    let boot = Boot {
        image: &image,
        cpu_model: (arguments.cpu.as_deref()).unwrap_or(machine.default_cpu()),
        cpus: arguments.cpus,
        command_line: &command_line,
        emulator: arguments.emulator,
    };
    let limit = (arguments.timeout).map_or(machine.default_limit(), Duration::from_secs);
    let mut report = Report::default();
    let emulation = machine.prepare(&boot)?;
    let corrections = emulation.corrections.clone();
    let end = emulation.run(limit, |line| {
        report.take(line);
        if arguments.json {
            output::remark(line)
        } else {
            output::print_line(line)
        }
    })?;
    if let Some(name) = &arguments.scenario
        && (report.bail_out.as_deref()).is_some_and(|why| why.starts_with(UNKNOWN_SCENARIO))
    {
        return Err(BootError::UnknownScenario(name.clone()).into());
    }
    let trouble = trouble(&report, &end, limit).or_else(|| skipped(&report, &arguments.may_skip));
    if let Some(trouble) = &trouble {
        output::remark(&format!("xtask: {trouble}"))?;
    }
    let failed = report.count(Verdict::Failed);
    let answer = match trouble {
        None if failed == 0 => Answer::Yes,
        _ => Answer::No,
    };
    if arguments.json {
        output::print_json(&BootAnswer {
            machine,
            cpu_model: boot.cpu_model,
            cpus: boot.cpus,
            scenarios: report.results.len(),
            passed: report.count(Verdict::Passed),
            failed,
            skipped: report.count(Verdict::Skipped),
            corrections: &corrections,
            results: &report.results,
            trouble,
        })?;
    }
    Ok(answer)
}

/// Why the run counts for nothing.
fn trouble(report: &Report, end: &End, limit: Duration) -> Option<String> {
    if let Some(why) = early_end(report, end, limit) {
        return Some(why);
    }
    let results = report.results.len();
    match report.plan {
        None => Some("the machine stopped too early".to_owned()),
        Some(plan) if plan != results => Some(format!(
            "the kernel counted {plan} scenarios, {results} lines came"
        )),
        Some(_) if results == report.count(Verdict::Skipped) => Some("nothing ran".to_owned()),
        Some(_) => None,
    }
}

/// Why a run counts for nothing in which a scenario was skipped that is not among those that may be.
fn skipped(report: &Report, may_skip: &[String]) -> Option<String> {
    if may_skip.is_empty() {
        return None;
    }
    let skipped = (report.results.iter()).filter(|result| result.verdict == Verdict::Skipped);
    let wrong: Vec<&str> = (skipped.map(|result| result.name.as_str()))
        .filter(|name| !may_skip.iter().any(|may| may == name))
        .collect();
    (!wrong.is_empty()).then(|| format!("skipped, and may not be: {}", wrong.join(", ")))
}

/// Why the kernel did not come to its own end.
pub(crate) fn early_end(report: &Report, end: &End, limit: Duration) -> Option<String> {
    if let Some(why) = &report.bail_out {
        return Some(format!("the kernel gave up: {why}"));
    }
    match end {
        End::TimedOut => Some(format!("the machine had not ended after {limit:?}")),
        End::Stopped(Some(words)) => Some(format!("the machine stopped too early: {words}")),
        End::Stopped(None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble_of(lines: &[&str], end: &End) -> Option<String> {
        let mut report = Report::default();
        for line in lines {
            report.take(line);
        }
        trouble(&report, end, Duration::from_secs(7))
    }

    #[test]
    fn only_what_may_be_skipped_is() {
        let mut report = Report::default();
        for line in [
            "ok 1 - a # SKIP no SVM",
            "ok 2 - b",
            "ok 3 - c # SKIP no MPX",
        ] {
            report.take(line);
        }
        for (may_skip, expected) in [
            (&[][..], None),
            (&["a", "b", "c"], None),
            (&["c"], Some("skipped, and may not be: a")),
            (&["b"], Some("skipped, and may not be: a, c")),
        ] {
            let may_skip: Vec<String> = may_skip.iter().copied().map(str::to_owned).collect();
            assert_eq!(skipped(&report, &may_skip).as_deref(), expected);
        }
    }

    #[test]
    fn a_run_counts_only_if_it_came_to_its_end_and_ran_something() {
        let stopped = End::Stopped(None);
        for (lines, end, expected) in [
            (&["ok 1 - a", "1..1"][..], &stopped, None),
            (&["not ok 1 - a", "1..1"], &stopped, None),
            (&["1..0"], &stopped, Some("nothing ran")),
            (
                &["ok 1 - a # SKIP no SVM", "1..1"],
                &stopped,
                Some("nothing ran"),
            ),
            (
                &["ok 1 - a"],
                &stopped,
                Some("the machine stopped too early"),
            ),
            (
                &["ok 1 - a"],
                &End::Stopped(Some("triple fault".to_owned())),
                Some("the machine stopped too early: triple fault"),
            ),
            (
                &["ok 1 - a", "1..2"],
                &stopped,
                Some("the kernel counted 2 scenarios, 1 lines came"),
            ),
            (
                &["ok 1 - a", "Bail out! vector 14"],
                &stopped,
                Some("the kernel gave up: vector 14"),
            ),
            (
                &["ok 1 - a"],
                &End::TimedOut,
                Some("the machine had not ended after 7s"),
            ),
        ] {
            assert_eq!(trouble_of(lines, end).as_deref(), expected, "{lines:?}");
        }
    }
}

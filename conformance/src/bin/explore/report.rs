//! What came of it, as text or JSON.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use conformance::explorer::{Action, Outcome, Scope};

use crate::arguments::{Coverage, Output};

/// Results, printed as they come, and their sum.
pub(crate) struct Report {
    output: Output,
    coverage: Coverage,
    worlds: Vec<String>,
    states: usize,
    transitions: u64,
    depth: usize,
    exhausted: bool,
    violations: u32,
    time: Duration,
    /// How often each action was done in a world that was exhausted.
    tally: BTreeMap<&'static str, u64>,
}

impl Report {
    pub(crate) fn new(output: Output, coverage: Coverage) -> Self {
        Self {
            output,
            coverage,
            worlds: Vec::new(),
            states: 0,
            transitions: 0,
            depth: 0,
            exhausted: true,
            violations: 0,
            time: Duration::ZERO,
            tally: Action::NAMES.iter().map(|name| (*name, 0)).collect(),
        }
    }

    pub(crate) fn add(&mut self, scope: &Scope, outcome: Outcome) {
        self.states += outcome.states;
        self.transitions += outcome.transitions;
        self.depth = self.depth.max(outcome.depth);
        self.exhausted &= outcome.exhausted;
        self.violations += u32::from(outcome.violation.is_some());
        self.time += outcome.time;
        if outcome.exhausted {
            for (name, count) in &outcome.tally {
                *self.tally.entry(name).or_default() += count;
            }
        }
        match self.output {
            Output::Text => print_world(scope, &outcome),
            Output::Json => self.worlds.push(world_as_json(scope, &outcome)),
        }
    }

    pub(crate) fn end(self) -> ExitCode {
        let figures = self.figures();
        match self.output {
            Output::Json => println!("{{\"worlds\": [{}], {figures}}}", self.worlds.join(", ")),
            Output::Text => {
                let (states, transitions) = (self.states, self.transitions);
                let (rate, memory) = (self.states_per_second(), peak_memory_mib());
                println!(
                    "in all {states} states, {transitions} transitions, {:.1} s, {rate:.0} states/s, \
                     {memory} MiB at most, {} violations",
                    self.time.as_secs_f64(),
                    self.violations
                );
                if self.coverage == Coverage::Required {
                    let never = match self.never().as_slice() {
                        [] => "none".to_owned(),
                        never => never.join(", "),
                    };
                    println!("actions that were done in no exhausted world: {never}");
                }
            }
        }
        let incomplete = self.coverage == Coverage::Required && !self.never().is_empty();
        ExitCode::from(u8::from(self.violations != 0 || incomplete))
    }

    /// Actions that were done in no exhausted world.
    fn never(&self) -> Vec<&'static str> {
        let never = self.tally.iter().filter(|(_, count)| **count == 0);
        never.map(|(name, _)| *name).collect()
    }

    fn figures(&self) -> String {
        format!(
            "\"states\": {}, \"transitions\": {}, \"depth\": {}, \"exhausted\": {}, \"violations\": {}, \
             \"seconds\": {:.3}, \"states_per_second\": {:.0}, \"peak_memory_mib\": {}, \"actions_not_done\": [{}]",
            self.states,
            self.transitions,
            self.depth,
            self.exhausted,
            self.violations,
            self.time.as_secs_f64(),
            self.states_per_second(),
            peak_memory_mib(),
            self.never()
                .iter()
                .map(|name| quoted(name))
                .collect::<Vec<_>>()
                .join(", ")
        )
    }

    fn states_per_second(&self) -> f64 {
        let states = u32::try_from(self.states).unwrap_or(u32::MAX);
        f64::from(states) / self.time.as_secs_f64().max(1e-9)
    }
}

fn print_world(scope: &Scope, outcome: &Outcome) {
    let end = if outcome.exhausted {
        "exhausted"
    } else {
        "not exhausted"
    };
    println!(
        "{:<13} {:>9} states {:>10} transitions, depth {:>3}, {:>7} at once, {:>7.1} s, {end}",
        scope.name,
        outcome.states,
        outcome.transitions,
        outcome.depth,
        outcome.widest,
        outcome.time.as_secs_f64()
    );
    if let Some(violation) = &outcome.violation {
        println!("{violation}");
    }
}

fn world_as_json(scope: &Scope, outcome: &Outcome) -> String {
    let violation = outcome.violation.as_ref().map_or(String::new(), |found| {
        let actions: Vec<_> = found.actions.iter().map(|action| quoted(action)).collect();
        format!(
            ", \"counterexample\": {{\"actions\": [{}], \"what\": {}}}",
            actions.join(", "),
            quoted(&found.what)
        )
    });
    format!(
        "{{\"world\": {}, \"states\": {}, \"transitions\": {}, \"depth\": {}, \"widest\": {}, \
         \"exhausted\": {}, \"violations\": {}, \"seconds\": {:.3}{violation}}}",
        quoted(scope.name),
        outcome.states,
        outcome.transitions,
        outcome.depth,
        outcome.widest,
        outcome.exhausted,
        u8::from(outcome.violation.is_some()),
        outcome.time.as_secs_f64()
    )
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `VmHWM` of Linux; 0 elsewhere.
fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

//! What is run, and how it is told: TAP, one line a scenario.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::println;

/// One behaviour, with a name that is a sentence.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The sentence, words joined by `-`.
    pub name: &'static str,
    /// Runs it, or its broken twin.
    pub run: fn(Twin) -> Outcome,
    /// What the broken twin leaves out: a call of the library or of the kernel.
    pub left_out: &'static str,
}

/// A scenario, or the same with a call left out, which must fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// As it should be.
    Whole,
    /// With [`Scenario::left_out`] left out.
    Broken,
}

impl Scenario {
    /// Passes if the whole passes and the broken twin fails.
    fn verdict(&self) -> Outcome {
        match (self.run)(Twin::Whole) {
            Outcome::Passed => {}
            outcome @ (Outcome::Failed(_) | Outcome::Skipped(_)) => return outcome,
        }
        match (self.run)(Twin::Broken) {
            Outcome::Failed(reason) => {
                println!("# without {}: {reason}", self.left_out);
                Outcome::Passed
            }
            Outcome::Passed => Outcome::Failed(format!("it passes without {}", self.left_out)),
            outcome @ Outcome::Skipped(_) => outcome,
        }
    }
}

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Not as it should, and how.
    Failed(String),
    /// Not tried, and why.
    Skipped(String),
}

impl From<Result<(), String>> for Outcome {
    fn from(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(reason) => Self::Failed(reason),
        }
    }
}

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Scenarios that passed.
    pub passed: u32,
    /// Scenarios that failed.
    pub failed: u32,
    /// Scenarios that were not tried.
    pub skipped: u32,
}

/// The scenario of `all` with this name; if there is none, those whose names begin with it.
pub fn named<'s>(all: &'s [Scenario], name: &str) -> Vec<&'s Scenario> {
    match all.iter().find(|scenario| scenario.name == name) {
        Some(scenario) => Vec::from([scenario]),
        None => (all.iter())
            .filter(|scenario| scenario.name.starts_with(name))
            .collect(),
    }
}

/// Runs the `scenarios` and prints a line for each.
pub fn run_all<'s>(scenarios: impl Iterator<Item = &'s Scenario>) -> Tally {
    let mut tally = Tally::default();
    println!("TAP version 14");
    for (scenario, number) in scenarios.zip(1u32..) {
        match scenario.verdict() {
            Outcome::Passed => {
                tally.passed += 1;
                println!("ok {number} - {}", scenario.name);
            }
            Outcome::Failed(reason) => {
                tally.failed += 1;
                println!("not ok {number} - {} # {reason}", scenario.name);
            }
            Outcome::Skipped(reason) => {
                tally.skipped += 1;
                println!("ok {number} - {} # SKIP {reason}", scenario.name);
            }
        }
    }
    println!("1..{}", tally.passed + tally.failed + tally.skipped);
    tally
}

/// A step that went wrong.
pub fn failed(reason: impl fmt::Display) -> Outcome {
    Outcome::Failed(format!("{reason}"))
}

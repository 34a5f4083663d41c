//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use conformance::growth_world::Room;
use conformance::simulator::{Campaign, Fault, Setting, cpu_names};

/// Large random worlds from seeds: CPUs, threads and vCPUs on CPUs of every kind; what fails is made
/// short.
#[derive(Debug, Parser)]
#[command(
    name = "simulate",
    after_help = "Exit status: 0 if nothing was found, 1 if something was, 2 for bad input."
)]
pub(crate) struct Arguments {
    /// The seed of the first world; each after it has the next one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// No world begins after so many minutes.
    #[arg(long, default_value = "2")]
    pub(crate) minutes: Minutes,
    /// At most so many worlds.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    pub(crate) worlds: u64,
    /// A profile, fxsave-only, xsave-only or genoa-without-xsaves; or all of them in turn.
    #[arg(long, default_value = "all")]
    cpu: Kinds,
    /// CPUs of a world.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    cpus: u16,
    /// Room for threads in a world.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    threads: u32,
    /// Room for vCPUs in a world.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    vcpus: u32,
    /// Actions of a world.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
    actions: u32,
    /// Break something on purpose; a wrong name lists the right ones.
    #[arg(long, value_name = "FAULT")]
    inject: Option<Injected>,
    /// Run this schedule instead, and say what its actions do.
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,
    /// Write the shortest schedule that fails to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// One object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Arguments {
    /// The worlds that are asked for.
    pub(crate) fn campaign(&self) -> Campaign {
        let size = |count: u32| usize::try_from(count).expect("a 32-bit machine or a larger one");
        let cpus = self.cpu.0.clone();
        Campaign {
            first: Setting {
                cpu: cpus[0],
                cpus: usize::from(self.cpus),
                room: Room {
                    threads: size(self.threads),
                    guests: size(self.vcpus),
                },
                seed: self.seed,
                fault: self.inject.map_or(Fault::NONE, |Injected(fault)| fault),
            },
            cpus,
            actions: size(self.actions),
        }
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Minutes(f64);

impl Minutes {
    pub(crate) fn seconds(self) -> f64 {
        self.0 * 60.0
    }
}

impl FromStr for Minutes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(minutes) if (0.0..=MOST_MINUTES).contains(&minutes) => Ok(Self(minutes)),
            Ok(_) | Err(_) => Err(format!("not a number from 0 to {MOST_MINUTES}")),
        }
    }
}

/// A year.
const MOST_MINUTES: f64 = 525_600.0;

/// Kinds of CPUs.
#[derive(Clone, Debug)]
struct Kinds(Vec<&'static str>);

impl FromStr for Kinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(cpu_names().collect()));
        }
        let known = |name: &&str| name.eq_ignore_ascii_case(text);
        let found = cpu_names().find(known).ok_or_else(|| {
            let names: Vec<_> = cpu_names().collect();
            format!("all, or one of {}", names.join(", "))
        });
        Ok(Self(vec![found?]))
    }
}

/// A fault by its name.
#[derive(Clone, Copy, Debug)]
struct Injected(Fault);

impl FromStr for Injected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Fault::by_name(text).map(Self).ok_or_else(|| {
            let names: Vec<_> = Fault::ALL.iter().map(Fault::name).collect();
            format!("one of {}", names.join(", "))
        })
    }
}

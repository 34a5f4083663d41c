//! What can be asked for.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use fpstate_engine::{InjectedFault, SwitchBy};

use crate::image_arguments::{AreaFormat, BaselineArguments, CheckArguments, ConvertArguments};
use crate::inspect_arguments::{DiffArguments, InspectArguments};
use crate::json_help;

/// Owns the extended state of x86 processors. Without a command: run.
#[derive(Debug, Parser)]
#[command(name = "fpstate", version, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run vCPUs and host tasks, and check every register of each
    #[command(after_help = json_help::RUN)]
    Run(RunArguments),
    /// Measure what a switch costs in several designs, side by side
    #[command(after_help = json_help::BENCH)]
    Bench(BenchArguments),
    /// Show what a CPU's extended state is
    #[command(after_help = json_help::CPU)]
    Cpu(CpuArguments),
    /// Show where each state component lies in an XSAVE area
    #[command(after_help = json_help::LAYOUT)]
    Layout(LayoutArguments),
    /// Show what CPUs have in common, and which of them can exchange guests
    #[command(after_help = json_help::BASELINE)]
    Baseline(BaselineArguments),
    /// Say whether an image can be restored on a CPU, and every reason why not
    #[command(after_help = json_help::CHECK)]
    Check(CheckArguments),
    /// Make an image another CPU's, or another format's
    #[command(after_help = json_help::CONVERT)]
    Convert(ConvertArguments),
    /// Show the registers in an image, or of every thread of a core
    #[command(after_help = json_help::INSPECT)]
    Inspect(InspectArguments),
    /// Say which registers differ between two images or cores; exit status 1 if any does
    #[command(after_help = json_help::DIFF)]
    Diff(DiffArguments),
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// What the vCPUs run on [default: native; model where --cpu is given, or no native engine is]
    #[arg(long, value_enum)]
    pub(crate) engine: Option<Engine>,
    /// What the model is of: a CPU profile, or a file with a CPUID dump [default: genoa]
    #[arg(long, value_name = "PROFILE|FILE")]
    pub(crate) cpu: Option<PathBuf>,
    /// vCPUs, each run by a host task of its own
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) vcpus: u32,
    /// OS threads that act as CPUs [default: one for each CPU, at least 2]
    #[arg(long, value_name = "T")]
    pub(crate) threads: Option<u32>,
    /// What states are saved and restored with: measured (auto), CPUID's choice, an instruction, or
    /// moves before it
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) switch_by: SwitchByName,
    /// How long
    #[arg(
        long,
        value_name = "S",
        default_value_t = 5.0,
        allow_negative_numbers = true
    )]
    pub(crate) seconds: f64,
    /// What all random choices derive from [default: a random one, printed]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Break one switch in a thousand on purpose; the run must find out
    #[arg(long, value_name = "FAULT")]
    pub(crate) inject: Option<FaultName>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

impl RunArguments {
    fn all_defaults() -> Self {
        Self {
            engine: None,
            cpu: None,
            vcpus: 64,
            threads: None,
            switch_by: SwitchByName(SwitchBy::Auto),
            seconds: 5.0,
            seed: None,
            inject: None,
            json: false,
        }
    }
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
pub(crate) struct BenchArguments {
    /// A second or two instead of most of a minute: whether it works, not what it costs
    #[arg(long)]
    pub(crate) quick: bool,
    /// What all switch with: measured (auto), CPUID's choice, an instruction, or moves before it, which are
    /// the library's alone
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) switch_by: SwitchByName,
    /// Draw the round trips into this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CpuArguments {
    /// A CPU profile, or a file with a CPUID dump [default: this machine]
    #[arg(long, value_name = "PROFILE|FILE")]
    pub(crate) cpu: Option<PathBuf>,
    /// What a process there would switch with: measured (auto; only this machine is), CPUID's choice, an
    /// instruction, or moves before it
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) switch_by: SwitchByName,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LayoutArguments {
    /// A CPU profile, or a file with a CPUID dump [default: this machine]
    #[arg(long, value_name = "PROFILE|FILE")]
    pub(crate) cpu: Option<PathBuf>,
    /// Components by name, separated by commas [default: all the format has room for]
    #[arg(long, value_name = "LIST")]
    pub(crate) components: Option<String>,
    /// Format of the area
    #[arg(long, value_enum, default_value_t = AreaFormat::Standard)]
    pub(crate) format: AreaFormat,
    /// Draw the area into this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// This machine's own CPU, in an ordinary process
    Native,
    /// A software CPU
    Model,
}

/// An [`InjectedFault`] by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FaultName(pub(crate) InjectedFault);

impl ValueEnum for FaultName {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [FaultName; InjectedFault::ALL.len()] = [
            FaultName(InjectedFault::SkipGuestRestore),
            FaultName(InjectedFault::SkipHostRestore),
            FaultName(InjectedFault::SkipSave),
            FaultName(InjectedFault::WrongOwner),
            FaultName(InjectedFault::StaleAfterMigration),
            FaultName(InjectedFault::SkipGrowthCopy),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

/// A [`SwitchBy`] by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SwitchByName(pub(crate) SwitchBy);

impl ValueEnum for SwitchByName {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [SwitchByName; SwitchBy::ALL.len()] = {
            let mut all = [SwitchByName(SwitchBy::Auto); SwitchBy::ALL.len()];
            let mut index = 0;
            while index < all.len() {
                all[index] = SwitchByName(SwitchBy::ALL[index]);
                index += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

/// Why there is no command.
#[derive(Debug)]
pub(crate) enum ParseFailure {
    /// Help or version was asked for.
    Help(String),
    /// What was wrong and where, in one line.
    Wrong(String),
}

/// Reads the command line.
pub(crate) fn parse() -> Result<Command, ParseFailure> {
    match Arguments::try_parse() {
        Ok(arguments) => Ok(arguments
            .command
            .unwrap_or_else(|| Command::Run(RunArguments::all_defaults()))),
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &clap::Error) -> ParseFailure {
    let text = error.to_string();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return ParseFailure::Help(text);
    }
    // clap's text goes on with usage and hints; what is wrong comes first.
    let wrong: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let line = wrong.join(" ");
    ParseFailure::Wrong(line.strip_prefix("error: ").unwrap_or(&line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_arguments_mean_run_with_the_defaults_of_run() {
        let parsed = Arguments::try_parse_from(["fpstate", "run"])
            .unwrap()
            .command;
        let Some(Command::Run(run)) = parsed else {
            panic!("run was asked for");
        };
        assert_eq!(
            format!("{run:?}"),
            format!("{:?}", RunArguments::all_defaults())
        );
    }

    #[test]
    fn every_fault_can_be_asked_for_by_name() {
        let names: Vec<_> = FaultName::value_variants()
            .iter()
            .map(|name| name.0)
            .collect();
        assert_eq!(names, InjectedFault::ALL);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (arguments, expected) in [
            (
                &["fpstate", "run", "--vcpus", "many"][..],
                "invalid value 'many' for '--vcpus <N>': invalid digit found in string",
            ),
            (
                &["fpstate", "run", "--engine", "qemu"],
                "invalid value 'qemu' for '--engine <ENGINE>' [possible values: native, model]",
            ),
            (
                &["fpstate", "run", "--switch-by", "rdpkru"],
                "invalid value 'rdpkru' for '--switch-by <HOW>' [possible values: auto, cpuid, xsave, \
                 xsaveopt, xsavec, xsaves, all, all+xsave, all+xsaveopt, all+xsavec, all+xsaves, moves, moves+xsave, moves+xsaveopt, moves+xsavec, moves+xsaves]",
            ),
            (&["fpstate", "walk"], "unrecognized subcommand 'walk'"),
        ] {
            let error = Arguments::try_parse_from(arguments).unwrap_err();
            let ParseFailure::Wrong(line) = failure(&error) else {
                panic!("that is no help");
            };
            assert_eq!(line, expected);
        }
    }
}

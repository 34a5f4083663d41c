//! What can be asked for.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::emulation::EmulatorProgram;
use crate::machine::Machine;

/// Builds the hypervisor's kernel, boots it in an emulator, and looks through its image.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true,
    subcommand_required = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Boot the kernel in an emulator and let it run its scenarios
    Boot(BootArguments),
    /// Print the names of the kernel's scenarios
    Scenarios(ScenariosArguments),
    /// Find instructions on extended registers where the kernel must have none
    Vectors(VectorsArguments),
}

#[derive(Debug, Args)]
pub(crate) struct BootArguments {
    /// What it boots in
    #[arg(long, value_enum)]
    pub(crate) machine: Machine,
    /// CPUs of the machine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) cpus: u32,
    /// The emulator's name for the CPU [default: max under QEMU, `sapphire_rapids` under Bochs]
    #[arg(long, value_name = "MODEL", value_parser = cpu_model)]
    pub(crate) cpu: Option<String>,
    /// Run this scenario, or those whose names begin so [default: all]
    #[arg(long, value_name = "NAME", value_parser = scenario_name)]
    pub(crate) scenario: Option<String>,
    /// Which program of the emulator runs
    #[arg(long, value_enum, default_value_t = EmulatorProgram::Corrected)]
    pub(crate) emulator: EmulatorProgram,
    /// A scenario that may be skipped, once for each; that another one was is a failure [default: all may]
    #[arg(long, value_name = "NAME", value_parser = scenario_name)]
    pub(crate) may_skip: Vec<String>,
    /// How long the machine may run [default: 300 under QEMU, 900 under Bochs]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: Option<u64>,
    /// One JSON object on standard output; what the machine says goes to standard error
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScenariosArguments {
    /// What the kernel boots in to print them
    #[arg(long, value_enum, default_value_t = Machine::Qemu)]
    pub(crate) machine: Machine,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VectorsArguments {
    /// An ELF image with symbols and line tables [default: the kernel, built now]
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// A name goes into the kernel's command line, through the configuration of a boot loader.
fn scenario_name(name: &str) -> Result<String, String> {
    word_of(name, "-_")
}

/// A model goes into an argument or a configuration file of the emulator; under QEMU
/// it may have properties, like `EPYC-v4,+svm`.
fn cpu_model(model: &str) -> Result<String, String> {
    word_of(model, "-_.,+=")
}

fn word_of(word: &str, marks: &str) -> Result<String, String> {
    if word.is_empty() {
        return Err("it is empty".to_owned());
    }
    match (word.chars()).find(|&c| !c.is_ascii_alphanumeric() && !marks.contains(c)) {
        None => Ok(word.to_owned()),
        Some(wrong) => Err(format!("it has the character {wrong:?}")),
    }
}

/// Why there is no command.
#[derive(Debug)]
pub(crate) enum ParseFailure {
    /// Help was asked for.
    Help(String),
    /// What was wrong and where, in one line.
    Wrong(String),
}

/// Reads the command line.
pub(crate) fn parse() -> Result<Command, ParseFailure> {
    match Arguments::try_parse() {
        Ok(arguments) => Ok(arguments.command),
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &clap::Error) -> ParseFailure {
    let text = error.to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp) {
        return ParseFailure::Help(text);
    }
    if matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return ParseFailure::Wrong("no command is given: boot, scenarios, vectors".to_owned());
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
    fn what_is_wrong_is_said_in_one_line() {
        for (arguments, expected) in [
            (
                &["xtask"][..],
                "no command is given: boot, scenarios, vectors",
            ),
            (
                &["xtask", "boot", "--machine", "vmware"],
                "invalid value 'vmware' for '--machine <MACHINE>' [possible values: qemu, bochs]",
            ),
            (
                &["xtask", "boot", "--machine", "qemu", "--cpus", "0"],
                "invalid value '0' for '--cpus <N>': 0 is not in 1..=16",
            ),
            (
                &["xtask", "boot", "--machine", "qemu", "--scenario", "a;b"],
                "invalid value 'a;b' for '--scenario <NAME>': it has the character ';'",
            ),
        ] {
            let error = Arguments::try_parse_from(arguments).unwrap_err();
            let ParseFailure::Wrong(line) = failure(&error) else {
                panic!("that is no help");
            };
            assert_eq!(line, expected);
        }
    }
}

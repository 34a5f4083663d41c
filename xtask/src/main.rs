//! What is done with the hypervisor's kernel on a developer's machine: `cargo xtask`.
//!
//! * `arguments` - what can be asked for
//! * `output` - lines for people, JSON for programs
//! * `tool` - programs that must be installed
//! * `kernel_image` - builds the kernel
//! * `tap` - what the kernel says about its scenarios
//! * `emulation` - an emulator that runs, and what its serial port says
//! * `bochs_correction` - the one mistake of Bochs that a copy of it is run without
//! * `qemu`, `bochs` - how each is started
//! * `machine` - which of them
//! * `boot_cmd` - `cargo xtask boot`
//! * `scenarios_cmd` - `cargo xtask scenarios`
//! * `extended_instruction` - which instructions touch an extended register
//! * `image_code` - an image's code, and where each instruction comes from
//! * `vectors_cmd` - `cargo xtask vectors`
//!
//! Exit status: 0, 1 when the answer is no (a scenario failed, an instruction is where it must not
//! be), 2 for bad input or a tool that is missing. Every error is one line on standard error.

mod arguments;
mod output;
mod tool;
mod kernel_image;
mod tap;
mod emulation;
mod qemu;
mod bochs_correction;
mod bochs;
mod machine;
mod boot_cmd;
mod scenarios_cmd;
mod extended_instruction;
mod image_code;
mod vectors_cmd;

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Command, ParseFailure};

/// How a command that ran ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
}

/// Why a command did not run.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("{0}")]
    Tool(#[from] tool::ToolError),
    #[error("{0}")]
    Build(#[from] kernel_image::BuildError),
    #[error("{0}")]
    Emulation(#[from] emulation::EmulationError),
    #[error("{0}")]
    Boot(#[from] boot_cmd::BootError),
    #[error("{0}")]
    Image(#[from] image_code::ImageError),
    #[error("writing the answer: {0}")]
    Output(#[from] io::Error),
}

fn main() -> ExitCode {
    let command = match arguments::parse() {
        Ok(command) => command,
        Err(ParseFailure::Help(text)) => {
            // Help that nobody reads any more is no failure.
            let _ = write!(io::stdout(), "{text}");
            return ExitCode::SUCCESS;
        }
        Err(ParseFailure::Wrong(line)) => return refuse(&line),
    };
    let answer = match command {
        Command::Boot(boot) => boot_cmd::execute(&boot),
        Command::Scenarios(scenarios) => scenarios_cmd::execute(&scenarios),
        Command::Vectors(vectors) => vectors_cmd::execute(&vectors),
    };
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error.to_string()),
    }
}

fn refuse(line: &str) -> ExitCode {
    // Without standard error there is still the exit status.
    let _ = writeln!(io::stderr(), "xtask: {line}");
    ExitCode::from(2)
}

//! The `fpstate` command.
//!
//! * `json_help` - what `--json` prints, for the help
//! * `image_arguments`, `inspect_arguments`, `arguments` - what can be asked for
//! * `heap` - what the allocator has given out
//! * `output` - a table for people, JSON for programs
//! * `run_cmd` - `fpstate run`
//! * `svg_text` - text in an SVG
//! * `bench_table`, `bench_svg` - the figures in the terminal and in a file
//! * `bench_cmd` - `fpstate bench`
//! * `cpu_choice` - what `--cpu` means
//! * `component_list` - components as somebody writes them
//! * `switching` - how a CPU can switch, and what that costs
//! * `cpu_cmd` - `fpstate cpu`
//! * `layout_picture` - an area as ranges of bytes, and as rows of a picture
//! * `layout_text`, `layout_svg` - the picture in the terminal and in a file
//! * `layout_cmd` - `fpstate layout`
//! * `baseline` - what CPUs have in common
//! * `baseline_report`, `baseline_cmd` - `fpstate baseline`
//! * `replace_file` - a file written as a whole or not at all
//! * `saved_image` - one image in a file
//! * `elf_core` - the threads of an ELF core
//! * `file_kind` - what a file is
//! * `saved_file` - what is in a file: one image, or the images of threads
//! * `image_maker` - the CPU that made an image, where somebody says which
//! * `conversion`, `convert_cmd` - `fpstate convert`
//! * `kernel_answer` - what this machine's kernel says to an image
//! * `check`, `check_cmd` - `fpstate check`
//! * `image_cpu` - whose layout an image has where nobody says so
//! * `subject` - the images of a file, each with a CPU
//! * `registers` - the registers of an image by name
//! * `inspect_report`, `inspect_text` - registers for programs and for people
//! * `inspect_cmd` - `fpstate inspect`
//! * `diff_report` - what differs between two images
//! * `diff_cmd` - `fpstate diff`
//!
//! Exit status: 0, 1 when the answer is no (something was corrupted), 2 for bad input. Every error
//! is one line on standard error.

mod json_help;
mod image_arguments;
mod inspect_arguments;
mod arguments;
mod heap;
mod output;
mod run_cmd;
mod svg_text;
mod bench_table;
mod bench_svg;
mod bench_cmd;
mod cpu_choice;
mod component_list;
mod switching;
mod cpu_cmd;
mod layout_picture;
mod layout_text;
mod layout_svg;
mod layout_cmd;
mod baseline;
mod baseline_report;
mod baseline_cmd;
mod replace_file;
mod saved_image;
mod elf_core;
mod file_kind;
mod saved_file;
mod image_maker;
mod conversion;
mod convert_cmd;
mod kernel_answer;
mod check;
mod check_cmd;
mod image_cpu;
#[cfg(test)]
mod made_images;
mod subject;
mod registers;
mod inspect_report;
mod inspect_text;
mod inspect_cmd;
mod diff_report;
mod diff_cmd;
#[cfg(test)]
mod hostile_files;

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Command, ParseFailure};
use fpstate_engine::{ConfigError, HostError, RunError};

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
    Config(#[from] ConfigError),
    #[error("{0}")]
    Run(#[from] RunError),
    #[error("{0}")]
    ThisMachine(#[from] HostError),
    #[error("{0}")]
    Bench(#[from] fpstate_bench::BenchError),
    #[error("CPUID leaf 0DH: {0}")]
    Layout(#[from] fpstate::LayoutError),
    #[error("--cpu {0}")]
    Cpu(#[from] cpu_choice::CpuError),
    #[error("{0}")]
    Host(cpu_choice::CpuError),
    #[error("--switch-by: {0}")]
    SwitchBy(#[from] fpstate_engine::SwitchByError),
    #[error("--cpu says what the model is of; the native engine has this machine's CPU")]
    CpuOfNative,
    #[error("--components {0}")]
    Components(#[from] component_list::ComponentsError),
    #[error("--svg {path:?}: {error}")]
    Svg {
        path: std::path::PathBuf,
        error: io::Error,
    },
    #[error("{path:?}: {error}")]
    File {
        path: std::path::PathBuf,
        error: saved_file::FileError,
    },
    #[error("{0}")]
    Thread(#[from] saved_file::ThreadError),
    #[error("{path:?}: {error}")]
    Source {
        path: std::path::PathBuf,
        error: image_maker::SourceError,
    },
    #[error("--to {0}")]
    To(cpu_choice::CpuError),
    #[error("--from {0}")]
    From(cpu_choice::CpuError),
    #[error("--from: a snapshot says itself which CPU made it")]
    FromOfSnapshot,
    #[error("--kvm: {0}")]
    Kernel(#[from] kernel_answer::KernelError),
    #[error("--loss {0}")]
    Loss(component_list::ComponentsError),
    #[error("--xcr0 {0}")]
    Xcr0(component_list::ComponentsError),
    #[error("--to: {0}")]
    Conversion(#[from] conversion::ConversionError),
    #[error("-o {path:?}: {error}")]
    WriteImage {
        path: std::path::PathBuf,
        error: io::Error,
    },
    #[error("{path:?}: {error}")]
    Subject {
        path: std::path::PathBuf,
        error: subject::SubjectError,
    },
    #[error("--register {0}")]
    Register(#[from] registers::selection::NoSuchRegister),
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
        Command::Run(run) => run_cmd::execute(&run),
        Command::Bench(bench) => bench_cmd::execute(&bench),
        Command::Cpu(cpu) => cpu_cmd::execute(&cpu),
        Command::Layout(layout) => layout_cmd::execute(&layout),
        Command::Check(check) => check_cmd::execute(&check),
        Command::Convert(convert) => convert_cmd::execute(&convert),
        Command::Baseline(baseline) => baseline_cmd::execute(&baseline),
        Command::Inspect(inspect) => inspect_cmd::execute(&inspect),
        Command::Diff(diff) => diff_cmd::execute(&diff),
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
    let _ = writeln!(io::stderr(), "fpstate: {line}");
    ExitCode::from(2)
}

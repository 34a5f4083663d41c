//! An emulator that runs, and what its serial port says.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tempfile::TempDir;

use crate::tool::ToolError;

/// Which program of the emulator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EmulatorProgram {
    /// A copy without the one known mistake of Bochs 3.0; QEMU needs none
    Corrected,
    /// The one that is installed
    AsIs,
}

/// What is booted, and on what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boot<'b> {
    /// The kernel's ELF image.
    pub(crate) image: &'b Path,
    /// The emulator's name for the CPU.
    pub(crate) cpu_model: &'b str,
    pub(crate) cpus: u32,
    /// The kernel's command line.
    pub(crate) command_line: &'b str,
    pub(crate) emulator: EmulatorProgram,
}

/// Where the serial port's bytes go, in the folder of the emulation.
pub(crate) const SERIAL: &str = "serial.txt";

/// Why there is no emulation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmulationError {
    #[error("{0}")]
    Tool(#[from] ToolError),
    #[error("{program} does not start: {error}")]
    Start { program: String, error: io::Error },
    #[error("{program}: {complaint}")]
    Refused {
        program: &'static str,
        complaint: String,
    },
    #[error("passing on what the machine says: {0}")]
    Lines(io::Error),
    #[error("files of the emulation: {0}")]
    Files(#[from] io::Error),
}

/// An emulator that is ready to be started.
#[derive(Debug)]
pub(crate) struct Emulation {
    /// Holds [`SERIAL`] and whatever the emulator writes.
    pub(crate) folder: TempDir,
    /// What starts it; without standard streams yet.
    pub(crate) command: Command,
    pub(crate) program: &'static str,
    /// How the program differs from the one that is installed.
    pub(crate) corrections: Vec<String>,
    /// Finds in the emulator's own messages why it did not start the machine.
    pub(crate) complaint: fn(&str) -> Option<String>,
    /// Finds in the folder why the machine stopped.
    pub(crate) last_words: fn(&Path) -> Option<String>,
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It stopped, and what the emulator says about that.
    Stopped(Option<String>),
    /// It was stopped, because its time was over.
    TimedOut,
}

const POLL: Duration = Duration::from_millis(50);

impl Emulation {
    /// Runs it for `limit` at most; `line` gets every line of the serial port as it comes.
    pub(crate) fn run(
        mut self,
        limit: Duration,
        mut line: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<End, EmulationError> {
        let messages = self.folder.path().join("messages.txt");
        let serial = self.folder.path().join(SERIAL);
        // It is there from the beginning, so that it can be read from the beginning.
        File::create(&serial)?;
        let mut serial = Lines::of(File::open(&serial)?);
        let out = File::create(&messages)?;
        let mut child = (self.command)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()
            .map_err(|error| EmulationError::Start {
                program: self.program.to_owned(),
                error,
            })?;
        let deadline = Instant::now() + limit;
        let ended = loop {
            let stopped = child.try_wait()?.is_some();
            // What it wrote before it stopped is there by now.
            if let Err(error) = serial.pass_on(&mut line) {
                child.kill()?;
                child.wait()?;
                return Err(EmulationError::Lines(error));
            }
            if stopped {
                break End::Stopped((self.last_words)(self.folder.path()));
            }
            if Instant::now() >= deadline {
                child.kill()?;
                child.wait()?;
                serial.pass_on(&mut line)?;
                break End::TimedOut;
            }
            thread::sleep(POLL);
        };
        serial.pass_on_rest(&mut line)?;
        if serial.lines == 0 {
            let messages = fs::read(&messages)?;
            if let Some(complaint) = (self.complaint)(&String::from_utf8_lossy(&messages)) {
                return Err(EmulationError::Refused {
                    program: self.program,
                    complaint,
                });
            }
        }
        Ok(ended)
    }
}

/// A growing file, line by line.
#[derive(Debug)]
struct Lines {
    file: File,
    /// Bytes of a line that has no end yet.
    begun: Vec<u8>,
    /// Lines passed on.
    lines: usize,
}

impl Lines {
    fn of(file: File) -> Self {
        Self {
            file,
            begun: Vec::new(),
            lines: 0,
        }
    }

    /// Passes on each line that has come to its end.
    fn pass_on(&mut self, line: &mut impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        self.file.read_to_end(&mut self.begun)?;
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let bytes: Vec<u8> = self.begun.drain(..=end).collect();
            self.lines += 1;
            line(String::from_utf8_lossy(&bytes).trim_end())?;
        }
        Ok(())
    }

    /// Passes on a last line that nothing ends.
    fn pass_on_rest(&mut self, line: &mut impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        if !self.begun.is_empty() {
            self.begun.push(b'\n');
            self.pass_on(line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Emulation {
        let folder = TempDir::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder.path());
        Emulation {
            folder,
            command,
            program: "sh",
            corrections: Vec::new(),
            complaint: |messages| messages.lines().next().map(str::to_owned),
            last_words: |_| None,
        }
    }

    fn run(script: &str) -> (Result<End, EmulationError>, Vec<String>) {
        let mut lines = Vec::new();
        let end = shell(script).run(Duration::from_millis(500), |line| {
            lines.push(line.to_owned());
            Ok(())
        });
        (end, lines)
    }

    #[test]
    fn every_line_comes_even_one_without_an_end() {
        let (end, lines) = run("printf 'a\\r\\nb\\nc' > serial.txt");
        assert_eq!(end.unwrap(), End::Stopped(None));
        assert_eq!(lines, ["a", "b", "c"]);
    }

    #[test]
    fn a_machine_that_hangs_is_stopped() {
        let (end, lines) = run("echo a > serial.txt; exec sleep 600");
        assert_eq!(end.unwrap(), End::TimedOut);
        assert_eq!(lines, ["a"]);
    }

    #[test]
    fn a_machine_that_never_ran_is_an_error_with_the_emulators_words() {
        let (end, _) = run("echo no such CPU >&2; exit 1");
        assert_eq!(end.unwrap_err().to_string(), "sh: no such CPU");
    }
}

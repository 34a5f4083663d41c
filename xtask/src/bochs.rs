//! How Bochs is started: the kernel from a CD-ROM by GRUB, the end by its port 8900H.
//!
//! Bochs is the one on the path, or one in the root of another system. That one is started by its
//! own loader with its own libraries, so nobody has to be root to change into it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::bochs_correction;
use crate::emulation::{Boot, Emulation, EmulationError, EmulatorProgram, SERIAL};
use crate::output;
use crate::tool::{Tool, ToolError};

const BOCHS: Tool = Tool {
    name: "Bochs 3",
    install: "debootstrap --variant=minbase trixie /opt/emu/trixie && chroot /opt/emu/trixie \
              apt-get install -y --no-install-recommends bochs bochs-term bochsbios vgabios",
};
const GRUB: Tool = Tool {
    name: "grub-mkrescue",
    install: "apt-get install --no-install-recommends grub-common grub-pc-bin xorriso mtools",
};
const XORRISO: Tool = Tool {
    name: "xorriso",
    ..GRUB
};
const GRUB_FOR_BIOS: Tool = Tool {
    name: "/usr/lib/grub/i386-pc",
    ..GRUB
};
const SCRIPT: Tool = Tool {
    name: "script",
    install: "apt-get install bsdutils",
};

/// Names the root of the system that has Bochs.
const ROOT_VARIABLE: &str = "FPSTATE_BOCHS_ROOT";
const DEFAULT_ROOT: &str = "/opt/emu/trixie";
const ISO: &str = "boot.iso";
const LOG: &str = "log.txt";
const CORRECTED: &str = "bochs-corrected";

/// A Bochs, and what it takes to start it.
#[derive(Debug)]
struct Installation {
    /// What it is started by, if it cannot start by itself.
    loader: Vec<String>,
    program: PathBuf,
    plugins: Option<PathBuf>,
    /// Has the BIOS images.
    share: PathBuf,
}

impl Installation {
    /// Goes on with a copy in `folder` that has the known mistake made right, and tells what that was. Where
    /// it is not known how, the program stays, and the kernel finds out by itself what it cannot do.
    fn correct(&mut self, folder: &Path) -> io::Result<Vec<String>> {
        let mut program = fs::read(&self.program)?;
        match bochs_correction::correct(&mut program) {
            Ok(correction) => {
                let copy = folder.join(CORRECTED);
                fs::write(&copy, program)?;
                fs::set_permissions(&copy, fs::metadata(&self.program)?.permissions())?;
                self.program = copy;
                output::remark(&format!("# Bochs: a copy, corrected: {correction}"))?;
                Ok(vec![correction.to_string()])
            }
            Err(not_once) => {
                output::remark(&format!("# Bochs: as it is: {not_once}"))?;
                Ok(Vec::new())
            }
        }
    }
}

/// Makes a machine ready.
pub(crate) fn prepare(boot: &Boot<'_>) -> Result<Emulation, EmulationError> {
    let mut bochs = find()?;
    let script = SCRIPT.find()?;
    let folder = TempDir::new()?;
    let corrections = match boot.emulator {
        EmulatorProgram::Corrected => bochs.correct(folder.path())?,
        EmulatorProgram::AsIs => Vec::new(),
    };
    make_iso(boot, folder.path())?;
    fs::write(folder.path().join("bochsrc"), configuration(boot, &bochs))?;
    let program = bochs.program.display().to_string();
    let words = (bochs.loader.iter().map(String::as_str)).chain([&program, "-q", "-f", "bochsrc"]);
    // Only a word with a zero byte cannot be quoted, and no path has one.
    let line = shlex::try_join(words).map_err(io::Error::other)?;
    let mut command = Command::new(script);
    // Its display wants a terminal.
    command
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .env("TERM", "xterm")
        .current_dir(folder.path());
    if let Some(plugins) = bochs.plugins {
        command.env("LTDL_LIBRARY_PATH", plugins);
    }
    Ok(Emulation {
        folder,
        command,
        program: "bochs",
        corrections,
        complaint: panic_in,
        last_words,
    })
}

fn find() -> Result<Installation, ToolError> {
    if let Some(root) = env::var_os(ROOT_VARIABLE) {
        return in_root(Path::new(&root)).ok_or(BOCHS.missing());
    }
    // Debian's `bochs` is a shell script around `bochs-bin`.
    if let Ok(program) = which::which("bochs-bin").or_else(|_| which::which("bochs"))
        && is_new_enough(&program)
    {
        return Ok(Installation {
            loader: Vec::new(),
            program,
            plugins: None,
            share: env::var_os("BXSHARE").map_or_else(|| "/usr/share/bochs".into(), PathBuf::from),
        });
    }
    in_root(Path::new(DEFAULT_ROOT)).ok_or(BOCHS.missing())
}

/// Older ones have no CPU with AMX.
fn is_new_enough(bochs: &Path) -> bool {
    let help = Command::new(bochs)
        .arg("--help")
        .stdin(Stdio::null())
        .output();
    help.is_ok_and(|help| {
        let text = [help.stdout, help.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let version = text.split("Bochs x86 Emulator ").nth(1);
        let major = version.and_then(|version| version.split('.').next());
        major.and_then(|major| major.parse().ok()) >= Some(3)
    })
}

fn in_root(root: &Path) -> Option<Installation> {
    let loader = root.join("lib64/ld-linux-x86-64.so.2");
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let program = root.join("usr/bin/bochs-bin");
    if !loader.exists() || !program.exists() {
        return None;
    }
    let word = |path: &Path| path.display().to_string();
    Some(Installation {
        loader: vec![word(&loader), "--library-path".to_owned(), word(&libraries)],
        program,
        plugins: Some(libraries.join("bochs/plugins")),
        share: root.join("usr/share/bochs"),
    })
}

fn configuration(boot: &Boot<'_>, bochs: &Installation) -> String {
    let share = bochs.share.display();
    let (model, cpus) = (boot.cpu_model, boot.cpus);
    format!(
        "megs: 512
cpu: model={model}, count={cpus}, ips=200000000, reset_on_triple_fault=0
romimage: file={share}/BIOS-bochs-latest
vgaromimage: file={share}/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path={ISO}, status=inserted
boot: cdrom
display_library: term
port_e9_hack: enabled=1
com1: enabled=1, mode=file, dev={SERIAL}
log: {LOG}
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
"
    )
}

fn make_iso(boot: &Boot<'_>, folder: &Path) -> Result<(), EmulationError> {
    let mkrescue = GRUB.find()?;
    XORRISO.find()?;
    if !Path::new(GRUB_FOR_BIOS.name).exists() {
        return Err(GRUB_FOR_BIOS.missing().into());
    }
    let tree = folder.join("iso");
    let grub = tree.join("boot").join("grub");
    fs::create_dir_all(&grub)?;
    fs::copy(boot.image, tree.join("boot").join("kernel"))?;
    let command_line = boot.command_line;
    fs::write(
        grub.join("grub.cfg"),
        format!("multiboot /boot/kernel {command_line}\nboot\n"),
    )?;
    let made = Command::new(&mkrescue)
        .args(["-d", GRUB_FOR_BIOS.name, "-o"])
        .arg(folder.join(ISO))
        .arg(&tree)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| EmulationError::Start {
            program: GRUB.name.to_owned(),
            error,
        })?;
    if made.status.success() {
        return Ok(());
    }
    let messages = String::from_utf8_lossy(&made.stderr).into_owned();
    Err(EmulationError::Refused {
        program: GRUB.name,
        complaint: messages.lines().last().unwrap_or("no image").to_owned(),
    })
}

/// The machine's own end is one of Bochs's panics; any other says why it stopped.
fn panic_in(messages: &str) -> Option<String> {
    let (_, panic) = (messages.lines())
        .filter_map(|line| line.split_once(">>PANIC<< "))
        .find(|(_, panic)| !panic.starts_with("Shutdown port"))?;
    Some(panic.trim().to_owned())
}

fn last_words(folder: &Path) -> Option<String> {
    let log = fs::read(folder.join(LOG)).ok()?;
    panic_in(&String::from_utf8_lossy(&log))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_end_is_no_complaint() {
        let end = "00870427519p[UNMAP ] >>PANIC<< Shutdown port: shutdown requested\n";
        assert_eq!(panic_in(end), None);
        let wrong = "0p[      ] >>PANIC<< bochsrc:7: display library 'nogui' not available\n";
        assert_eq!(
            panic_in(wrong).as_deref(),
            Some("bochsrc:7: display library 'nogui' not available")
        );
    }
}

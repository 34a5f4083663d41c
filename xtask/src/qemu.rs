//! How QEMU is started: the kernel by `-kernel`, the end by the device isa-debug-exit.

use std::process::Command;

use tempfile::TempDir;

use crate::emulation::{Boot, Emulation, EmulationError, SERIAL};
use crate::tool::Tool;

const QEMU: Tool = Tool {
    name: "qemu-system-x86_64",
    install: "apt-get install -t bookworm-backports --no-install-recommends qemu-system-x86",
};

/// Makes a machine ready.
pub(crate) fn prepare(boot: &Boot<'_>) -> Result<Emulation, EmulationError> {
    let folder = TempDir::new()?;
    let mut command = Command::new(QEMU.find()?);
    command
        .arg("-kernel")
        .arg(boot.image)
        .args(["-append", boot.command_line, "-m", "512"])
        .args(["-cpu", boot.cpu_model, "-smp", &boot.cpus.to_string()])
        .args(["-accel", "tcg", "-nodefaults", "-display", "none"])
        .args(["-serial", &format!("file:{SERIAL}"), "-no-reboot"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .current_dir(folder.path());
    Ok(Emulation {
        folder,
        command,
        program: QEMU.name,
        corrections: Vec::new(),
        complaint,
        last_words: |_| None,
    })
}

/// QEMU warns of each CPU feature that it does not have; that stops nothing.
fn complaint(messages: &str) -> Option<String> {
    let line = (messages.lines()).find(|line| !line.contains("warning:"))?;
    let line = line.strip_prefix("qemu-system-x86_64: ").unwrap_or(line);
    Some(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_no_complaint() {
        let warning = "qemu-system-x86_64: warning: TCG doesn't support requested feature";
        assert_eq!(complaint(warning), None);
        let both = format!("{warning}\nqemu-system-x86_64: unable to find CPU model 'x'\n");
        assert_eq!(
            complaint(&both).as_deref(),
            Some("unable to find CPU model 'x'")
        );
    }
}

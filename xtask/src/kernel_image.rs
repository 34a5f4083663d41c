//! Builds the kernel: with rustup's target where it can be had, else with Debian's rustc, which
//! builds the standard library's lower crates itself.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::output;
use crate::tool::{Tool, ToolError};

const TARGET: &str = "x86_64-unknown-none";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LIBRARY: &str = "/usr/src";

const DEBIAN: Tool = Tool {
    name: "the Rust target x86_64-unknown-none",
    install: "rustup target add x86_64-unknown-none, or apt-get install --no-install-recommends \
              rustc-web cargo-web rust-web-src",
};

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("{0}")]
    Tool(#[from] ToolError),
    #[error("{program} does not start: {error}")]
    Start { program: String, error: io::Error },
    #[error("the kernel does not build: cargo says why above")]
    Cargo,
    #[error("{0}")]
    Output(#[from] io::Error),
}

/// What compiles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compiler {
    /// The current toolchain, with its own build of the target's standard library.
    Rustup,
    /// Debian's package rustc-web, with rust-web-src.
    Debian,
}

/// Builds the kernel, says with what on standard error, and says where it is.
pub(crate) fn build() -> Result<PathBuf, BuildError> {
    let compiler = choose()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.canonicalize()?;
    let target_dir = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |dir| root.join(dir))
        .join("hypervisor");
    let (mut cargo, target_dir) = match compiler {
        Compiler::Rustup => {
            output::remark("# kernel: built with rustup's x86_64-unknown-none")?;
            let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            (Command::new(cargo), target_dir)
        }
        Compiler::Debian => {
            output::remark("# kernel: built with Debian's rustc and its library source")?;
            (debian_cargo()?, target_dir.join("debian"))
        }
    };
    cargo
        .args(["build", "--release", "--locked", "--quiet"])
        .args(["-p", "fpstate-hypervisor", "--features", "boot"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(&root))
        .current_dir(&root)
        .stdin(Stdio::null());
    if compiler == Compiler::Debian {
        cargo.args([
            "-Zbuild-std=core,alloc,compiler_builtins",
            "-Zbuild-std-features=compiler-builtins-mem",
        ]);
    }
    if run(&mut cargo)? {
        Ok(target_dir.join(TARGET).join("release").join("hypervisor"))
    } else {
        Err(BuildError::Cargo)
    }
}

/// The image is linked to an address, by the kernel's own script, with sections as close in the
/// file as in memory.
fn rust_flags(root: &Path) -> String {
    let script = root.join("hypervisor").join("link.ld");
    let script = format!("-Clink-arg=-T{}", script.display());
    ["-Crelocation-model=static", &script, "-Clink-arg=-n"].join("\x1f")
}

fn choose() -> Result<Compiler, BuildError> {
    if which::which("rustup").is_ok() {
        let list = Command::new("rustup")
            .args(["target", "list", "--installed"])
            .output()
            .map_err(start_error("rustup"))?;
        let list = String::from_utf8_lossy(&list.stdout);
        if list.lines().any(|line| line.trim() == TARGET) {
            return Ok(Compiler::Rustup);
        }
        let mut add = Command::new("rustup");
        add.args(["target", "add", TARGET])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if run(&mut add)? {
            return Ok(Compiler::Rustup);
        }
    }
    if Path::new(DEBIAN_RUSTC).exists() && Path::new(DEBIAN_CARGO).exists() && has_library_source()
    {
        return Ok(Compiler::Debian);
    }
    Err(DEBIAN.missing().into())
}

/// Whether rust-web-src is installed: it puts the source into a folder named for the version.
fn has_library_source() -> bool {
    std::fs::read_dir(DEBIAN_LIBRARY).is_ok_and(|entries| {
        (entries.flatten()).any(|entry| {
            entry.file_name().to_string_lossy().starts_with("rustc")
                && entry.path().join("library").exists()
        })
    })
}

/// Debian's cargo, with rustup's `rust-lld` on its path if there is one: Debian has it apart.
fn debian_cargo() -> Result<Command, BuildError> {
    let mut cargo = Command::new(DEBIAN_CARGO);
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", DEBIAN_RUSTC)
        .env_remove("RUSTUP_TOOLCHAIN");
    if which::which("rust-lld").is_err()
        && let Ok(sysroot) = Command::new("rustc").args(["--print", "sysroot"]).output()
    {
        let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
        let linker = Path::new(&sysroot).join("lib/rustlib/x86_64-unknown-linux-gnu/bin");
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path).chain([linker]);
        // A folder with ':' in its name cannot be on a path; then the linker is missed by its name.
        if let Ok(path) = env::join_paths(folders) {
            cargo.env("PATH", path);
        }
    }
    Ok(cargo)
}

fn run(command: &mut Command) -> Result<bool, BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(start_error(&program))?;
    Ok(status.success())
}

fn start_error(program: &str) -> impl FnOnce(io::Error) -> BuildError {
    let program = program.to_owned();
    |error| BuildError::Start { program, error }
}

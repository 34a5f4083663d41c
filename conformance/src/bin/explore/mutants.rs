//! The library with one guard taken out, built in a copy of the sources and searched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use conformance::explorer::Mutant;

/// Runs the mutants with these names, or all; each must be found.
pub(crate) fn run(names: &[String]) -> ExitCode {
    match run_all(names) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(missed) => {
            println!("{missed} not found");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("explore: {error}");
            ExitCode::from(2)
        }
    }
}

fn run_all(names: &[String]) -> Result<u32, String> {
    let all = Mutant::all()?;
    let known = |name: &&String| all.iter().any(|mutant| mutant.name == **name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(format!("no mutant is called {unknown}"));
    }
    let root = workspace();
    let copy = std::env::temp_dir().join(format!("fpstate-mutants-{}", std::process::id()));
    copy_tree(&root, &copy)?;
    let mut missed = 0;
    for mutant in all
        .iter()
        .filter(|m| names.is_empty() || names.contains(&m.name))
    {
        for edit in &mutant.edits {
            let file = copy.join(&edit.file);
            let source = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            write(&file, &edit.apply(&source)?)?;
        }
        let answer = search(&copy, mutant);
        for edit in &mutant.edits {
            let original = fs::read_to_string(root.join(&edit.file));
            write(
                &copy.join(&edit.file),
                &original.map_err(|error| error.to_string())?,
            )?;
        }
        let (found, text) = answer?;
        missed += u32::from(!found);
        let verdict = if found { "found" } else { "NOT FOUND" };
        println!("{}: {verdict}: {}\n{text}", mutant.name, mutant.what);
    }
    let _ = fs::remove_dir_all(&copy);
    Ok(missed)
}

/// Builds the copy and searches; whether it came to a violation, and what was printed.
fn search(copy: &Path, mutant: &Mutant) -> Result<(bool, String), String> {
    let answer = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.join("target"))
        // Each is built once and runs for seconds.
        .envs([
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
            ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
            ("CARGO_INCREMENTAL", "1"),
        ])
        .args([
            "run",
            "--quiet",
            "--release",
            "--locked",
            "-p",
            "conformance",
            "--bin",
            "explore",
            "--",
        ])
        .args(["--world", &mutant.world])
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    match answer.status.code() {
        Some(code @ (0 | 1)) if !answer.stdout.is_empty() => {
            let text = String::from_utf8_lossy(&answer.stdout).into_owned();
            Ok((code == 1, text))
        }
        _ => Err(format!(
            "{}: {}",
            mutant.name,
            String::from_utf8_lossy(&answer.stderr)
        )),
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All but what cargo and git made.
fn copy_tree(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let entries = fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| error.to_string())?;
        let (name, kind) = (entry.file_name(), entry.file_type());
        if name == "target" || name == ".git" {
            continue;
        }
        let kind = kind.map_err(|error| error.to_string())?;
        let to = to.join(&name);
        if kind.is_dir() {
            copy_tree(&entry.path(), &to)?;
        } else if kind.is_file() {
            let copied = fs::copy(entry.path(), &to);
            copied.map_err(|error| format!("{}: {error}", to.display()))?;
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

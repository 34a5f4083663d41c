//! The command as a user meets it: answers, exit status, one line for what is wrong.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

pub(crate) fn fpstate(arguments: &[&str]) -> Output {
    Command::cargo_bin("fpstate")
        .unwrap()
        .args(arguments)
        .output()
        .unwrap()
}

/// Standard output of a command that ends with `status` and has nothing to complain of.
pub(crate) fn answer(status: i32, arguments: &[&str]) -> String {
    let output = fpstate(arguments);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}: {output:?}"
    );
    assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn json(status: i32, arguments: &[&str]) -> Value {
    let text = answer(status, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap()
}

/// `arguments` are refused with status 2 and one line that says `what`.
pub(crate) fn assert_refused(arguments: &[&str], what: &str) {
    let output = fpstate(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains(what), "{line} should say {what}");
}

/// A path for `name` in a folder of the calling test's own: the tests run side by side.
pub(crate) fn path(name: &str) -> String {
    let thread = std::thread::current();
    let test = thread.name().unwrap().replace("::", "-");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("exchange")
        .join(test);
    fs::create_dir_all(&folder).unwrap();
    folder.join(name).into_os_string().into_string().unwrap()
}

/// A file with `contents`, and its path as an argument.
pub(crate) fn file(name: &str, contents: &[u8]) -> String {
    let path = path(name);
    fs::write(&path, contents).unwrap();
    path
}

/// Random numbers that `FPSTATE_SEED` repeats.
pub(crate) fn random() -> fastrand::Rng {
    let seed = match std::env::var("FPSTATE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    println!("FPSTATE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

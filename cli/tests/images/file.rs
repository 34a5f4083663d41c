//! Files for the command, and its answers.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use assert_cmd::Command;
use serde_json::Value;

/// A file that is there as long as this is.
#[derive(Debug)]
pub(crate) struct TestFile(PathBuf);

impl TestFile {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("image-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        // A file left behind is no failure.
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) fn fpstate(arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("fpstate").unwrap();
    command.args(arguments).output().unwrap()
}

/// Standard output; the exit status is `status`.
pub(crate) fn text(arguments: &[&str], status: i32) -> String {
    let output = fpstate(arguments);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn json(arguments: &[&str], status: i32) -> Value {
    serde_json::from_str(&text(&[arguments, &["--json"]].concat(), status)).unwrap()
}

/// The one line in which `arguments` are refused with status 2.
pub(crate) fn refusal(arguments: &[&str]) -> String {
    let output = fpstate(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

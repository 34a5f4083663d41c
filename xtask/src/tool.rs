//! Programs that must be installed.

use std::path::PathBuf;

/// A program that is not there, and what brings it.
#[derive(Debug, thiserror::Error)]
#[error("{name} is missing: {install}")]
pub(crate) struct ToolError {
    name: &'static str,
    install: &'static str,
}

/// A program, and what installs it on Debian 12.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) install: &'static str,
}

impl Tool {
    /// Where it is.
    pub(crate) fn find(self) -> Result<PathBuf, ToolError> {
        which::which(self.name).map_err(|_| self.missing())
    }

    /// That it is not there.
    pub(crate) fn missing(self) -> ToolError {
        ToolError {
            name: self.name,
            install: self.install,
        }
    }
}

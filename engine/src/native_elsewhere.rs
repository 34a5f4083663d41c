//! There is no native engine here: it needs x86-64 Linux.

use crate::config::RunConfig;
use crate::footprint::LiveHeapBytes;
use crate::report::{Progress, RunReport};
use crate::run_error::RunError;

/// Whether the native engine runs on this machine.
pub const IS_HERE: bool = false;

/// Refuses.
///
/// # Errors
/// [`RunError::NoNativeEngine`], always.
pub fn run(
    _config: &RunConfig,
    _live_heap_bytes: LiveHeapBytes,
    _watch: impl FnMut(Progress),
) -> Result<RunReport, RunError> {
    Err(RunError::NoNativeEngine)
}

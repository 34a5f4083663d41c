//! There is nothing to measure here: it needs x86-64 Linux.

use fpstate_engine::HostCpu;
use fpstate_engine::footprint::LiveHeapBytes;

use crate::bench_config::BenchConfig;
use crate::bench_error::BenchError;
use crate::report::BenchReport;

/// Refuses.
///
/// # Errors
/// [`BenchError`], always.
pub fn run(
    _config: &BenchConfig,
    _live_heap_bytes: LiveHeapBytes,
    _watch: impl FnMut(&str),
) -> Result<BenchReport, BenchError> {
    HostCpu::read()?;
    Err(BenchError::NotLinux)
}

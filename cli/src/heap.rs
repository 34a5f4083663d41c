//! What the allocator has given out: the footprint of a vCPU is measured, not computed.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes allocated and not freed.
pub(crate) fn live_bytes() -> usize {
    let stats = HEAP.stats();
    stats
        .bytes_allocated
        .saturating_sub(stats.bytes_deallocated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_megabytes_more_are_sixteen_megabytes_more() {
        let before = live_bytes();
        let memory = vec![1_u8; 1 << 24];
        // Other tests allocate meanwhile, but not that much.
        assert!((live_bytes() - before).abs_diff(1 << 24) < 1 << 23);
        drop(memory);
    }
}

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
    fn a_megabyte_more_is_a_megabyte_more() {
        let before = live_bytes();
        let memory = vec![1_u8; 1 << 20];
        // Other tests allocate meanwhile, but not that much.
        assert!((live_bytes() - before).abs_diff(1 << 20) < 1 << 19);
        drop(memory);
    }
}

//! The time-stamp counter between two fences (SDM 3, 18.17; SDM 2, RDTSC).

use core::arch::asm;

/// LFENCE; RDTSC; LFENCE: the time-stamp counter, read after every instruction before it has executed
/// and before any after it begins. Its unit is the TSC's cycle, which is not the core's.
///
/// # Safety
/// 1. CR4.TSD is 0 or CPL is 0; otherwise #GP. An ordinary process of Linux has it so, unless it
///    asked for the opposite with `prctl(PR_SET_TSC)`.
#[must_use]
#[inline]
pub unsafe fn timestamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: 1: the caller's. The three instructions write EDX:EAX. Without `nomem`, so that what is
    // measured stays where it was written.
    unsafe {
        asm!(
            "lfence",
            "rdtsc",
            "lfence",
            out("eax") low,
            out("edx") high,
            options(nostack, preserves_flags),
        );
    }
    u64::from(high) << 32 | u64::from(low)
}

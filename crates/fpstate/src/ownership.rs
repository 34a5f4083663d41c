//! Where a state is: in memory, in a CPU's registers, or in both.
//!
//! ```text
//!                  restored on c                        user code may run
//!     Memory ───────────────────────► Registers(c) ◄────────────────────────┐
//!       ▲                               │     ▲                             │
//!       │ edited, or                    │     │ used again on c,            │
//!       │ c's registers reused          │     │ nothing restored            │
//!       │                         saved │     │                             │
//!       └───────── MemoryAndRegisters(c) ◄────┘                             │
//!                        │        restored on d (c's copy is void) ─────────┘
//! ```
//!
//! `MemoryAndRegisters(c)` is a hint: it holds only while CPU c still names this state as the owner
//! of its registers. Two facts must agree (`Fpstate` says c, c says this state), so voiding either
//! one is enough: Linux's `fpu->last_cpu` and `fpu_fpregs_owner_ctx`. The owner is named by an
//! identity that is never reused, so a state freed and made anew at the same address cannot look
//! loaded.

use core::fmt;
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicU64, Ordering};

/// A logical CPU, by the number the caller gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u32);

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {}", self.0)
    }
}

/// The identity of one state; no two states that ever lived have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(NonZeroU64);

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state {}", self.0)
    }
}

/// Where identities come from: one for the whole system, in a `static` of the caller's.
#[derive(Debug)]
pub struct StateIds(AtomicU64);

impl StateIds {
    /// A source that has issued nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// An identity that was never issued before. A thousand million a second would last 584 years.
    pub fn issue(&self) -> StateId {
        let issued_before = self.0.fetch_add(1, Ordering::Relaxed);
        StateId(NonZeroU64::MIN.saturating_add(issued_before))
    }
}

impl Default for StateIds {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Residence {
    /// In its area only.
    Memory,
    /// In its area; this CPU's registers hold the same if the CPU still names the state as their
    /// owner.
    MemoryAndRegisters(CpuId),
    /// In this CPU's registers only; the area is stale.
    Registers(CpuId),
    /// Kept by the hardware (SEV-ES, TDX): never saved, never restored (invariant I28).
    Sealed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_not_reused() {
        static IDS: StateIds = StateIds::new();
        let (first, second) = (IDS.issue(), IDS.issue());
        assert_ne!(first, second);
        assert_eq!(first.0.get(), 1);
    }
}

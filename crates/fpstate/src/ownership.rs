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

/// A logical CPU, from when it came online until it goes offline: the number that the caller gives
/// it, and an identity that no other CPU, and no other life of the same CPU, ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId {
    number: u32,
    life: NonZeroU64,
}

impl CpuId {
    /// The number that the caller gave it.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.number
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {}", self.number)
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

/// Where identities come from: one for the whole system, in a `static` of the caller's. States and
/// CPUs of two sources must never meet.
#[derive(Debug)]
pub struct Identities(AtomicU64);

impl Identities {
    /// A source that has issued nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A number that was never issued before. A thousand million a second would last 584 years.
    fn issue(&self) -> NonZeroU64 {
        NonZeroU64::MIN.saturating_add(self.0.fetch_add(1, Ordering::Relaxed))
    }

    /// The identity of a new state.
    pub(crate) fn state(&self) -> StateId {
        StateId(self.issue())
    }

    /// The identity of a CPU that comes online.
    pub(crate) fn cpu(&self, number: u32) -> CpuId {
        CpuId {
            number,
            life: self.issue(),
        }
    }
}

impl Default for Identities {
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
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn identities_are_not_reused_even_for_the_same_cpu() {
        static IDENTITIES: Identities = Identities::new();
        assert_ne!(IDENTITIES.state(), IDENTITIES.state());
        let (before, after) = (IDENTITIES.cpu(3), IDENTITIES.cpu(3));
        assert_eq!((before.number(), after.number()), (3, 3));
        assert_ne!(before, after);
    }

    #[test]
    fn a_state_and_a_cpu_are_shown_by_their_numbers() {
        static IDENTITIES: Identities = Identities::new();
        let first = IDENTITIES.state();
        let second = IDENTITIES.state();
        let cpu = IDENTITIES.cpu(7);
        let here = IDENTITIES.cpu(9);
        for (shown, sentence) in [
            (first.to_string(), "state 1"),
            (second.to_string(), "state 2"),
            (cpu.to_string(), "CPU 7"),
            (here.to_string(), "CPU 9"),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}

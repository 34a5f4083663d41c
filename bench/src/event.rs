//! What happens to a thread and its vCPU: each is measured, and counted once.

use fpstate::Restoring;
use serde::Serialize;

use crate::policy::{Policy, PolicyError};
use crate::policy_name::PolicyName;

/// Something that happens to a thread and its vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Into the guest and back; both use their registers.
    RoundTrip,
    /// The same, but the scheduler has taken the thread off before the entry, and again before the
    /// exit: what goes out is in memory each time, and saving it is part of the figure.
    PreemptedRoundTrip,
    /// `vcpu_run` that comes back before the guest has run; the thread goes on.
    LeavesAtOnce,
    /// `vcpu_run` again and again, of a thread that does nothing of its own in between.
    BackToBack,
    /// In and out with both states in memory, neither needed: two swaps.
    SwapInMemory,
    /// The scheduler takes a thread off whose state is in memory.
    PreemptedInMemory,
}

impl Event {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::RoundTrip,
        Self::PreemptedRoundTrip,
        Self::LeavesAtOnce,
        Self::BackToBack,
        Self::SwapInMemory,
        Self::PreemptedInMemory,
    ];

    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::RoundTrip => "round trip",
            Self::PreemptedRoundTrip => "round trip, preempted before each half",
            Self::LeavesAtOnce => "entry that leaves at once",
            Self::BackToBack => "entry after entry of one vCPU",
            Self::SwapInMemory => "in and out, both states in memory",
            Self::PreemptedInMemory => "preemption, state in memory",
        }
    }

    /// Whether the design has the event. Bare instructions have no bookkeeping, so nothing is ever put
    /// off; Linux restores at every swap, so there its two states are never both in memory.
    #[must_use]
    pub const fn is_of(self, name: PolicyName) -> bool {
        match (self, name) {
            (Self::RoundTrip, _) => true,
            (_, PolicyName::InstructionsPair | PolicyName::PlainMoves | PolicyName::XsaveCrate)
            | (Self::SwapInMemory, PolicyName::TwoBuffers | PolicyName::PointerSwap) => false,
            (
                Self::PreemptedRoundTrip
                | Self::LeavesAtOnce
                | Self::BackToBack
                | Self::SwapInMemory
                | Self::PreemptedInMemory,
                _,
            ) => true,
        }
    }

    /// From a thread that is switched out, its registers somebody else's, to where the event can
    /// happen any number of times. Not measured.
    ///
    /// # Errors
    /// The policy's.
    pub fn prepare<P: Policy>(self, policy: &mut P) -> Result<(), PolicyError> {
        policy.registers_taken()?;
        policy.use_registers()?;
        match self {
            Self::RoundTrip | Self::PreemptedRoundTrip | Self::LeavesAtOnce => Ok(()),
            Self::BackToBack | Self::SwapInMemory | Self::PreemptedInMemory => policy.switch_out(),
        }
    }

    /// Lets it happen once.
    ///
    /// # Errors
    /// The policy's.
    #[inline]
    pub fn happen<P: Policy>(self, policy: &mut P, vcpu: usize) -> Result<(), PolicyError> {
        match self {
            Self::RoundTrip => {
                policy.enter(vcpu, Restoring::Now)?;
                policy.leave(vcpu, Restoring::Now)
            }
            Self::PreemptedRoundTrip => {
                policy.switch_out()?;
                policy.enter(vcpu, Restoring::Now)?;
                policy.switch_out()?;
                policy.leave(vcpu, Restoring::Now)
            }
            Self::LeavesAtOnce => {
                policy.enter(vcpu, Restoring::Deferred)?;
                policy.leave(vcpu, Restoring::Deferred)?;
                policy.use_registers()
            }
            Self::BackToBack => {
                policy.enter(vcpu, Restoring::Deferred)?;
                policy.use_registers()?;
                policy.leave(vcpu, Restoring::Deferred)
            }
            Self::SwapInMemory => {
                policy.enter(vcpu, Restoring::Deferred)?;
                policy.leave(vcpu, Restoring::Deferred)
            }
            Self::PreemptedInMemory => policy.switch_out(),
        }
    }

    /// Back to a thread that is switched out. Not measured.
    ///
    /// # Errors
    /// The policy's.
    pub fn finish<P: Policy>(self, policy: &mut P) -> Result<(), PolicyError> {
        policy.switch_out()
    }
}

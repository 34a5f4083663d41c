//! What a world's memory and states went through.

use super::{GrowthEvent, GrowthWorld, Hardware};

/// What a world's memory and states went through, summed up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Points at which memory was asked for.
    pub allocation_points: u64,
    /// Those at which there was none.
    pub failures: u64,
    /// States that grew.
    pub expansions: u64,
    /// States that gave memory back, at exec too.
    pub releases: u64,
    /// Areas in the memory of earlier ones.
    pub reused: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.allocation_points += other.allocation_points;
        self.failures += other.failures;
        self.expansions += other.expansions;
        self.releases += other.releases;
        self.reused += other.reused;
    }
}

impl<P: Hardware> GrowthWorld<'_, P> {
    /// What happened to memory.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let (allocation_points, failures) = self.lender.asked_and_failed();
        let count = |events: &[GrowthEvent]| events.iter().map(|&e| self.count_of(e)).sum();
        Totals {
            allocation_points,
            failures,
            expansions: count(&[
                GrowthEvent::ThreadGrew,
                GrowthEvent::ThreadGrewInMemory,
                GrowthEvent::RunningGuestGrew,
                GrowthEvent::IdleGuestGrew,
            ]),
            releases: count(&[
                GrowthEvent::ThreadReleased,
                GrowthEvent::GuestReleased,
                GrowthEvent::ReleasedAtExec,
            ]),
            reused: self.lender.reused(),
        }
    }
}

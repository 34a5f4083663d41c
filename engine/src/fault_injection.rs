//! Breaking one switch in a thousand on purpose: how the checks show that they can fail.

use std::fmt;
use std::num::NonZeroU32;

/// Of the switches that a fault can break, it breaks one in this many.
pub const FAULT_ODDS: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// About so many times rarer than a switch is a growth, and so many times more often it is broken.
const SWITCHES_PER_GROWTH: u32 = 100;

/// What to break. Faults strike where registers are known to hold a pattern and nothing else, so
/// the damage shows as a wrong register and not as a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InjectedFault {
    /// A guest is entered without restoring its state.
    SkipGuestRestore,
    /// A guest is left without restoring the thread's state.
    SkipHostRestore,
    /// A guest is left without saving its state.
    SkipSave,
    /// The kernel uses the registers and does not say so: the CPU goes on naming the thread as the
    /// owner, and the restore is skipped.
    WrongOwner,
    /// A vCPU that has run on another CPU meanwhile gets what this CPU last knew of it.
    StaleAfterMigration,
    /// A state grows while it is in memory, and what it held is not copied.
    SkipGrowthCopy,
}

impl InjectedFault {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SkipGuestRestore,
        Self::SkipHostRestore,
        Self::SkipSave,
        Self::WrongOwner,
        Self::StaleAfterMigration,
        Self::SkipGrowthCopy,
    ];

    /// The name by which it is asked for.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkipGuestRestore => "skip-guest-restore",
            Self::SkipHostRestore => "skip-host-restore",
            Self::SkipSave => "skip-save",
            Self::WrongOwner => "wrong-owner",
            Self::StaleAfterMigration => "stale-after-migration",
            Self::SkipGrowthCopy => "skip-growth-copy",
        }
    }

    /// Whether it can strike only where guests use on-demand components.
    #[must_use]
    pub const fn needs_growth(self) -> bool {
        match self {
            Self::SkipGrowthCopy => true,
            Self::SkipGuestRestore
            | Self::SkipHostRestore
            | Self::SkipSave
            | Self::WrongOwner
            | Self::StaleAfterMigration => false,
        }
    }
}

impl fmt::Display for InjectedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Decides for each eligible switch whether it is broken.
#[derive(Debug)]
pub(crate) struct Injector {
    fault: Option<InjectedFault>,
    one_in: NonZeroU32,
    random: fastrand::Rng,
    injected: u64,
}

impl Injector {
    pub(crate) fn new(fault: Option<InjectedFault>, one_in: NonZeroU32, seed: u64) -> Self {
        Self {
            fault,
            one_in,
            random: fastrand::Rng::with_seed(seed),
            injected: 0,
        }
    }

    /// Whether `fault` strikes at this switch, which is eligible for it.
    pub(crate) fn strikes(&mut self, fault: InjectedFault) -> bool {
        let one_in = if fault.needs_growth() {
            (self.one_in.get() / SWITCHES_PER_GROWTH).max(1)
        } else {
            self.one_in.get()
        };
        let strikes = self.fault == Some(fault) && self.random.u32(..one_in) == 0;
        self.injected += u64::from(strikes);
        strikes
    }

    /// The last fault that struck was never carried out.
    pub(crate) fn take_back(&mut self) {
        self.injected = self.injected.saturating_sub(1);
    }

    /// Whether `fault` may strike in this run.
    pub(crate) fn is_armed_with(&self, fault: InjectedFault) -> bool {
        self.fault == Some(fault)
    }

    pub(crate) const fn injected(&self) -> u64 {
        self.injected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_chosen_fault_strikes_and_about_once_in_a_thousand() {
        let mut injector = Injector::new(Some(InjectedFault::SkipSave), FAULT_ODDS, 1);
        let count = |injector: &mut Injector, fault| {
            (0..100_000).filter(|_| injector.strikes(fault)).count()
        };
        assert_eq!(count(&mut injector, InjectedFault::WrongOwner), 0);
        let strikes = count(&mut injector, InjectedFault::SkipSave);
        assert!((50..=200).contains(&strikes), "{strikes} of 100,000");
        assert_eq!(injector.injected(), u64::try_from(strikes).unwrap());
    }

    #[test]
    fn growths_are_rare_and_broken_about_once_in_ten() {
        let fault = InjectedFault::SkipGrowthCopy;
        let mut injector = Injector::new(Some(fault), FAULT_ODDS, 1);
        let strikes = (0..10_000).filter(|_| injector.strikes(fault)).count();
        assert!((800..=1200).contains(&strikes), "{strikes} of 10,000");
        let mut always = Injector::new(Some(fault), NonZeroU32::MIN, 1);
        assert!(always.strikes(fault));
    }
}

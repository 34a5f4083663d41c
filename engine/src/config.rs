//! What to run.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::fault_injection::{FAULT_ODDS, InjectedFault};
use crate::schedule::backend::GuestKind;
use crate::switch_by::SwitchBy;

/// The most vCPUs of one run: each has a stack of its own, and Linux allows a process some 65,000
/// mappings.
pub const MOST_VCPUS: u32 = 16_384;
/// The most OS threads of one run.
pub const MOST_THREADS: u32 = 256;
/// The longest run, in seconds: a day.
pub const LONGEST_SECONDS: f64 = 86_400.0;

/// A guest's memory for tiles is given back after it was left so often in a row with none in use.
pub(crate) const UNUSED_EXITS_BEFORE_RELEASE: u32 = 8;

/// Which guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestMix {
    /// All kinds.
    WithTiles,
    /// Those that have nothing to do with tiles.
    WithoutTiles,
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RunLength {
    /// After this time.
    Time(Duration),
    /// After this many entries into guests, however long that takes: for tests.
    Entries(u64),
}

impl RunLength {
    /// Part of the run that is over, 1 at the end.
    pub(crate) fn part_done(self, elapsed: Duration, entries: u64) -> f64 {
        match self {
            Self::Time(time) => (elapsed.as_secs_f64() / time.as_secs_f64()).min(1.0),
            Self::Entries(enough) if entries >= enough => 1.0,
            Self::Entries(_) => 0.0,
        }
    }
}

/// What to run; only [`RunConfig::new`] makes one.
#[derive(Clone, Debug)]
pub struct RunConfig {
    vcpus: u32,
    threads: u32,
    length: RunLength,
    seed: u64,
    inject: Option<InjectedFault>,
    fault_odds: NonZeroU32,
    switch_by: SwitchBy,
}

impl RunConfig {
    /// Checks the figures.
    ///
    /// # Errors
    /// The first figure out of range, with the range.
    pub fn new(
        vcpus: u32,
        threads: u32,
        length: RunLength,
        seed: u64,
        inject: Option<InjectedFault>,
    ) -> Result<Self, ConfigError> {
        if !(1..=MOST_VCPUS).contains(&vcpus) {
            return Err(ConfigError::Vcpus { found: vcpus });
        }
        if !(1..=MOST_THREADS).contains(&threads) {
            return Err(ConfigError::Threads { found: threads });
        }
        Ok(Self {
            vcpus,
            threads,
            length,
            seed,
            inject,
            fault_odds: FAULT_ODDS,
            switch_by: SwitchBy::Cpuid,
        })
    }

    /// A length in seconds.
    ///
    /// # Errors
    /// [`ConfigError::Seconds`].
    pub fn seconds(seconds: f64) -> Result<RunLength, ConfigError> {
        if seconds > 0.0 && seconds <= LONGEST_SECONDS {
            Ok(RunLength::Time(Duration::from_secs_f64(seconds)))
        } else {
            Err(ConfigError::Seconds { found: seconds })
        }
    }

    /// The same with faults that strike once in `one_in` instead of once in a thousand.
    #[must_use]
    pub const fn with_fault_odds(self, one_in: NonZeroU32) -> Self {
        Self {
            fault_odds: one_in,
            ..self
        }
    }

    /// The same, switched otherwise than CPUID alone says.
    #[must_use]
    pub const fn switching_by(self, switch_by: SwitchBy) -> Self {
        Self { switch_by, ..self }
    }

    /// Who decides how it is switched.
    #[must_use]
    pub const fn switch_by(&self) -> SwitchBy {
        self.switch_by
    }

    /// vCPUs, each with a host task that runs it.
    #[must_use]
    pub const fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// Host tasks without a vCPU: one for every four vCPUs, and one.
    #[must_use]
    pub const fn plain_tasks(&self) -> u32 {
        self.vcpus / 4 + 1
    }

    /// What the guest of host task `number` does; `None` for a plain task. Of four vCPUs one computes
    /// known answers; with tiles every kind is among eight.
    pub(crate) const fn guest_of_task(&self, number: u32, guests: GuestMix) -> Option<GuestKind> {
        if number >= self.vcpus {
            return None;
        }
        Some(match (guests, number % 8) {
            (_, 3) | (GuestMix::WithoutTiles, 7) => GuestKind::KnownAnswer,
            (GuestMix::WithoutTiles, _) | (GuestMix::WithTiles, 0) => GuestKind::Pattern,
            (GuestMix::WithTiles, 1 | 5) => GuestKind::TilePattern,
            (GuestMix::WithTiles, 2) => GuestKind::TogglesXfd,
            (GuestMix::WithTiles, 4) => GuestKind::Denied,
            (GuestMix::WithTiles, _) => GuestKind::TileProduct,
        })
    }

    /// What the patterns of host task `number` derive from.
    pub(crate) fn seed_of_task(&self, number: u32) -> u64 {
        self.seed ^ (u64::from(number) << 32 | 0xF5)
    }

    /// OS threads that act as CPUs.
    #[must_use]
    pub const fn threads(&self) -> u32 {
        self.threads
    }

    /// When it ends.
    #[must_use]
    pub const fn length(&self) -> RunLength {
        self.length
    }

    /// What all random choices derive from.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// What to break on purpose.
    #[must_use]
    pub const fn inject(&self) -> Option<InjectedFault> {
        self.inject
    }

    /// How rarely a fault strikes.
    #[must_use]
    pub const fn fault_odds(&self) -> NonZeroU32 {
        self.fault_odds
    }
}

/// A figure out of range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Too few or too many vCPUs.
    #[error("{found} vCPUs; allowed: 1 to {MOST_VCPUS}")]
    Vcpus {
        /// The number given.
        found: u32,
    },
    /// Too few or too many threads.
    #[error("{found} threads; allowed: 1 to {MOST_THREADS}")]
    Threads {
        /// The number given.
        found: u32,
    },
    /// Too short or too long.
    #[error("{found} seconds; allowed: more than 0, at most {LONGEST_SECONDS}")]
    Seconds {
        /// The number given.
        found: f64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn among_eight_vcpus_is_every_kind_and_without_tiles_none_that_uses_them() {
        let length = RunConfig::seconds(1.0).unwrap();
        let config = RunConfig::new(8, 1, length, 0, None).unwrap();
        let kinds = |guests| -> Vec<GuestKind> {
            (0..9)
                .filter_map(|number| config.guest_of_task(number, guests))
                .collect()
        };
        let with_tiles = kinds(GuestMix::WithTiles);
        assert_eq!(with_tiles.len(), 8);
        for kind in [
            GuestKind::Pattern,
            GuestKind::KnownAnswer,
            GuestKind::TilePattern,
            GuestKind::TileProduct,
            GuestKind::TogglesXfd,
            GuestKind::Denied,
        ] {
            assert!(with_tiles.contains(&kind), "{kind:?}");
        }
        let known_answers = |kind: &&GuestKind| **kind == GuestKind::KnownAnswer;
        let without = kinds(GuestMix::WithoutTiles);
        assert_eq!(without.iter().filter(known_answers).count(), 2);
        assert_eq!(
            without
                .iter()
                .filter(|kind| **kind == GuestKind::Pattern)
                .count(),
            6
        );
    }

    #[test]
    fn figures_out_of_range_are_refused_with_the_figure() {
        let length = RunConfig::seconds(0.5).unwrap();
        let new = |vcpus, threads| RunConfig::new(vcpus, threads, length, 0, None);
        assert_eq!(new(0, 1).unwrap_err(), ConfigError::Vcpus { found: 0 });
        assert_eq!(
            new(16_385, 1).unwrap_err(),
            ConfigError::Vcpus { found: 16_385 }
        );
        assert_eq!(new(1, 0).unwrap_err(), ConfigError::Threads { found: 0 });
        assert!(new(1, 1).is_ok());
        for found in [0.0, -1.0, 1e9] {
            assert_eq!(
                RunConfig::seconds(found),
                Err(ConfigError::Seconds { found })
            );
        }
        assert!(matches!(
            RunConfig::seconds(f64::NAN),
            Err(ConfigError::Seconds { .. })
        ));
    }
}

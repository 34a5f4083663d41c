//! How much is measured, and with what.

use fpstate_engine::SwitchBy;

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchConfig {
    /// Rounds for each figure of one vCPU; in each, every policy has a turn.
    pub rounds: usize,
    /// Numbers of vCPUs, ascending.
    pub sizes: Vec<usize>,
    /// Of all random orders.
    pub seed: u64,
    /// With what all switch, and whether the library tries moves first.
    pub switch_by: SwitchBy,
}

impl BenchConfig {
    /// Well under a minute.
    #[must_use]
    pub fn full() -> Self {
        Self {
            rounds: 3000,
            sizes: vec![1, 1000, 100_000],
            seed: 1,
            switch_by: SwitchBy::Auto,
        }
    }

    /// A second or two: that everything works, not what it costs.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            rounds: 100,
            sizes: vec![1, 1000],
            seed: 1,
            switch_by: SwitchBy::Auto,
        }
    }
}

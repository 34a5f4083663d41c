//! Steps that someone else chooses.

use fastrand::Rng;

use super::{GrowthWorld, Hardware};

impl<P: Hardware> GrowthWorld<'_, P> {
    /// Takes one step for each of `choices`, and then ends every thread and guest. A choice stands for
    /// the CPU and for everything that is random in its step, so taking one out leaves the other
    /// steps the same things to try.
    ///
    /// # Errors
    /// What is wrong, and the steps that led there.
    pub fn run_chosen(&mut self, choices: &[u16]) -> Result<(), String> {
        for &choice in choices {
            self.random = Rng::with_seed(choice.into());
            self.run_steps(1)?;
        }
        self.random = Rng::with_seed(0);
        self.run(0)
    }
}

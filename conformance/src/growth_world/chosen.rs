//! Actions that someone else chooses.

use super::{Action, GrowthWorld, Hardware};

impl<P: Hardware> GrowthWorld<'_, P> {
    /// Does `actions`, of which those that the world is not ready for are left out, with a check of
    /// everything after each; then every thread and guest ends.
    ///
    /// # Errors
    /// What is wrong, and the actions that led there.
    pub fn run_chosen(&mut self, actions: &[Action]) -> Result<(), String> {
        for (number, &action) in actions.iter().enumerate() {
            let found = self.perform(action).and_then(|_| self.check());
            found.map_err(|what| self.report(number, action.cpu, &what))?;
        }
        self.run(0)
    }
}

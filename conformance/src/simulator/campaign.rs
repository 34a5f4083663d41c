//! World after world, each with the next seed.

use std::time::Instant;

use super::setting::Setting;
use super::trial::{Ending, Finding, Lived, Trial};
use crate::growth_world::GrowthEvent;

/// What all worlds of a campaign went through.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Worlds that ended well.
    pub worlds: u64,
    /// Actions in them.
    pub actions: u64,
    /// Checks of everything.
    pub full_checks: u64,
    /// The most states there were at a time.
    pub states: usize,
    /// How often each event happened, in the order of [`GrowthEvent::ALL`].
    pub events: Vec<u64>,
}

impl Counts {
    /// A world that ended well.
    pub fn add(&mut self, lived: &Lived) {
        self.worlds += 1;
        self.actions += lived.done;
        self.full_checks += lived.full_checks;
        self.states = self.states.max(lived.states);
        self.events.resize(GrowthEvent::ALL.len(), 0);
        for (sum, count) in self.events.iter_mut().zip(&lived.events) {
            *sum += count;
        }
    }
}

/// World after world.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The first world; each after it has the next seed, and the next of the CPUs.
    pub first: Setting,
    /// The kinds of CPUs, in turn.
    pub cpus: Vec<&'static str>,
    /// Actions of one world.
    pub actions: usize,
}

impl Campaign {
    /// The setting of world `number`, counted from 0.
    ///
    /// # Panics
    /// Without CPUs.
    #[must_use]
    pub fn setting(&self, number: u64) -> Setting {
        let kinds = u64::try_from(self.cpus.len()).expect("a few kinds");
        let turn = usize::try_from(number % kinds).expect("one of the kinds");
        Setting {
            cpu: self.cpus[turn],
            seed: self.first.seed.wrapping_add(number),
            ..self.first
        }
    }

    /// At most `worlds` worlds, the last of which begins before `deadline`.
    ///
    /// # Errors
    /// The first world that fails, and how.
    pub fn run(
        &self,
        worlds: u64,
        deadline: Instant,
        counts: &mut Counts,
    ) -> Result<(), (Setting, Finding)> {
        for number in 0..worlds {
            if number > 0 && Instant::now() >= deadline {
                break;
            }
            let setting = self.setting(number);
            let lived = Trial::of(&setting, Ending::AllEnd).live(self.actions);
            counts.add(&lived.map_err(|found| (setting, found))?);
        }
        Ok(())
    }
}

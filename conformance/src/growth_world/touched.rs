//! Which parts of a world an action had to do with, so that the check after it costs what they cost and
//! not what the world costs.

use super::{GrowthWorld, Hardware};

/// CPUs, threads and guests by their places, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    pub(super) cpus: Vec<usize>,
    pub(super) threads: Vec<usize>,
    pub(super) guests: Vec<usize>,
}

impl Touched {
    /// All there can be.
    pub(super) fn everything(cpus: usize, threads: usize, guests: usize) -> Self {
        Self {
            cpus: (0..cpus).collect(),
            threads: (0..threads).collect(),
            guests: (0..guests).collect(),
        }
    }

    pub(super) fn clear(&mut self) {
        let Self {
            cpus,
            threads,
            guests,
        } = self;
        cpus.clear();
        threads.clear();
        guests.clear();
    }

    pub(super) fn thread(&mut self, slot: usize) {
        note(&mut self.threads, slot);
    }

    pub(super) fn guest(&mut self, slot: usize) {
        note(&mut self.guests, slot);
    }
}

fn note(places: &mut Vec<usize>, place: usize) {
    if !places.contains(&place) {
        places.push(place);
    }
}

impl<P: Hardware> GrowthWorld<'_, P> {
    /// The CPU, the thread that runs there, and the guest that it runs.
    pub(super) fn touch_cpu(&mut self, cpu: usize) {
        note(&mut self.touched.cpus, cpu);
        let Some(thread) = self.cpus[cpu].current else {
            return;
        };
        self.touched.thread(thread);
        if let Some(guest) = self.thread(thread).guest {
            self.touched.guest(guest);
        }
    }

    /// A thread's place for which `wanted` holds.
    pub(super) fn any_thread(&mut self, wanted: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let found = self.any_slot(self.threads.len(), wanted)?;
        self.touched.thread(found);
        if let Some(guest) = self.threads[found].as_ref().and_then(|t| t.guest) {
            self.touched.guest(guest);
        }
        Some(found)
    }

    /// A guest's place for which `wanted` holds.
    pub(super) fn any_guest(&mut self, wanted: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let found = self.any_slot(self.guests.len(), wanted)?;
        self.touched.guest(found);
        Some(found)
    }

    /// The first from some place on: another one being gone or there changes nothing for most.
    fn any_slot(&mut self, slots: usize, wanted: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let first = self.random.usize(0..slots);
        (first..slots)
            .chain(0..first)
            .find(|&slot| wanted(self, slot))
    }
}

//! Breadth-first search with hashed states.
//!
//! A state is known by a hash of 128 bits of what decides its future: among 10^8 states two share
//! one by accident with a probability of 10^-23. Levels are expanded by several threads; the set of states
//! of a level does not depend on how they share the work, so the figures are the same in each run.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// An action that says what it is.
pub trait Named: Copy + Send + fmt::Display {
    /// Its name, without who does it and to whom.
    fn name(&self) -> &'static str;
}

/// A state of something that goes on by actions.
pub trait Explored: Sized + Send {
    /// What can happen.
    type Action: Named;

    /// What can happen next.
    fn actions(&self) -> Vec<Self::Action>;

    /// The state after `action`.
    ///
    /// # Errors
    /// What must not be, in words.
    fn after(&self, action: Self::Action) -> Result<Self, String>;

    /// Equal for states that have the same future.
    fn fingerprint(&self) -> u128;
}

/// When a search ends before it is done.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Threads that share the work.
    pub workers: usize,
    /// Not many more states than this.
    pub states: usize,
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Different states.
    pub states: usize,
    /// Actions that were done.
    pub transitions: u64,
    /// Actions from the first state to the furthest.
    pub depth: usize,
    /// The most states of one level.
    pub widest: usize,
    /// How often each action was done, by name.
    pub tally: BTreeMap<&'static str, u64>,
    /// Whether every state was expanded.
    pub exhausted: bool,
    /// What must not be: one of the shortest, after which the search ended.
    pub violation: Option<Counterexample>,
    /// How long it took.
    pub time: Duration,
}

/// How to come to what must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// From the first state.
    pub actions: Vec<String>,
    /// What is wrong after the last of them.
    pub what: String,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (action, number) in self.actions.iter().zip(1..) {
            writeln!(f, "{number:>3}. {action}")?;
        }
        write!(f, "then: {}", self.what)
    }
}

/// Goes everywhere from `first`.
///
/// # Panics
/// If a worker panicked.
pub fn explore<W: Explored>(first: W, limits: Limits) -> Outcome {
    let began = Instant::now();
    let visited = Visited::new();
    visited.is_new(first.fingerprint());
    let mut came_by = vec![None];
    let mut level = vec![(0, first)];
    let mut outcome = Outcome {
        states: 1,
        transitions: 0,
        depth: 0,
        widest: 1,
        tally: BTreeMap::new(),
        exhausted: false,
        violation: None,
        time: Duration::ZERO,
    };
    while !level.is_empty() && outcome.states < limits.states && outcome.violation.is_none() {
        let expanded = expand(level, &visited, limits.workers);
        level = Vec::new();
        let mut violations = Vec::new();
        for part in expanded {
            for (name, count) in part.tally {
                *outcome.tally.entry(name).or_default() += count;
                outcome.transitions += count;
            }
            violations.extend(part.violation);
            for (from, action, state) in part.new {
                level.push((came_by.len(), state));
                came_by.push(Some((from, action)));
            }
        }
        outcome.states += level.len();
        outcome.widest = outcome.widest.max(level.len());
        outcome.depth += usize::from(!level.is_empty());
        outcome.violation = violations
            .into_iter()
            .map(|(from, action, what)| counterexample(&came_by, from, action, what))
            .min_by(|one, other| one.actions.cmp(&other.actions));
    }
    outcome.exhausted = level.is_empty() && outcome.violation.is_none();
    outcome.time = began.elapsed();
    outcome
}

/// What one worker found.
struct Part<W: Explored> {
    new: Vec<(usize, W::Action, W)>,
    tally: BTreeMap<&'static str, u64>,
    violation: Option<(usize, W::Action, String)>,
}

/// States that a worker takes at once.
const SHARE: usize = 32;

fn expand<W: Explored>(level: Vec<(usize, W)>, visited: &Visited, workers: usize) -> Vec<Part<W>> {
    let workers = workers.clamp(1, level.len().div_ceil(SHARE));
    let left = Mutex::new(level.into_iter());
    let work = || {
        let mut part = Part {
            new: Vec::new(),
            tally: BTreeMap::new(),
            violation: None,
        };
        loop {
            let mut left = left.lock().expect("no worker panicked");
            let share: Vec<_> = left.by_ref().take(SHARE).collect();
            drop(left);
            if share.is_empty() {
                return part;
            }
            for (number, state) in share {
                part.expand(number, &state, visited);
            }
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut parts = vec![work()];
        parts.extend(others.into_iter().map(|o| o.join().expect("no panic")));
        parts
    })
}

impl<W: Explored> Part<W> {
    fn expand(&mut self, number: usize, state: &W, visited: &Visited) {
        for action in state.actions() {
            *self.tally.entry(action.name()).or_default() += 1;
            match state.after(action) {
                Ok(next) => {
                    if visited.is_new(next.fingerprint()) {
                        self.new.push((number, action, next));
                    }
                }
                Err(what) => {
                    self.violation.get_or_insert((number, action, what));
                }
            }
        }
    }
}

fn counterexample<A: Copy + fmt::Display>(
    came_by: &[Option<(usize, A)>],
    from: usize,
    last: A,
    what: String,
) -> Counterexample {
    let mut actions = vec![last.to_string()];
    let mut at = from;
    while let Some((before, action)) = came_by[at] {
        actions.push(action.to_string());
        at = before;
    }
    actions.reverse();
    Counterexample { actions, what }
}

const SHARDS: usize = 64;

/// Fingerprints of states that were seen.
struct Visited {
    shards: Vec<Mutex<HashSet<u128, BuildHasherDefault<AlreadyHashed>>>>,
}

impl Visited {
    fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards }
    }

    /// Whether it is seen for the first time.
    fn is_new(&self, fingerprint: u128) -> bool {
        let shard = usize::from(fingerprint.to_be_bytes()[0]) % SHARDS;
        let mut shard = self.shards[shard].lock().expect("no worker panicked");
        shard.insert(fingerprint)
    }
}

/// Fingerprints are hashes.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

/// 128 bits of `bytes`.
#[must_use]
pub fn hash(bytes: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(bytes);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two counters up to 9 that are alike; a sum of `forbidden` must not be.
    #[derive(Clone)]
    struct Counters {
        values: [u8; 2],
        forbidden: u8,
    }

    impl Named for usize {
        fn name(&self) -> &'static str {
            "add"
        }
    }

    impl Explored for Counters {
        type Action = usize;

        fn actions(&self) -> Vec<usize> {
            (0..2).filter(|&i| self.values[i] < 9).collect()
        }

        fn after(&self, action: usize) -> Result<Self, String> {
            let mut next = self.clone();
            next.values[action] += 1;
            match next.values.iter().sum::<u8>() {
                sum if sum == self.forbidden => Err(format!("sum {sum}")),
                _ => Ok(next),
            }
        }

        fn fingerprint(&self) -> u128 {
            let mut values = self.values;
            values.sort_unstable();
            hash(&values)
        }
    }

    fn counted(forbidden: u8, workers: usize, states: usize) -> Outcome {
        let values = [0; 2];
        explore(Counters { values, forbidden }, Limits { workers, states })
    }

    #[test]
    fn every_state_is_counted_once_however_many_workers_there_are() {
        for workers in [1, 2, 5] {
            let outcome = counted(99, workers, usize::MAX);
            // Unordered pairs of 0 to 9; each ordered step from the canonical member of each.
            assert_eq!((outcome.states, outcome.transitions), (55, 99));
            assert_eq!((outcome.depth, outcome.exhausted), (18, true));
            assert_eq!(outcome.violation, None);
            assert_eq!(outcome.tally, BTreeMap::from([("add", 99)]));
        }
    }

    #[test]
    fn a_counterexample_is_as_short_as_it_can_be() {
        let outcome = counted(7, 2, usize::MAX);
        let violation = outcome.violation.expect("a violation");
        assert_eq!((violation.actions.len(), outcome.exhausted), (7, false));
        assert!(
            violation.to_string().ends_with("then: sum 7"),
            "{violation}"
        );
    }

    #[test]
    fn a_search_that_is_cut_off_is_not_exhausted() {
        let outcome = counted(99, 1, 10);
        assert!(outcome.states < 55 && !outcome.exhausted);
    }
}

//! Breadth-first search with hashed states.
//!
//! A state is known by a hash of 128 bits of what decides its future: among 10^8 states two share
//! one by accident with a probability of 10^-23. Levels are expanded by several threads; the set of states
//! of a level does not depend on how they share the work, so the figures are the same in each run.
//!
//! For each state there is the state that it was first come to from, and by which of its actions. States of the
//! level that is next are kept as they are while there are few, and gone to again from the first one where there
//! are many: that takes twice the time and a hundredth of the memory.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// An action that says what it is.
pub trait Named: Copy + Send + fmt::Display {
    /// Its name, without who does it and to whom.
    fn name(&self) -> &'static str;
}

/// A state of something that goes on by actions.
pub trait Explored: Sized + Send + Sync {
    /// What can happen.
    type Action: Named;

    /// What can happen next.
    fn actions(&self) -> Vec<Self::Action>;

    /// A copy.
    #[must_use]
    fn duplicate(&self) -> Self;

    /// Does `action`, which is one of [`actions`](Self::actions).
    ///
    /// # Errors
    /// What must not be, in words.
    fn advance(&mut self, action: Self::Action) -> Result<(), String>;

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
    /// So many states of a level are kept as they are.
    pub kept: usize,
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
/// If a worker panicked, or with more than 2^32 states.
pub fn explore<W: Explored>(first: W, limits: Limits) -> Outcome {
    let began = Instant::now();
    let mut search = Search {
        visited: Visited::new(),
        came_by: vec![(0, 0)],
        limits,
        first,
    };
    search.visited.is_new(search.first.fingerprint());
    let mut level = vec![(0, None)];
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
        let parts = search.expand(level);
        level = Vec::new();
        let mut violations = Vec::new();
        for part in parts {
            for (name, count) in part.tally {
                *outcome.tally.entry(name).or_default() += count;
                outcome.transitions += count;
            }
            violations.extend(part.violation);
            for (by, state) in part.new {
                let number = u32::try_from(search.came_by.len()).expect("few states");
                level.push((number, state));
                search.came_by.push(by);
            }
        }
        outcome.states += level.len();
        outcome.widest = outcome.widest.max(level.len());
        outcome.depth += usize::from(!level.is_empty());
        outcome.violation = violations
            .into_iter()
            .map(|(from, action, what)| search.counterexample(from, &action, what))
            .min_by(|one, other| one.actions.cmp(&other.actions));
    }
    outcome.exhausted = level.is_empty() && outcome.violation.is_none();
    outcome.time = began.elapsed();
    outcome
}

/// From which state one was come to first, and by the how-manieth of its actions.
type By = (u32, u16);

/// The states of a level, by number; some are kept.
type Level<W> = Vec<(u32, Option<Box<W>>)>;

struct Search<W> {
    first: W,
    visited: Visited,
    came_by: Vec<By>,
    limits: Limits,
}

/// What one worker found.
struct Part<W: Explored> {
    new: Vec<(By, Option<Box<W>>)>,
    tally: BTreeMap<&'static str, u64>,
    violation: Option<(u32, W::Action, String)>,
}

/// States that a worker takes at once.
const SHARE: usize = 32;

impl<W: Explored> Search<W> {
    fn expand(&self, level: Level<W>) -> Vec<Part<W>> {
        let workers = self.limits.workers.clamp(1, level.len().div_ceil(SHARE));
        let left = Mutex::new(level.into_iter());
        let kept = AtomicUsize::new(0);
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
                    let state = state.map_or_else(|| self.go_to(number).0, |state| *state);
                    part.expand(number, &state, self, &kept);
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

    /// The state with this number, and how it is come to.
    fn go_to(&self, number: u32) -> (W, Vec<W::Action>) {
        let mut path = Vec::new();
        let mut at = number;
        while at != 0 {
            let (from, by) = self.came_by[usize::try_from(at).expect("an index")];
            path.push(by);
            at = from;
        }
        let mut state = self.first.duplicate();
        let mut actions = Vec::new();
        for by in path.into_iter().rev() {
            let action = state.actions()[usize::from(by)];
            state.advance(action).expect("it went well before");
            actions.push(action);
        }
        (state, actions)
    }

    fn counterexample(&self, from: u32, last: &W::Action, what: String) -> Counterexample {
        let (_, actions) = self.go_to(from);
        let actions = actions.iter().chain([last]);
        Counterexample {
            actions: actions.map(W::Action::to_string).collect(),
            what,
        }
    }
}

impl<W: Explored> Part<W> {
    fn expand(&mut self, number: u32, state: &W, search: &Search<W>, kept: &AtomicUsize) {
        for (by, action) in (0..).zip(state.actions()) {
            *self.tally.entry(action.name()).or_default() += 1;
            let mut next = state.duplicate();
            if let Err(what) = next.advance(action) {
                self.violation.get_or_insert((number, action, what));
                continue;
            }
            if search.visited.is_new(next.fingerprint()) {
                let keep = kept.fetch_add(1, Ordering::Relaxed) < search.limits.kept;
                self.new.push(((number, by), keep.then(|| Box::new(next))));
            }
        }
    }
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

        fn duplicate(&self) -> Self {
            self.clone()
        }

        fn advance(&mut self, action: usize) -> Result<(), String> {
            self.values[action] += 1;
            match self.values.iter().sum::<u8>() {
                sum if sum == self.forbidden => Err(format!("sum {sum}")),
                _ => Ok(()),
            }
        }

        fn fingerprint(&self) -> u128 {
            let mut values = self.values;
            values.sort_unstable();
            hash(&values)
        }
    }

    fn counted(forbidden: u8, limits: Limits) -> Outcome {
        let values = [0; 2];
        explore(Counters { values, forbidden }, limits)
    }

    const WITHOUT: Limits = Limits {
        workers: 2,
        states: usize::MAX,
        kept: usize::MAX,
    };

    #[test]
    fn every_state_is_counted_once_however_the_work_is_shared_and_whatever_is_kept() {
        for (workers, kept) in [(1, 0), (1, 3), (2, usize::MAX), (5, 1)] {
            let limits = Limits {
                workers,
                kept,
                ..WITHOUT
            };
            let outcome = counted(99, limits);
            // Unordered pairs of 0 to 9; each ordered step from the canonical member of each.
            assert_eq!((outcome.states, outcome.transitions), (55, 99));
            assert_eq!((outcome.depth, outcome.exhausted), (18, true));
            assert_eq!(outcome.violation, None);
            assert_eq!(outcome.tally, BTreeMap::from([("add", 99)]));
        }
    }

    #[test]
    fn a_counterexample_is_as_short_as_it_can_be() {
        let outcome = counted(7, WITHOUT);
        let violation = outcome.violation.expect("a violation");
        assert_eq!((violation.actions.len(), outcome.exhausted), (7, false));
        assert!(
            violation.to_string().ends_with("then: sum 7"),
            "{violation}"
        );
    }

    #[test]
    fn a_search_that_is_cut_off_is_not_exhausted() {
        let states = 10;
        let outcome = counted(99, Limits { states, ..WITHOUT });
        assert!(outcome.states < 55 && !outcome.exhausted);
    }
}

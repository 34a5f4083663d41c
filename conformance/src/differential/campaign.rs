//! Many cases, in batches with a seed each, on all CPUs.

use std::fmt;
use std::thread;

use super::comparison::{Comparison, Difference};
use super::conditions::Tally;
use super::generate::Generator;
use super::shrink::shrink;
use super::silicon::Silicon;
use super::this_cpu::ThisCpu;
use super::wrong_rules::WrongRule;

/// Cases that one seed makes.
pub const BATCH: u64 = 1000;

/// The first difference found, made small, and how to see it again.
#[derive(Debug)]
pub struct Failure {
    /// The batch.
    pub seed: u64,
    /// The case's number in it.
    pub number: u64,
    difference: Difference,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, number) = (self.seed, self.number);
        write!(f, "FPSTATE_SEED={seed}, case {number}: {}", self.difference)
    }
}

impl std::error::Error for Failure {}

/// What a campaign without a failure came to.
#[derive(Debug, Default)]
pub struct Campaign {
    /// What the cases reached.
    pub tally: Tally,
    /// Differences that the manual does not explain and that did not show again.
    pub unrepeated: u64,
}

/// Compares every batch of `seeds`, some threads at a time.
///
/// # Errors
/// The failure with the smallest seed that was found.
///
/// # Panics
/// If this CPU has no XSAVE.
pub fn compare_all(this: &ThisCpu, seeds: &[u64]) -> Result<Campaign, Failure> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let per_worker = seeds.len().div_ceil(workers).max(1);
    let results: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = seeds
            .chunks(per_worker)
            .map(|seeds| scope.spawn(|| compare_batches(this, seeds)))
            .collect();
        started
            .into_iter()
            .map(|worker| worker.join().expect("a worker"))
            .collect()
    });
    let mut all = Campaign::default();
    for result in results {
        let Campaign { tally, unrepeated } = result?;
        all.tally.add(&tally);
        all.unrepeated += unrepeated;
    }
    Ok(all)
}

fn compare_batches(this: &ThisCpu, seeds: &[u64]) -> Result<Campaign, Failure> {
    let mut comparison = comparison(this);
    let mut tally = Tally::default();
    for &seed in seeds {
        compare_batch(&mut comparison, seed, &mut tally)?;
    }
    Ok(Campaign {
        tally,
        unrepeated: comparison.unrepeated(),
    })
}

fn compare_batch(comparison: &mut Comparison, seed: u64, tally: &mut Tally) -> Result<(), Failure> {
    let this = comparison.this().clone();
    let mut generator = Generator::new(&this, seed);
    for number in 0..BATCH {
        let case = generator.case();
        match comparison.compare(&case) {
            Ok((observed, unmodified)) => tally.count(&case, observed, unmodified, &this),
            Err(difference) => {
                let difference = shrink(difference, comparison);
                return Err(Failure {
                    seed,
                    number,
                    difference,
                });
            }
        }
    }
    Ok(())
}

/// The number of the case by which `rule` is found out, if one of the first `most` does.
#[must_use]
pub fn cases_until_caught(this: &ThisCpu, rule: WrongRule, most: u64) -> Option<u64> {
    let mut comparison = comparison(this).with_wrong_rule(rule);
    let mut generator = Generator::new(this, 1);
    (1..=most).find(|_| comparison.compare(&generator.case()).is_err())
}

fn comparison(this: &ThisCpu) -> Comparison {
    Comparison::new(Silicon::new().expect("XSAVE"), this)
}

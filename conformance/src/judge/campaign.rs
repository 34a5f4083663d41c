//! Many images through both sides, in batches with a seed each.

use std::collections::BTreeMap;
use std::fmt;

use super::answer::Verdict;
use super::generator::Generator;
use super::trial::{Disagreement, Trial};

/// Images that one seed makes.
pub const BATCH: u64 = 1000;

/// The first difference found, and how to see it again.
#[derive(Debug)]
pub struct Failure {
    /// The batch.
    pub seed: u64,
    /// The image's number in it.
    pub number: u64,
    /// What differs.
    pub difference: Disagreement,
    image: Vec<u8>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            number,
            difference,
            image,
        } = self;
        let len = image.len();
        writeln!(
            f,
            "FPSTATE_SEED={seed}, image {number}, {len} bytes: {difference}"
        )?;
        for (what, place) in [
            ("MXCSR", 24..32),
            ("software bytes", 464..512),
            ("header", 512..576),
        ] {
            if let Some(bytes) = image.get(place) {
                write!(f, "{what}:")?;
                for word in bytes.chunks(8) {
                    let word = word
                        .iter()
                        .rev()
                        .fold(0, |all, byte| all << 8 | u64::from(*byte));
                    write!(f, " {word:x}")?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// What batches without a difference came to.
#[derive(Debug, Default)]
pub struct Campaign {
    /// Images handed over.
    pub compared: u64,
    /// How often each verdict was given.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// How often each named difference was seen.
    pub explained: BTreeMap<&'static str, u64>,
    /// How often each change was made to a legal image.
    pub made: BTreeMap<&'static str, u64>,
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} images", self.compared)?;
        for (verdict, count) in &self.verdicts {
            write!(f, ", {count} {verdict}")?;
        }
        f.write_str("; 0 differences")?;
        for (name, count) in &self.explained {
            write!(f, " but {count} times \"{name}\"")?;
        }
        Ok(())
    }
}

impl Campaign {
    /// How often `verdict` was given.
    #[must_use]
    pub fn count_of(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict).copied().unwrap_or(0)
    }
}

/// Compares the batches of `seeds`; `images` makes those of one.
///
/// # Errors
/// The first difference without a name.
pub fn compare<'s>(
    trial: &mut Trial<'_>,
    images: impl Fn(u64) -> Generator<'s>,
    seeds: &[u64],
) -> Result<Campaign, Box<Failure>> {
    let mut campaign = Campaign::default();
    for &seed in seeds {
        let mut generator = images(seed);
        trial.begin(&generator.with_everything_live());
        for number in 0..BATCH {
            let image = generator.image();
            let agreed = trial.put(&image).map_err(|difference| {
                Box::new(Failure {
                    seed,
                    number,
                    difference,
                    image,
                })
            })?;
            campaign.compared += 1;
            *campaign.verdicts.entry(agreed.answer.verdict).or_default() += 1;
            for name in agreed.explained {
                *campaign.explained.entry(name).or_default() += 1;
            }
        }
        for (change, count) in generator.made() {
            *campaign.made.entry(change).or_default() += count;
        }
    }
    Ok(campaign)
}

//! Many samples of one figure: the middle one, and how far they spread.

use serde::Serialize;

/// Quartiles of many samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// A quarter of the samples is below.
    pub p25: f64,
    /// Half of them is.
    pub median: f64,
    /// Three quarters are.
    pub p75: f64,
}

impl Spread {
    /// Sorts the samples; `None` if there are none.
    pub fn of(samples: &mut [f64]) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        // A sample, not a mean of two: no figure is shown that nobody measured.
        let quantile = |quarters: usize| samples.get(samples.len() * quarters / 4).copied();
        Some(Self {
            p25: quantile(1)?,
            median: quantile(2)?,
            p75: quantile(3)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_samples_whatever_their_order() {
        let mut samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        let spread = Spread::of(&mut samples).unwrap();
        assert_eq!((spread.p25, spread.median, spread.p75), (2.0, 3.0, 4.0));
    }

    #[test]
    fn one_interrupt_among_the_samples_does_not_show_in_the_middle() {
        let mut samples = vec![100.0; 99];
        samples.push(1e9);
        let spread = Spread::of(&mut samples).unwrap();
        assert_eq!(
            (spread.p25, spread.median, spread.p75),
            (100.0, 100.0, 100.0)
        );
    }

    #[test]
    fn without_samples_there_is_no_figure() {
        assert_eq!(Spread::of(&mut []), None);
    }
}

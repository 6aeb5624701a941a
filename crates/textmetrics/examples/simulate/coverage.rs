//! How often a 95 % interval holds the true value.

use super::draw::Draw;
use rayon::prelude::*;
use textmetrics::stats::{
    Interval, StatsError, bootstrap_t, clopper_pearson, newcombe_paired, student_t, wilson,
};

const CONFIDENCE: f64 = 0.95;
const RESAMPLES: usize = 1000;
/// Rows of the population that samples are drawn from, with replacement.
const POPULATION: usize = 100_000;

/// An interval and the kind of rows it is tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Wilson,
    ClopperPearson,
    Newcombe,
    StudentT,
    BootstrapT,
    StudentTSkewed,
    BootstrapTSkewed,
}

impl Case {
    pub(crate) const ALL: [Self; 7] = [
        Self::Wilson,
        Self::ClopperPearson,
        Self::Newcombe,
        Self::StudentT,
        Self::BootstrapT,
        Self::StudentTSkewed,
        Self::BootstrapTSkewed,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wilson => "Wilson, rate 0.2",
            Self::ClopperPearson => "Clopper-Pearson, rate 0.2",
            Self::Newcombe => "Newcombe paired, +0.05 at 15 % changed",
            Self::StudentT => "Student t, differences of F1",
            Self::BootstrapT => "bootstrap-t, differences of F1",
            Self::StudentTSkewed => "Student t, one row in ten gains",
            Self::BootstrapTSkewed => "bootstrap-t, one row in ten gains",
        }
    }

    /// The rows that samples are drawn from. Their mean is the true value.
    fn population(self) -> Vec<f64> {
        let mut draw = Draw::new(1);
        let row = |draw: &mut Draw| match self {
            Self::Wilson | Self::ClopperPearson => f64::from(draw.coin(0.2)),
            Self::Newcombe => match draw.below(100) {
                0..10 => 1.0,
                10..15 => -1.0,
                _ => 0.0,
            },
            Self::StudentT | Self::BootstrapT => draw.difference(),
            Self::StudentTSkewed | Self::BootstrapTSkewed => skewed(draw),
        };
        (0..POPULATION).map(|_| row(&mut draw)).collect()
    }

    fn interval(self, rows: &[f64], seed: u64) -> Result<Interval, StatsError> {
        let n = rows.len() as u64;
        let count = |value: f64| rows.iter().filter(|r| **r == value).count() as u64;
        match self {
            Self::Wilson => wilson(count(1.0), n, CONFIDENCE),
            Self::ClopperPearson => clopper_pearson(count(1.0), n, CONFIDENCE),
            Self::Newcombe => {
                let (gained, lost) = (count(1.0), count(-1.0));
                let same = n - gained - lost;
                newcombe_paired(same / 3, lost, gained, same - same / 3, CONFIDENCE)
            }
            Self::StudentT | Self::StudentTSkewed => student_t(rows, CONFIDENCE),
            Self::BootstrapT | Self::BootstrapTSkewed => {
                bootstrap_t(rows, CONFIDENCE, RESAMPLES, seed)
            }
        }
    }

    /// The share of `repetitions` samples of `n` rows whose interval holds the true value.
    pub(crate) fn rate(self, n: usize, repetitions: u64, seed: u64) -> Result<f64, StatsError> {
        let population = self.population();
        let truth = population.iter().sum::<f64>() / population.len() as f64;
        let held = (0..repetitions)
            .into_par_iter()
            .map(|i| {
                let mut draw = Draw::new(seed + i);
                let rows: Vec<f64> = (0..n)
                    .map(|_| population[draw.below(population.len())])
                    .collect();
                let interval = self.interval(&rows, seed + i)?;
                Ok(u64::from(interval.lo <= truth && truth <= interval.hi))
            })
            .sum::<Result<u64, StatsError>>()?;
        Ok(held as f64 / repetitions as f64)
    }
}

/// A difference that is nearly always 0 and now and then a large gain.
fn skewed(draw: &mut Draw) -> f64 {
    if draw.coin(0.9) {
        0.0
    } else {
        draw.unit().powi(2).mul_add(0.8, 0.2)
    }
}

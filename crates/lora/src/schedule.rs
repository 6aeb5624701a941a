//! The learning rate of each update, exactly as in transformers.
//!
//! Source: `get_{constant,linear,cosine}_schedule_with_warmup` in `transformers/optimization.py`
//! (5.23.0); the goldens in `tests/golden/schedules.json` are its output.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

/// How the learning rate moves after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls in a straight line to 0 at the end.
    Linear,
    /// It falls along half a cosine wave to 0 at the end.
    #[default]
    Cosine,
}

impl Schedule {
    /// The name in flags and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Constant, Self::Linear, Self::Cosine]
            .into_iter()
            .find(|s| s.name() == text)
            .ok_or_else(|| {
                format!("unknown schedule `{text}`; expected constant, linear or cosine")
            })
    }
}

/// A schedule with its length fixed: the learning rate of every update.
///
/// ```
/// use lora::{LearningRate, Schedule};
///
/// let lr = LearningRate::new(1e-3, Schedule::Linear, 0.2, 10);
/// assert_eq!(lr.warmup_steps(), 2);
/// assert_eq!(lr.at(0), 0.0); // the first of the updates that warm up does nothing
/// assert_eq!(lr.at(2), 1e-3);
/// assert_eq!(lr.at(9), 1e-3 / 8.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LearningRate {
    peak: f64,
    schedule: Schedule,
    warmup: usize,
    total: usize,
}

impl LearningRate {
    /// A schedule over `total` updates, of which `ceil(warmup_ratio * total)` warm up.
    pub fn new(peak: f64, schedule: Schedule, warmup_ratio: f64, total: usize) -> Self {
        let warmup = (warmup_ratio * total as f64).ceil() as usize;
        Self {
            peak,
            schedule,
            warmup,
            total,
        }
    }

    /// How many updates warm up.
    pub fn warmup_steps(&self) -> usize {
        self.warmup
    }

    /// The learning rate of update `index`, counted from 0.
    pub fn at(&self, index: usize) -> f64 {
        self.peak * self.factor(index)
    }

    fn factor(&self, index: usize) -> f64 {
        if index < self.warmup {
            return index as f64 / self.warmup as f64;
        }
        let rest = self.total.saturating_sub(self.warmup).max(1) as f64;
        match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => self.total.saturating_sub(index) as f64 / rest,
            Schedule::Cosine => {
                let progress = (index - self.warmup) as f64 / rest;
                (0.5 * (1.0 + (PI * progress).cos())).max(0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for schedule in [Schedule::Constant, Schedule::Linear, Schedule::Cosine] {
            assert_eq!(schedule.name().parse(), Ok(schedule));
        }
        assert!("polynomial".parse::<Schedule>().is_err());
    }

    #[test]
    fn without_warm_up_the_first_update_has_the_peak() {
        for schedule in [Schedule::Constant, Schedule::Linear, Schedule::Cosine] {
            assert_eq!(LearningRate::new(3e-4, schedule, 0.0, 7).at(0), 3e-4);
        }
    }

    #[test]
    fn a_single_step_that_warms_up_has_rate_zero() {
        let lr = LearningRate::new(1.0, Schedule::Cosine, 0.03, 1);
        assert_eq!((lr.warmup_steps(), lr.at(0)), (1, 0.0));
    }
}

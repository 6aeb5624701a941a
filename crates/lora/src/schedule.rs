//! The learning rate of each update, exactly as in transformers.
//!
//! Source: `get_scheduler` in `transformers/optimization.py` (5.23.0); the goldens in
//! `tests/golden/schedules.json` are its output.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

/// How the learning rate moves. The names are those of transformers' `lr_scheduler_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// It is the peak from the first update on: no warm-up, whatever was asked for.
    Constant,
    /// After the warm-up it stays.
    ConstantWithWarmup,
    /// After the warm-up it falls in a straight line to 0 at the end.
    Linear,
    /// After the warm-up it falls along half a cosine wave to 0 at the end.
    #[default]
    Cosine,
    /// After the warm-up it stays, and falls along half a cosine wave to 0 in the last updates.
    WarmupStableDecay,
}

impl Schedule {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Constant,
        Self::ConstantWithWarmup,
        Self::Linear,
        Self::Cosine,
        Self::WarmupStableDecay,
    ];

    /// The name in flags and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::ConstantWithWarmup => "constant_with_warmup",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
            Self::WarmupStableDecay => "warmup_stable_decay",
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
        let found = Self::ALL.into_iter().find(|s| s.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown schedule `{text}`; expected one of {names}")
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
    decay: usize,
    total: usize,
}

impl LearningRate {
    /// A schedule over `total` updates, of which `ceil(warmup_ratio * total)` warm up; the last
    /// tenth, rounded up, decays where the schedule has such a phase.
    pub fn new(peak: f64, schedule: Schedule, warmup_ratio: f64, total: usize) -> Self {
        Self {
            peak,
            schedule,
            warmup: (warmup_ratio * total as f64).ceil() as usize,
            decay: total.div_ceil(10),
            total,
        }
    }

    /// The same with so many updates that warm up.
    #[must_use]
    pub fn warming_up(self, steps: Option<usize>) -> Self {
        let warmup = steps.unwrap_or(self.warmup);
        Self { warmup, ..self }
    }

    /// The same with so many updates that decay.
    #[must_use]
    pub fn decaying(self, steps: Option<usize>) -> Self {
        let decay = steps.unwrap_or(self.decay);
        Self { decay, ..self }
    }

    /// How many updates warm up.
    pub fn warmup_steps(&self) -> usize {
        match self.schedule {
            Schedule::Constant => 0,
            _ => self.warmup,
        }
    }

    /// The learning rate of update `index`, counted from 0.
    pub fn at(&self, index: usize) -> f64 {
        self.peak * self.factor(index)
    }

    fn factor(&self, index: usize) -> f64 {
        let warmup = self.warmup_steps();
        if index < warmup {
            return index as f64 / warmup as f64;
        }
        let rest = self.total.saturating_sub(warmup).max(1) as f64;
        match self.schedule {
            Schedule::Constant | Schedule::ConstantWithWarmup => 1.0,
            Schedule::Linear => self.total.saturating_sub(index) as f64 / rest,
            Schedule::Cosine => half_wave((index - warmup) as f64 / rest).max(0.0),
            Schedule::WarmupStableDecay => self.stable_then_decay(index),
        }
    }

    /// The peak until the last `decay` updates. A decay that begins before the warm-up ends is met
    /// where it then is, as transformers' arithmetic has it.
    fn stable_then_decay(&self, index: usize) -> f64 {
        let stable_until = self.total as f64 - self.decay as f64;
        let since = index as f64 - stable_until;
        if since < 0.0 {
            1.0
        } else if index < self.total {
            half_wave(since / self.decay.max(1) as f64).max(0.0)
        } else {
            0.0
        }
    }
}

/// Half a cosine wave from 1 to 0.
fn half_wave(progress: f64) -> f64 {
    0.5 * (1.0 + (PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for schedule in Schedule::ALL {
            assert_eq!(schedule.name().parse(), Ok(schedule));
        }
        assert!("polynomial".parse::<Schedule>().is_err());
    }

    #[test]
    fn without_warm_up_the_first_update_has_the_peak() {
        for schedule in Schedule::ALL {
            assert_eq!(LearningRate::new(3e-4, schedule, 0.0, 7).at(0), 3e-4);
        }
    }

    #[test]
    fn a_single_step_that_warms_up_has_rate_zero() {
        let lr = LearningRate::new(1.0, Schedule::Cosine, 0.03, 1);
        assert_eq!((lr.warmup_steps(), lr.at(0)), (1, 0.0));
    }
}

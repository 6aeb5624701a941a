//! How much work a run is, counted before it begins.

use crate::error::TrainError;
use crate::sample::Sample;
use crate::settings::TrainConfig;
use crate::train::{plan, planned_steps};
use smollm_model::BatchShape;
use std::ops::AddAssign;

/// What goes through the model, of one micro-batch or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tokens of the rows.
    pub tokens: usize,
    /// Tokens that go through the model: all of a row but the last, from which nothing is predicted.
    pub inputs: usize,
    /// Tokens in the loss.
    pub supervised: usize,
    /// Pairs of a query and a key that it sees: n (n + 1) / 2 for n inputs of a row.
    pub attended: usize,
}

impl Load {
    /// Of rows together.
    pub fn of<'r>(rows: impl IntoIterator<Item = &'r Sample>) -> Self {
        let mut load = Self::default();
        for row in rows {
            let inputs = row.ids.len().saturating_sub(1);
            load += Self {
                tokens: row.ids.len(),
                inputs,
                supervised: row.labels.len(),
                attended: inputs * (inputs + 1) / 2,
            };
        }
        load
    }

    /// What goes through the model.
    pub fn shape(self) -> BatchShape {
        BatchShape {
            tokens: self.inputs,
            supervised: self.supervised,
            attended: self.attended,
        }
    }
}

impl AddAssign for Load {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.inputs += other.inputs;
        self.supervised += other.supervised;
        self.attended += other.attended;
    }
}

/// All that a run will do, but for the optimiser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Updates.
    pub steps: usize,
    /// Micro-batches of all updates.
    pub micro_batches: usize,
    /// Their load, rows counted each time they are used.
    pub training: Load,
    /// The most of each count that one micro-batch of training or evaluation has: what memory goes by.
    pub largest: Load,
    /// Evaluations.
    pub evaluations: usize,
    /// The load of all of them.
    pub evaluation: Load,
}

impl Workload {
    /// Counts a run with these rows and settings, from its beginning.
    ///
    /// # Errors
    /// A setting out of range, or no training rows.
    pub fn new(
        rows: &[Sample],
        eval_rows: &[Sample],
        config: &TrainConfig,
    ) -> Result<Self, TrainError> {
        let steps = planned_steps(rows, config)?;
        let mut work = Self {
            steps,
            micro_batches: 0,
            training: Load::default(),
            largest: Load::default(),
            evaluations: 0,
            evaluation: Load::default(),
        };
        let plan = plan(rows, config);
        let mut windows = 0;
        for epoch in 0.. {
            let batches = plan.epoch(epoch);
            let left = steps - windows;
            let taken = left.saturating_mul(config.accumulation).min(batches.len());
            for batch in &batches[..taken] {
                work.train_on(Load::of(batch.iter().map(|&row| &rows[row])));
            }
            windows += plan.windows_per_epoch().min(left);
            if windows == steps {
                break;
            }
        }
        work.evaluate_on(eval_rows, config);
        Ok(work)
    }

    fn train_on(&mut self, load: Load) {
        self.micro_batches += 1;
        self.training += load;
        self.widen(load);
    }

    fn evaluate_on(&mut self, rows: &[Sample], config: &TrainConfig) {
        if rows.is_empty() {
            return;
        }
        // After every so many steps, and after the last.
        let at_intervals = config.eval_steps.map_or(0, |n| self.steps / n);
        let at_the_end = config
            .eval_steps
            .is_none_or(|n| !self.steps.is_multiple_of(n));
        self.evaluations = at_intervals + usize::from(at_the_end);
        for batch in rows.chunks(config.batch_size) {
            let load = Load::of(batch);
            self.widen(load);
            for _ in 0..self.evaluations {
                self.evaluation += load;
            }
        }
    }

    fn widen(&mut self, load: Load) {
        let largest = &mut self.largest;
        largest.tokens = largest.tokens.max(load.tokens);
        largest.inputs = largest.inputs.max(load.inputs);
        largest.supervised = largest.supervised.max(load.supervised);
        largest.attended = largest.attended.max(load.attended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tokens: usize, supervised: usize) -> Sample {
        Sample {
            ids: vec![1; tokens],
            labels: (tokens - supervised..tokens).collect(),
        }
    }

    #[test]
    fn a_run_is_counted_row_by_row() {
        let rows = [row(3, 1), row(5, 2), row(9, 4)];
        let config = TrainConfig {
            epochs: 1.5,
            accumulation: 2,
            shuffle: false,
            eval_steps: Some(2),
            ..TrainConfig::default()
        };
        // Two windows an epoch, three in all: the rows once, and the first two again.
        let work = Workload::new(&rows, &rows[..2], &config).unwrap();
        assert_eq!((work.steps, work.micro_batches), (3, 5));
        let expected = Load {
            tokens: 17 + 8,
            inputs: 14 + 6,
            supervised: 7 + 3,
            attended: 3 + 10 + 36 + 3 + 10,
        };
        assert_eq!(work.training, expected);
        let largest = Load {
            tokens: 9,
            inputs: 8,
            supervised: 4,
            attended: 36,
        };
        assert_eq!(work.largest, largest);
        // After the second step and after the third.
        assert_eq!((work.evaluations, work.evaluation.tokens), (2, 16));
    }
}

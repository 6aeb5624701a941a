//! The line below the bar, where a person watches.

use std::collections::VecDeque;

use lora::StepRecord;

use crate::machine::resident;

/// Losses that are drawn: with the rest of the line in 80 columns.
const DRAWN: usize = 16;
/// From the lowest to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What has been seen so far.
#[derive(Default)]
pub(crate) struct View {
    losses: VecDeque<f64>,
}

impl View {
    /// Takes in a step; the line that shows it.
    pub(crate) fn line(&mut self, record: &StepRecord) -> String {
        if self.losses.len() == DRAWN {
            self.losses.pop_front();
        }
        self.losses.push_back(record.loss);
        let memory = resident().map_or(String::new(), |bytes| format!("  {bytes}"));
        format!(
            "loss {} {:.4}  {:.0} tokens/s  lr {:.2e}  norm {:.3}{memory}",
            self.sparkline(),
            record.loss,
            record.tokens_per_s,
            record.lr,
            record.grad_norm
        )
    }

    /// A bar for each loss, between the lowest and the highest of them.
    fn sparkline(&self) -> String {
        let low = self.losses.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.losses.iter().copied().fold(0.0, f64::max);
        let top = (BARS.len() - 1) as f64;
        let bar = |loss: &f64| {
            let height = (loss - low) / (high - low).max(1e-9) * top;
            BARS[(height.round() as usize).min(BARS.len() - 1)]
        };
        self.losses.iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(loss: f64) -> StepRecord {
        StepRecord {
            step: 1,
            loss,
            grad_norm: 0.5,
            lr: 2e-4,
            supervised_tokens: 1,
            tokens: 2,
            tokens_per_s: 300.4,
            gflops: 90.0,
        }
    }

    #[test]
    fn the_last_losses_are_drawn_between_the_lowest_and_the_highest() {
        let mut view = View::default();
        assert!(
            view.line(&step(2.0))
                .starts_with("loss ▁ 2.0000  300 tokens/s  lr 2.00e-4")
        );
        view.line(&step(1.0));
        let line = view.line(&step(1.5));
        assert!(line.starts_with("loss █▁▅ 1.5000"), "{line}");
        for _ in 0..40 {
            view.line(&step(1.0));
        }
        assert_eq!(view.sparkline(), "▁".repeat(DRAWN));
    }
}

//! Is the better score only a longer answer?
//!
//! Token F1 and ROUGE change with length alone: a system that learned to stop earlier wins rows without knowing more.

use serde::Serialize;

use super::error::{StatsError, all_finite, open_unit};
use super::special::t_quantile;

/// What differences of length have to do with differences of score. Result of [`length_control`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LengthControl {
    /// Pearson's correlation of length change and score change.
    pub pearson: f64,
    /// Spearman's rank correlation of the same, ties by mean rank.
    pub spearman: f64,
    /// The change of score where the length does not change: the intercept of a least-squares line.
    pub matched_delta: f64,
    /// Lower and upper end of its t interval, n − 2 degrees of freedom.
    pub matched_ci: [f64; 2],
}

/// Relates `score_changes` to `length_changes` of the same rows, the latter being the logarithm of (words after + 1) /
/// (words before + 1), for which 0 means "as long as before" and twice as long is as far as half as long.
///
/// `None` where the data cannot say: fewer than three rows, or no variance in either.
///
/// # Errors
/// Unequal numbers of rows, a number that is not finite, or a confidence outside (0, 1).
pub fn length_control(
    length_changes: &[f64],
    score_changes: &[f64],
    confidence: f64,
) -> Result<Option<LengthControl>, StatsError> {
    if length_changes.len() != score_changes.len() {
        return Err(StatsError::LengthMismatch {
            metric: "length control".into(),
            before: length_changes.len(),
            after: score_changes.len(),
        });
    }
    open_unit("confidence", confidence)?;
    all_finite("length changes", length_changes)?;
    all_finite("score changes", score_changes)?;
    let fit = Moments::of(length_changes, score_changes);
    let ranks = Moments::of(&ranks(length_changes), &ranks(score_changes));
    if length_changes.len() < 3 || fit.xx <= 0.0 || fit.yy <= 0.0 {
        return Ok(None);
    }
    let n = length_changes.len() as f64;
    let slope = fit.xy / fit.xx;
    let matched_delta = fit.mean_y - slope * fit.mean_x;
    let residual = (fit.yy - slope * fit.xy).max(0.0) / (n - 2.0);
    let error = (residual * (1.0 / n + fit.mean_x * fit.mean_x / fit.xx)).sqrt();
    let half = t_quantile(0.5 + confidence / 2.0, n - 2.0) * error;
    Ok(Some(LengthControl {
        pearson: fit.correlation(),
        spearman: ranks.correlation(),
        matched_delta,
        matched_ci: [matched_delta - half, matched_delta + half],
    }))
}

/// Means and centred sums of squares and products.
struct Moments {
    mean_x: f64,
    mean_y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Moments {
    fn of(x: &[f64], y: &[f64]) -> Self {
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len().max(1) as f64;
        // Rounding in the mean would give equal values a variance.
        let centre = |of: &[f64], mean: f64| {
            let constant = of.iter().all(|v| *v == of[0]);
            of.iter()
                .map(|v| if constant { 0.0 } else { v - mean })
                .collect::<Vec<_>>()
        };
        let (mean_x, mean_y) = (mean(x), mean(y));
        let (dx, dy) = (centre(x, mean_x), centre(y, mean_y));
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        Self {
            mean_x,
            mean_y,
            xx: product(&dx, &dx),
            yy: product(&dy, &dy),
            xy: product(&dx, &dy),
        }
    }

    fn correlation(&self) -> f64 {
        (self.xy / (self.xx.sqrt() * self.yy.sqrt())).clamp(-1.0, 1.0)
    }
}

/// Ranks from 1; equal values share the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = |&&row: &&usize| values[row] == values[order[start]];
        let end = start + order[start..].iter().take_while(same).count();
        let rank = (start + 1 + end) as f64 / 2.0;
        order[start..end].iter().for_each(|&row| ranks[row] = rank);
        start = end;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_a_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
        assert_eq!(ranks(&[-0.0, 0.0]), [1.5, 1.5]);
    }

    #[test]
    fn a_gain_that_is_all_length_vanishes_at_matched_length() {
        let lengths = [-1.0, 0.5, 1.0, 2.0, 2.5];
        let scores = lengths.map(|x| 0.1 * x);
        let control = length_control(&lengths, &scores, 0.95)
            .expect("valid")
            .expect("some");
        assert!(control.matched_delta.abs() < 1e-15);
        assert!((control.pearson - 1.0).abs() < 1e-12 && (control.spearman - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_the_data_cannot_say() {
        let none = |x: &[f64], y: &[f64]| length_control(x, y, 0.95).expect("valid").is_none();
        assert!(none(
            &[0.1; 9],
            &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
        ));
        assert!(none(&[0.0, 1.0, 2.0], &[0.1; 3]));
        assert!(none(&[0.0, 1.0], &[0.1, 0.2]));
        assert!(none(&[], &[]));
        assert!(length_control(&[0.0], &[], 0.95).is_err());
        assert!(length_control(&[f64::NAN; 3], &[0.0; 3], 0.95).is_err());
        assert!(length_control(&[0.0; 3], &[0.0; 3], 1.0).is_err());
    }
}

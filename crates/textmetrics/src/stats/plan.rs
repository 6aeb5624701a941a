//! What the rows at hand could have shown, and how many would show more.

use super::error::StatsError;
use super::paired::{CompareOptions, Kind};
use super::power::{minimal_detectable_effect, rows_needed};

/// Planning figures shared by all metrics of a comparison.
///
/// A verdict goes by Holm's adjusted p, so planning uses its strictest step, alpha / metrics: a
/// promise for each metric whatever the others do.
pub(super) struct Plan {
    level: f64,
    /// Rows that must change, all one way, before an exact test can reach `level`.
    fewest_changed: u64,
    /// Detectable effect at standard deviation 1, to which it is proportional; the slow part.
    unit_mde: Option<f64>,
    effect: f64,
    power: f64,
}

impl Plan {
    pub(super) fn new(
        n: u64,
        metrics: usize,
        options: &CompareOptions,
    ) -> Result<Self, StatsError> {
        let level = options.alpha / metrics.max(1) as f64;
        let (effect, power) = (options.effect, options.power);
        // a sweep of k changed rows has p = 2 / 2^k
        let fewest_changed = (2.0 / level).log2().ceil().max(1.0) as u64;
        let unit_mde = if n < fewest_changed.max(2) {
            None
        } else {
            Some(minimal_detectable_effect(1.0, n, level, power)?)
        };
        Ok(Self {
            level,
            fewest_changed,
            unit_mde,
            effect,
            power,
        })
    }

    /// Smallest true difference that the rows at hand show with the wanted power.
    pub(super) fn mde(&self, sd: f64) -> Option<f64> {
        self.unit_mde.filter(|_| sd > 0.0).map(|unit| unit * sd)
    }

    /// Rows that show the effect asked about. `changed` is the share of rows that changed so far.
    ///
    /// For a yes/no metric an effect δ takes at least a share δ of changed rows, so its variance is
    /// at least δ − δ², however few rows changed so far.
    pub(super) fn rows_needed(
        &self,
        kind: Kind,
        sd: f64,
        changed: f64,
    ) -> Result<Option<u64>, StatsError> {
        let effect = self.effect;
        let (sd, changed) = match kind {
            Kind::Binary => (
                sd.max((effect - effect * effect).max(0.0).sqrt()),
                changed.max(effect),
            ),
            Kind::Score | Kind::Free => (sd, changed),
        };
        if sd <= 0.0 || changed <= 0.0 {
            return Ok(None);
        }
        let sweep = (self.fewest_changed as f64 / changed.min(1.0)).ceil() as u64;
        let rows = rows_needed(effect, sd, self.level, self.power)?;
        Ok(rows.map(|rows| rows.max(sweep)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handful_of_rows_promises_nothing() {
        let plan = Plan::new(4, 8, &CompareOptions::default()).expect("valid");
        assert_eq!((plan.fewest_changed, plan.mde(0.1)), (9, None));
        let rows = plan.rows_needed(Kind::Score, 0.01, 1.0).expect("valid");
        assert_eq!(rows, Some(9));
        assert_eq!(plan.rows_needed(Kind::Score, 0.0, 0.0), Ok(None));
    }

    #[test]
    fn yes_no_metrics_need_changed_rows() {
        let plan = Plan::new(300, 1, &CompareOptions::default()).expect("valid");
        let rows = plan
            .rows_needed(Kind::Binary, 0.0, 0.0)
            .expect("valid")
            .expect("finite");
        assert!((120..200).contains(&rows), "{rows}");
    }
}

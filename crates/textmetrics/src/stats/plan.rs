//! What the rows at hand could have shown, and how many would show more.

use super::error::StatsError;
use super::paired::{CompareOptions, Kind};
use super::power::{minimal_detectable_effect, rows_needed};

/// Planning figures shared by all metrics of a comparison.
///
/// A verdict goes by Holm's adjusted p, so planning uses its strictest step, alpha / claims: a
/// promise for each metric whatever the others do. What is independent counts: with clusters the
/// degrees of freedom, and the fewest changes that an exact test can see, are those of clusters.
pub(super) struct Plan {
    level: f64,
    /// Units that must change, all one way, before an exact test can reach `level`.
    fewest_changed: u64,
    /// Detectable effect at standard deviation 1, to which it is proportional; the slow part.
    unit_mde: Option<f64>,
    /// Rows a unit, on average.
    unit_rows: f64,
    effect: f64,
    power: f64,
}

impl Plan {
    /// For `rows` rows in `units` independent units, and `claims` p-values in one family.
    pub(super) fn new(
        rows: usize,
        units: usize,
        claims: usize,
        options: &CompareOptions,
    ) -> Result<Self, StatsError> {
        let level = options.alpha / claims.max(1) as f64;
        let (effect, power) = (options.effect, options.power);
        // a sweep of k changed units has p = 2 / 2^k
        let fewest_changed = (2.0 / level).log2().ceil().max(1.0) as u64;
        let n = units as u64;
        let unit_mde = if n < fewest_changed.max(2) {
            None
        } else {
            Some(minimal_detectable_effect(1.0, n, level, power)?)
        };
        Ok(Self {
            level,
            fewest_changed,
            unit_mde,
            unit_rows: rows as f64 / units.max(1) as f64,
            effect,
            power,
        })
    }

    /// Smallest true difference that the rows at hand show with the wanted power. `sd` is that of the units' values.
    pub(super) fn mde(&self, sd: f64) -> Option<f64> {
        self.unit_mde.filter(|_| sd > 0.0).map(|unit| unit * sd)
    }

    /// Rows that show the effect asked about, in units as large as those at hand. `changed` is the share of units that
    /// changed so far.
    ///
    /// For a yes/no metric an effect δ takes at least a share δ of changed rows, so a row's variance is
    /// at least δ − δ², however few rows changed so far.
    pub(super) fn rows_needed(
        &self,
        kind: Kind,
        sd: f64,
        changed: f64,
    ) -> Result<Option<u64>, StatsError> {
        let effect = self.effect;
        let (sd, changed) = match kind {
            Kind::Binary => {
                let least = (effect - effect * effect).max(0.0) / self.unit_rows;
                (sd.max(least.sqrt()), changed.max(effect))
            }
            Kind::Score | Kind::Free => (sd, changed),
        };
        if sd <= 0.0 || changed <= 0.0 {
            return Ok(None);
        }
        let sweep = (self.fewest_changed as f64 / changed.min(1.0)).ceil() as u64;
        let units = rows_needed(effect, sd, self.level, self.power)?;
        Ok(units.map(|units| (units.max(sweep) as f64 * self.unit_rows).ceil() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handful_of_rows_promises_nothing() {
        let plan = Plan::new(4, 4, 8, &CompareOptions::default()).expect("valid");
        assert_eq!((plan.fewest_changed, plan.mde(0.1)), (9, None));
        let rows = plan.rows_needed(Kind::Score, 0.01, 1.0).expect("valid");
        assert_eq!(rows, Some(9));
        assert_eq!(plan.rows_needed(Kind::Score, 0.0, 0.0), Ok(None));
    }

    #[test]
    fn yes_no_metrics_need_changed_rows() {
        let plan = Plan::new(300, 300, 1, &CompareOptions::default()).expect("valid");
        let rows = plan
            .rows_needed(Kind::Binary, 0.0, 0.0)
            .expect("valid")
            .expect("finite");
        assert!((120..200).contains(&rows), "{rows}");
    }

    #[test]
    fn few_large_clusters_promise_less_than_as_many_rows() {
        let options = CompareOptions::default();
        let rows = Plan::new(300, 300, 1, &options).expect("valid");
        let clusters = Plan::new(300, 10, 1, &options).expect("valid");
        // The same uncertainty of the mean: sd / sqrt(units).
        let (apart, together) = (rows.mde(0.3), clusters.mde(0.3 / 30.0f64.sqrt()));
        assert!(
            together > apart.map(|mde| 1.1 * mde),
            "{apart:?} {together:?}"
        );
        let needed = clusters.rows_needed(Kind::Score, 0.01, 0.2).expect("valid");
        assert_eq!(
            needed,
            Some(30 * 30),
            "six changed clusters, one in five changes"
        );
        let few = Plan::new(300, 5, 1, &options).expect("valid");
        assert_eq!(few.mde(0.1), None);
    }
}

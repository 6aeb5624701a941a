//! Could this many rows have shown the effect at all?
//!
//! Power of the two-sided paired t test through the noncentral t distribution; the permutation and exact tests that
//! decide are close to it from about ten changed rows, and more careful below.

use super::error::{StatsError, open_unit};
use super::special::{bisect, ln_gamma, normal_cdf, t_quantile};

/// More rows than anyone will label; a search that reaches it has no useful answer.
const MOST_ROWS: u64 = 1_000_000_000;

/// The two-sided paired t test on a number of rows, ready to give its power for many effects.
///
/// `T' = (Z + shift) / S` with `S² ~ χ²_df / df`; the power is an average over `S` by Simpson's rule.
struct TTest {
    /// `critical value · s` and the weight of `s`, for every node.
    nodes: Vec<(f64, f64)>,
}

impl TTest {
    fn new(n: u64, alpha: f64) -> Self {
        let df = (n - 1) as f64;
        let critical = t_quantile(1.0 - alpha / 2.0, df);
        let spread = 10.0 / (2.0 * df).sqrt();
        let (low, high) = ((1.0 - spread).max(0.0), 1.0 + spread);
        let log_scale = df / 2.0 * (df / 2.0).ln() - ln_gamma(df / 2.0);
        let density = |s: f64| {
            // At s = 0 the density is 0, but for df = 1, where it is the half-normal.
            let log_power = if df > 1.0 { (df - 1.0) * s.ln() } else { 0.0 };
            (log_scale + log_power - df * s * s / 2.0).exp()
        };
        // With few rows the critical value is large and the integrand steep.
        let panels = if n < 6 { 1_000 } else { 200 };
        let step = (high - low) / f64::from(panels);
        let node = |i: u32| {
            let s = low + step * f64::from(i);
            let weight = if i == 0 || i == panels {
                1
            } else {
                2 + 2 * (i % 2)
            };
            (critical * s, f64::from(weight) * density(s))
        };
        let mut nodes: Vec<_> = (0..=panels).map(node).collect();
        let mass: f64 = nodes.iter().map(|(_, weight)| weight).sum();
        nodes.retain(|(_, weight)| *weight > 1e-16 * mass);
        for (_, weight) in &mut nodes {
            *weight /= mass;
        }
        Self { nodes }
    }

    /// Power where `effect / standard error` is `shift`.
    fn power(&self, shift: f64) -> f64 {
        let seen = |&(critical, weight): &(f64, f64)| {
            weight * (normal_cdf(shift - critical) + normal_cdf(-shift - critical))
        };
        self.nodes.iter().map(seen).sum()
    }

    /// The `shift` at which the power is `power`.
    fn shift(&self, power: f64) -> f64 {
        let mut high = 4.0;
        while self.power(high) < power && high < 1e9 {
            high *= 2.0;
        }
        bisect(0.0, high, |shift| self.power(shift) < power)
    }
}

/// Chance that a two-sided paired t test at level `alpha` on `n` rows sees a true mean difference of
/// `effect` when differences have standard deviation `sd`. The same as `statsmodels`' `TTestPower`.
///
/// # Errors
/// `n < 2`, `alpha` outside (0, 1), or `sd` not above 0.
pub fn paired_power(effect: f64, sd: f64, n: u64, alpha: f64) -> Result<f64, StatsError> {
    positive("sd", sd)?;
    check(n, alpha)?;
    Ok(TTest::new(n, alpha).power(effect / sd * (n as f64).sqrt()))
}

/// The smallest true mean difference that `n` rows show with probability `power`, for differences
/// of standard deviation `sd`. It is proportional to `sd`.
///
/// # Errors
/// As [`paired_power`]; also a `power` that is not between `alpha` and 1.
pub fn minimal_detectable_effect(
    sd: f64,
    n: u64,
    alpha: f64,
    power: f64,
) -> Result<f64, StatsError> {
    positive("sd", sd)?;
    check(n, alpha)?;
    reachable(power, alpha)?;
    Ok(TTest::new(n, alpha).shift(power) * sd / (n as f64).sqrt())
}

/// The fewest rows on which a true mean difference of `effect` shows with probability `power`.
/// `None` beyond a billion.
///
/// # Errors
/// As [`minimal_detectable_effect`]; also an `effect` that is not above 0.
pub fn rows_needed(
    effect: f64,
    sd: f64,
    alpha: f64,
    power: f64,
) -> Result<Option<u64>, StatsError> {
    positive("effect", effect)?;
    positive("sd", sd)?;
    check(2, alpha)?;
    reachable(power, alpha)?;
    let enough = |n: u64| TTest::new(n, alpha).power(effect / sd * (n as f64).sqrt()) >= power;
    // Doubling first, so that the usual answer costs few tests.
    let mut high = 2;
    while !enough(high) {
        if high >= MOST_ROWS {
            return Ok(None);
        }
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(Some(high))
}

fn check(n: u64, alpha: f64) -> Result<(), StatsError> {
    open_unit("alpha", alpha)?;
    if n < 2 {
        return Err(StatsError::TooFewRows {
            what: "power of the paired t test".into(),
            needed: 2,
        });
    }
    Ok(())
}

fn positive(name: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(StatsError::BadParameter {
        name,
        value,
        expected: "a finite number above 0",
    })
}

fn reachable(power: f64, alpha: f64) -> Result<(), StatsError> {
    if power > alpha && power < 1.0 {
        return Ok(());
    }
    Err(StatsError::BadParameter {
        name: "power",
        value: power,
        expected: "a number between alpha and 1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effect_and_rows_are_inverse() {
        let n = rows_needed(0.05, 0.3, 0.05, 0.8)
            .expect("valid")
            .expect("finite");
        let effect = minimal_detectable_effect(0.3, n, 0.05, 0.8).expect("valid");
        assert!(effect <= 0.05 && effect > 0.0498, "{n} rows, {effect}");
    }

    #[test]
    fn power_at_no_effect_is_alpha() {
        for n in [2, 3, 15, 1_000, 1_000_000] {
            let power = paired_power(0.0, 1.0, n, 0.05).expect("valid");
            assert!((power - 0.05).abs() < 1e-6, "n {n}: {power}");
        }
    }

    #[test]
    fn wrong_input_is_an_error() {
        assert!(paired_power(0.1, 0.0, 10, 0.05).is_err());
        assert!(paired_power(0.1, 1.0, 1, 0.05).is_err());
        assert!(minimal_detectable_effect(1.0, 10, 0.05, 0.01).is_err());
        assert!(rows_needed(0.0, 1.0, 0.05, 0.8).is_err());
    }
}

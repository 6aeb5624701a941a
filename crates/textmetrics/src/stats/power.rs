//! Could this many rows have shown the effect at all?
//!
//! Power of the two-sided paired t test through the noncentral t distribution; the permutation and exact tests that
//! decide are close to it from about ten changed rows, and more careful below.

use super::error::{StatsError, open_unit};
use super::special::{bisect, ln_gamma, normal_cdf, t_quantile};

/// More rows than anyone will label; a search that reaches it has no useful answer.
const MOST_ROWS: u64 = 1_000_000_000;
/// Panels of Simpson's rule. The normal factor is steep against the density where the critical value is large.
const fn panels(rows: u64) -> u32 {
    if rows < 10 { 4_000 } else { 200 }
}

/// Chance that a two-sided paired t test at level `alpha` on `n` rows sees a true mean difference of `effect` when
/// differences have standard deviation `sd`. The same as `statsmodels`' `TTestPower`.
///
/// # Errors
/// `n < 2`, `alpha` outside (0, 1), or `sd` not above 0.
pub fn paired_power(effect: f64, sd: f64, n: u64, alpha: f64) -> Result<f64, StatsError> {
    open_unit("alpha", alpha)?;
    positive("sd", sd)?;
    if n < 2 {
        return Err(StatsError::TooFewRows {
            what: "power of the paired t test".into(),
            needed: 2,
        });
    }
    Ok(power_at(effect / sd * (n as f64).sqrt(), n, alpha))
}

/// Power at noncentrality `shift`: `T' = (Z + shift) / S` with `S² ~ χ²_df / df`, averaged over `S`.
fn power_at(shift: f64, n: u64, alpha: f64) -> f64 {
    let df = (n - 1) as f64;
    let critical = t_quantile(1.0 - alpha / 2.0, df);
    let spread = 10.0 / (2.0 * df).sqrt();
    let (low, high) = ((1.0 - spread).max(0.0), 1.0 + spread);
    let log_scale = std::f64::consts::LN_2 + df / 2.0 * (df / 2.0).ln() - ln_gamma(df / 2.0);
    let density = |s: f64| {
        if s <= 0.0 && df > 1.0 {
            return 0.0;
        }
        let log_power = if df > 1.0 { (df - 1.0) * s.ln() } else { 0.0 };
        (log_scale + log_power - df * s * s / 2.0).exp()
    };
    let panels = panels(n);
    let step = (high - low) / f64::from(panels);
    let (mut seen, mut mass) = (0.0, 0.0);
    for i in 0..=panels {
        let weight = if i == 0 || i == panels {
            1.0
        } else {
            f64::from(2 + 2 * (i % 2))
        };
        let s = low + step * f64::from(i);
        let share = weight * density(s);
        mass += share;
        seen += share * (normal_cdf(shift - critical * s) + normal_cdf(-shift - critical * s));
    }
    seen / mass
}

/// The smallest true mean difference that `n` rows show with probability `power`, for differences of standard
/// deviation `sd`.
///
/// # Errors
/// As [`paired_power`]; also a `power` that is not between `alpha` and 1.
pub fn minimal_detectable_effect(
    sd: f64,
    n: u64,
    alpha: f64,
    power: f64,
) -> Result<f64, StatsError> {
    paired_power(0.0, sd, n, alpha)?;
    reachable(power, alpha)?;
    let mut high = 4.0;
    while power_at(high, n, alpha) < power && high < 1e9 {
        high *= 2.0;
    }
    let shift = bisect(0.0, high, |shift| power_at(shift, n, alpha) < power);
    Ok(shift * sd / (n as f64).sqrt())
}

/// The fewest rows on which a true mean difference of `effect` shows with probability `power`. `None` beyond a billion.
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
    paired_power(effect, sd, 2, alpha)?;
    reachable(power, alpha)?;
    let enough = |n: u64| power_at(effect / sd * (n as f64).sqrt(), n, alpha) >= power;
    if !enough(MOST_ROWS) {
        return Ok(None);
    }
    let (mut low, mut high) = (1, MOST_ROWS);
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

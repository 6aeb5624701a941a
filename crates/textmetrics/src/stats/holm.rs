//! Several metrics, one claim: the more one looks at, the likelier one of them looks good by luck.

use super::error::{StatsError, all_finite};

/// Holm's step-down adjustment: the i-th smallest of m p-values (i from 0) is multiplied by m − i, made monotone and
/// capped at 1. Rejecting where the result is at most α keeps the chance of *any* false claim at α, whatever the
/// dependence between metrics. The order of the input is kept. The same as `statsmodels`' `multipletests(…, "holm")`.
///
/// # Errors
/// A p-value that is not a number in `[0, 1]`.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    all_finite("Holm adjustment", p_values)?;
    if let Some(&value) = p_values.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(StatsError::BadParameter {
            name: "p",
            value,
            expected: "a probability",
        });
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut floor = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        floor = floor
            .max(p_values[i] * (p_values.len() - rank) as f64)
            .min(1.0);
        adjusted[i] = floor;
    }
    Ok(adjusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_family() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]).expect("valid");
        for (got, want) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((got - want).abs() < 1e-15, "{adjusted:?}");
        }
    }

    #[test]
    fn empty_and_wrong_input() {
        assert_eq!(holm(&[]), Ok(vec![]));
        assert!(matches!(
            holm(&[0.1, f64::NAN]),
            Err(StatsError::NotFinite { row: 1, .. })
        ));
        assert!(matches!(holm(&[1.5]), Err(StatsError::BadParameter { .. })));
    }
}

//! How much does the same model differ from itself?

use serde::Serialize;

use super::error::{StatsError, all_finite, open_unit};
use super::special::normal_quantile;

/// What a repeated run of one system changed. Result of [`noise_floor`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NoiseFloor {
    /// Share of rows whose score changed.
    pub changed: f64,
    /// Mean of the row differences.
    pub delta: f64,
    /// A change of the mean that chance alone exceeds with probability 1 − confidence, either way.
    pub bound: f64,
}

/// The noise floor from the row differences of two runs of the same system.
///
/// Which of two runs of one system came first is arbitrary, so each row's difference has either sign with equal chance;
/// the mean under all sign patterns has variance `Σ d² / n²`, and `bound` is that many standard deviations as a normal
/// distribution puts `confidence` within.
///
/// # Errors
/// No row, a difference that is not finite, or a confidence outside (0, 1).
pub fn noise_floor(differences: &[f64], confidence: f64) -> Result<NoiseFloor, StatsError> {
    if differences.is_empty() {
        return Err(StatsError::TooFewRows {
            what: "noise floor".into(),
            needed: 1,
        });
    }
    open_unit("confidence", confidence)?;
    all_finite("noise floor", differences)?;
    let n = differences.len() as f64;
    let squares: f64 = differences.iter().map(|d| d * d).sum();
    Ok(NoiseFloor {
        changed: differences.iter().filter(|d| **d != 0.0).count() as f64 / n,
        delta: differences.iter().sum::<f64>() / n,
        bound: normal_quantile(0.5 + confidence / 2.0) * squares.sqrt() / n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_95_of_100_sign_patterns() {
        let sizes: Vec<f64> = (1..=16).map(|i| f64::from(i) / 16.0).collect();
        let bound = noise_floor(&sizes, 0.95).expect("valid").bound;
        let mean = |pattern: u32| -> f64 {
            let signed = |(i, d): (usize, &f64)| if pattern >> i & 1 == 1 { *d } else { -d };
            sizes.iter().enumerate().map(signed).sum::<f64>() / 16.0
        };
        let inside = (0..1u32 << 16).filter(|p| mean(*p).abs() <= bound).count();
        let share = inside as f64 / f64::from(1u32 << 16);
        assert!((share - 0.95).abs() < 0.01, "{share}");
    }

    #[test]
    fn the_same_answers_have_no_noise() {
        let none = noise_floor(&[0.0; 5], 0.95).expect("valid");
        assert_eq!((none.changed, none.delta, none.bound), (0.0, 0.0, 0.0));
        assert!(noise_floor(&[], 0.95).is_err());
        assert!(noise_floor(&[f64::INFINITY], 0.95).is_err());
        assert!(noise_floor(&[0.1], 0.0).is_err());
    }
}

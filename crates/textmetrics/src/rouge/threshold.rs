//! Whether an F reaches a threshold, without rounding.

/// Decimals of a threshold that are compared exactly: 10¹⁸ times a text's length fits 128 bits.
const DECIMALS: usize = 18;

/// The counts that an F is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Tokens in common.
    pub hits: usize,
    /// Tokens of the prediction.
    pub predicted: usize,
    /// Tokens of the gold answer.
    pub gold: usize,
}

impl Hits {
    /// Whether `2 · hits / (predicted + gold)` is at least `threshold`, taken as the decimal number that
    /// it prints as (0.1 is one tenth, not the nearest float).
    ///
    /// The reference compares floats, where `2 · P · R / (P + R)` of a true 0.6 may come out below the
    /// float 0.6; here it does not. A threshold with more than 18 decimals is cut after the 18th.
    ///
    /// ```
    /// use textmetrics::rouge::Hits;
    ///
    /// let hits = Hits { hits: 3, predicted: 4, gold: 6 };
    /// assert!(hits.f_reaches(0.6));
    /// assert!(!hits.f_reaches(0.600_000_000_000_001));
    /// ```
    pub fn f_reaches(self, threshold: f64) -> bool {
        if threshold.is_nan() {
            return false;
        }
        let total = self.predicted as u128 + self.gold as u128;
        if self.hits == 0 || total == 0 {
            return threshold <= 0.0;
        }
        let Some((digits, scale)) = decimal(threshold) else {
            return threshold <= 0.0;
        };
        2 * self.hits as u128 * scale >= digits * total
    }

    /// The one with the higher F; `self` where they are equal.
    pub(super) fn better(self, other: Self) -> Self {
        let total = |h: Self| h.predicted as u128 + h.gold as u128;
        let (mine, others) = (
            self.hits as u128 * total(other),
            other.hits as u128 * total(self),
        );
        if others > mine { other } else { self }
    }
}

/// A number from 0 up as `digits / scale`; `None` below 0 and above any F.
fn decimal(x: f64) -> Option<(u128, u128)> {
    if x <= 0.0 {
        return None;
    }
    if x > 1.0 {
        return Some((2, 1)); // no F is above 1, so any number above it will do
    }
    // Display writes the shortest decimal that reads back as this float, never with an exponent.
    let text = x.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = &part[..part.len().min(DECIMALS)];
    let scale = 10u128.pow(part.len() as u32);
    let digit = |acc: u128, c: char| acc * 10 + u128::from(c.to_digit(10).unwrap_or(0));
    let digits = whole.chars().chain(part.chars()).fold(0, digit);
    Some((digits, scale))
}

#[cfg(test)]
mod tests {
    use super::{Hits, decimal};

    fn hits(hits: usize, predicted: usize, gold: usize) -> Hits {
        Hits {
            hits,
            predicted,
            gold,
        }
    }

    #[test]
    fn floats_miss_what_whole_numbers_see() {
        // Every F that is exactly t in tenths, for texts of up to 60 tokens.
        let mut missed = 0;
        for tenth in 1..=10usize {
            let t: f64 = format!("{}.{}", tenth / 10, tenth % 10)
                .parse()
                .unwrap_or(1.0);
            for gold in 1..60usize {
                for predicted in 1..60usize {
                    let total = gold + predicted;
                    if (tenth * total) % 20 != 0 || tenth * total / 20 > gold.min(predicted) {
                        continue;
                    }
                    let h = hits(tenth * total / 20, predicted, gold);
                    assert!(h.f_reaches(t));
                    let (p, r) = (
                        h.hits as f64 / predicted as f64,
                        h.hits as f64 / gold as f64,
                    );
                    missed += usize::from(2.0 * p * r / (p + r) < t);
                    let fewer = hits(h.hits - 1, predicted, gold);
                    assert!(!fewer.f_reaches(t));
                }
            }
        }
        assert!(missed > 0, "the reference's floats never missed a tenth");
    }

    #[test]
    fn the_ends() {
        assert!(hits(0, 0, 0).f_reaches(0.0));
        assert!(hits(0, 3, 3).f_reaches(0.0));
        assert!(!hits(0, 3, 3).f_reaches(f64::MIN_POSITIVE));
        assert!(hits(1, 3, 3).f_reaches(f64::MIN_POSITIVE));
        assert!(hits(3, 3, 3).f_reaches(1.0));
        assert!(!hits(3, 3, 3).f_reaches(1.5));
        assert!(!hits(3, 3, 3).f_reaches(f64::NAN));
        assert!(hits(0, 1, 1).f_reaches(f64::NEG_INFINITY));
    }

    #[test]
    fn decimals_are_what_is_printed() {
        assert_eq!(decimal(0.5), Some((5, 10)));
        assert_eq!(decimal(0.1), Some((1, 10)));
        assert_eq!(decimal(1.0), Some((1, 1)));
    }
}

//! Sufficient statistics: what of a row a metric keeps, and how rows add up.

use crate::unit_sum::UnitSum;

/// What a metric knows of some rows; two sets of rows make a third by [`merge`](Self::merge).
///
/// Merging is exact, commutative and associative, and `Default` is its neutral element, so shards
/// can be scored apart, in any order, and summed.
pub trait Statistics: Clone + Default + PartialEq {
    /// Adds the rows that `other` knows.
    fn merge(&mut self, other: &Self);
}

/// The fewest and the most references that a row had; `None` before the first row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct References(Option<(u64, u64)>);

impl References {
    pub(super) fn of(references: &[&str]) -> Self {
        let n = references.len() as u64;
        Self(Some((n, n)))
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.0 = match (self.0, other.0) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (range, None) | (None, range) => range,
        };
    }

    /// `nrefs` of a signature: a number, or `var` as in sacreBLEU.
    pub(super) fn signature(self) -> String {
        match self.0 {
            Some((fewest, most)) if fewest == most => format!("nrefs:{most}"),
            Some(_) => "nrefs:var".into(),
            None => "nrefs:0".into(),
        }
    }
}

/// A mean over rows of a number between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mean {
    rows: u64,
    sum: UnitSum,
    references: References,
}

impl Mean {
    pub(super) fn row(value: f64, references: &[&str]) -> Self {
        let mut sum = UnitSum::default();
        sum.add(value);
        Self {
            rows: 1,
            sum,
            references: References::of(references),
        }
    }

    /// The rows counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The mean; `None` for no rows.
    pub fn value(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.sum.mean(self.rows))
    }

    pub(super) fn references(&self) -> References {
        self.references
    }
}

impl Statistics for Mean {
    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.sum.merge(other.sum);
        self.references.merge(other.references);
    }
}

/// A ratio of two totals over rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ratio {
    /// The sum above the line.
    pub over: u64,
    /// The sum below the line.
    pub under: u64,
    pub(super) references: References,
}

impl Ratio {
    /// `over / under`; `None` where that is a division by 0.
    pub fn value(&self) -> Option<f64> {
        (self.under > 0).then(|| self.over as f64 / self.under as f64)
    }
}

impl Statistics for Ratio {
    fn merge(&mut self, other: &Self) {
        self.over += other.over;
        self.under += other.under;
        self.references.merge(other.references);
    }
}

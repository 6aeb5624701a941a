//! Sums that do not depend on their order.

/// A sum of numbers between 0 and 1 that does not depend on their order.
///
/// Floats add with rounding, so the mean of a partition would depend on how it was cut. Each value
/// is therefore counted in units of 2⁻⁸⁰: exact down to 2⁻²⁷, and off by less than 10⁻²⁴ below
/// that. Integer sums merge exactly, whatever the grouping, for up to 2⁴⁸ rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnitSum(u128);

const UNIT: f64 = (1u128 << 80) as f64;

impl UnitSum {
    pub(crate) fn add(&mut self, x: f64) {
        // Scaling by a power of two is exact; the cast saturates at 0 and cuts below one unit.
        self.0 += (x.clamp(0.0, 1.0) * UNIT) as u128;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.0 += other.0;
    }

    pub(crate) fn mean(self, n: u64) -> f64 {
        self.0 as f64 / UNIT / n as f64
    }
}

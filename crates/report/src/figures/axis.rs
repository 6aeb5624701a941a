//! A linear axis and its round marks.

/// Maps `[low, high]` to `[from, to]` in pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Axis {
    /// Pixel of a value; values outside are put at the nearer end.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let span = self.high - self.low;
        let share = if span > 0.0 {
            (value.clamp(self.low, self.high) - self.low) / span
        } else {
            0.5
        };
        self.from + share * (self.to - self.from)
    }

    /// About `count` round values in the range, with the decimals they need.
    pub(crate) fn ticks(&self, count: usize) -> (Vec<f64>, usize) {
        let rough = (self.high - self.low) / count.max(1) as f64;
        if !rough.is_finite() || rough <= 0.0 {
            return (vec![self.low], 2);
        }
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|m| m * power)
            .into_iter()
            .find(|s| *s >= rough)
            .unwrap_or(rough);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let (first, last) = (
            (self.low / step).ceil() as i64,
            (self.high / step).floor() as i64,
        );
        ((first..=last).map(|i| i as f64 * step).collect(), decimals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis {
            low: -0.13,
            high: 0.31,
            from: 0.0,
            to: 100.0,
        };
        let (ticks, decimals) = axis.ticks(5);
        let shown: Vec<String> = ticks.iter().map(|t| format!("{t:.decimals$}")).collect();
        assert_eq!(shown, ["-0.1", "0.0", "0.1", "0.2", "0.3"]);
        assert_eq!((axis.at(-9.0), axis.at(9.0)), (0.0, 100.0));
        let flat = Axis {
            low: 1.0,
            high: 1.0,
            from: 0.0,
            to: 10.0,
        };
        assert_eq!((flat.at(1.0), flat.ticks(3).0.len()), (5.0, 1));
    }
}

//! How large the differences are.

use maud::{Markup, html};

use super::axis::Axis;
use crate::data::ReportRow;
use crate::format::{self, at};

/// Bins on either side of the middle one, which holds differences around 0.
const SIDE: usize = 10;
const BINS: usize = 2 * SIDE + 1;

/// How many rows changed by how much, in 21 bins from −1 to +1.
pub(crate) fn histogram(rows: &[ReportRow]) -> Markup {
    let counts = counts(rows.iter().map(ReportRow::delta));
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let x = Axis {
        low: -1.0,
        high: 1.0,
        from: 40.0,
        to: 600.0,
    };
    let y = Axis {
        low: 0.0,
        high: most,
        from: 240.0,
        to: 22.0,
    };
    let slot = (x.to - x.from) / (2 * SIDE) as f64;
    html! {
        figure.card {
            h3 { "How much token F1 changed" }
            svg viewBox="0 0 640 268" role="img" aria-label="Histogram of differences of token F1" {
                @for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                    @let middle = x.at(centre(bin));
                    @let top = y.at(*count as f64);
                    rect class={ "f-" (format::direction(bin as f64 - SIDE as f64)) } x=(at(middle - 0.42 * slot)) y=(at(top)) width=(at(0.84 * slot)) height=(at(y.from - top)) {}
                    text x=(at(middle)) y=(at(top - 5.0)) text-anchor="middle" { (count) }
                }
                line.grid x1="26" x2="614" y1="240" y2="240" {}
                @for tick in [-1.0, -0.5, 0.0, 0.5, 1.0] {
                    text x=(at(x.at(tick))) y="260" text-anchor="middle" { (format::signed(tick, 1)) }
                }
            }
            figcaption { "Each bar is a tenth wide; the one in the middle holds the rows that hardly changed or tied." }
        }
    }
}

fn counts(deltas: impl Iterator<Item = f64>) -> [usize; BINS] {
    let mut counts = [0; BINS];
    for delta in deltas.filter(|d| d.is_finite()) {
        let bin = (delta.clamp(-1.0, 1.0) * SIDE as f64).round() + SIDE as f64;
        counts[bin as usize] += 1;
    }
    counts
}

fn centre(bin: usize) -> f64 {
    (bin as f64 - SIDE as f64) / SIDE as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_has_its_bin() {
        let found = counts([-1.0, -0.04, 0.0, 0.04, 0.06, 1.0, f64::NAN].into_iter());
        assert_eq!((found[0], found[SIDE], found[SIDE + 1]), (1, 3, 1));
        assert_eq!((found[BINS - 1], found.iter().sum::<usize>()), (1, 6));
        assert_eq!(
            (centre(0), centre(SIDE), centre(BINS - 1)),
            (-1.0, 0.0, 1.0)
        );
    }
}

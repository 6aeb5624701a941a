//! Many metrics behind one trait, each with statistics that merge.
//!
//! A metric turns a row (references and a prediction) into *sufficient statistics*, and any sum of
//! statistics into a score. A row's own score is the score of its own statistics; a corpus score is
//! that of the merged ones. So BLEU, which is no mean over rows, and exact match, which is, shard
//! alike. [`TextMetric`] is one metric with its type of statistics; [`AnyMetric`] is one picked by
//! [name](names).
//!
//! ```
//! use textmetrics::metrics;
//!
//! let rows = [("the cat sat on the mat", "the cat sat on a mat"), ("hello", "hello")];
//! let measured = metrics::measure("bleu", &rows, |row| (vec![row.0], row.1))?;
//! assert_eq!(format!("{:.2}", measured.score.unwrap()), "54.11");
//! assert!(measured.signature.starts_with("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|"));
//! assert_eq!(measured.rows.len(), 2);
//! # Ok::<(), metrics::MetricError>(())
//! ```

mod any;
mod bleu;
mod chrf;
mod distinct;
mod edit;
mod matches;
mod rouge;
mod squad;
mod stats;
mod surface;
mod tok13a;

pub use any::{AnyMetric, AnyStats, Measured, MetricError, measure, names, parse};
pub use bleu::{Bleu, BleuStats};
pub use chrf::{Chrf, ChrfStats};
pub use distinct::{Distinct, DistinctStats};
pub use edit::EditSimilarity;
pub use matches::Match;
pub use rouge::{AccAtRouge, AccStats, RougeF, RougeType};
pub use squad::{Squad, SquadScore, SquadVersion};
pub use stats::{Mean, Ratio, References, Statistics};
pub use surface::{LengthRatio, REFUSALS, Rate, Repetition};

/// The last field of every signature: whose numbers these are.
const VERSION: &str = concat!("version:textmetrics-", env!("CARGO_PKG_VERSION"));

/// Which way a metric gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// Neither: the number describes.
    Neither,
}

/// A metric whose statistics add up.
pub trait TextMetric {
    /// What it keeps of a row.
    type Stats: Statistics;

    /// The name that [`parse`] reads.
    fn name(&self) -> String;

    /// Every choice that the score depends on, as `key:value|…`; the number of references comes
    /// from `stats`.
    fn signature(&self, stats: &Self::Stats) -> String;

    /// Which way it gets better.
    fn better(&self) -> Better;

    /// The statistics of one row. Takes `&mut self` for its buffers only: the result depends on
    /// nothing but the row.
    fn row(&mut self, references: &[&str], prediction: &str) -> Self::Stats;

    /// The score of any number of rows; `None` where it is not defined, as for no rows.
    fn score(&self, stats: &Self::Stats) -> Option<f64>;

    /// The score of one row alone, where that has its own definition (BLEU's effective order).
    fn row_score(&self, stats: &Self::Stats) -> Option<f64> {
        self.score(stats)
    }

    /// The largest score, where there is one.
    fn full_marks(&self) -> Option<f64> {
        Some(1.0)
    }

    /// Whether sets of rows drawn with replacement score around the whole: not where a row that is drawn twice counts
    /// otherwise than two rows. Without it a bootstrap gives no interval.
    fn can_be_resampled(&self) -> bool {
        true
    }

    /// What to print beside the score, if anything.
    fn note(&self, _stats: &Self::Stats) -> Option<String> {
        None
    }
}

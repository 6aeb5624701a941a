//! Metrics by name, for programs that read a list of them.

use super::stats::Statistics;
use super::{
    AccAtRouge, AccStats, Better, Bleu, BleuStats, Chrf, ChrfStats, Distinct, DistinctStats,
    EditSimilarity, LengthRatio, Match, Mean, Rate, Ratio, Repetition, RougeF, RougeType, Squad,
    SquadScore, SquadVersion, TextMetric,
};
use rayon::prelude::*;
use thiserror::Error;

/// Rows a thread takes at a time.
const PIECE: usize = 256;

type Boxed<S> = Box<dyn TextMetric<Stats = S> + Send>;

/// What can go wrong with metrics by name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetricError {
    /// No metric has this name.
    #[error("no metric is called {name:?}; expected one of {}", names().join(", "))]
    Unknown {
        /// The name found.
        name: String,
    },
    /// Statistics of two kinds of metric were to be merged.
    #[error(
        "statistics of {other} cannot be added to statistics of {this}; merge those of one metric only"
    )]
    Mismatch {
        /// The kind of what was to be added to.
        this: &'static str,
        /// The kind of what was to be added.
        other: &'static str,
    },
}

/// Writes both enums and what goes through their variants.
macro_rules! kinds {
    ($($kind:ident, $stats:ty, $metric:ty, $label:literal;)*) => {
        /// A metric picked by name.
        pub struct AnyMetric(Kind);

        enum Kind {
            $($kind($metric),)*
        }

        /// The statistics of an [`AnyMetric`].
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyStats {
            $(
                #[doc = concat!("Of ", $label, ".")]
                $kind($stats),
            )*
        }

        impl AnyStats {
            /// Adds the rows that `other` knows.
            ///
            /// # Errors
            /// [`MetricError::Mismatch`] where they come from metrics of different kinds.
            pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
                match (self, other) {
                    $((Self::$kind(this), Self::$kind(other)) => this.merge(other),)*
                    (this, other) => return Err(MetricError::Mismatch {
                        this: this.kind(),
                        other: other.kind(),
                    }),
                }
                Ok(())
            }

            fn kind(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => $label,)*
                }
            }
        }

        impl AnyMetric {
            /// The statistics of no rows.
            pub fn zero(&self) -> AnyStats {
                match &self.0 {
                    $(Kind::$kind(_) => AnyStats::$kind(<$stats>::default()),)*
                }
            }

            /// The statistics of one row.
            pub fn row(&mut self, references: &[&str], prediction: &str) -> AnyStats {
                match &mut self.0 {
                    $(Kind::$kind(metric) => AnyStats::$kind(metric.row(references, prediction)),)*
                }
            }

            /// The score; `None` where it is not defined, or for another metric's statistics.
            pub fn score(&self, stats: &AnyStats) -> Option<f64> {
                match (&self.0, stats) {
                    $((Kind::$kind(metric), AnyStats::$kind(stats)) => metric.score(stats),)*
                    _ => None,
                }
            }

            /// The score of one row alone; `None` as for [`score`](Self::score).
            pub fn row_score(&self, stats: &AnyStats) -> Option<f64> {
                match (&self.0, stats) {
                    $((Kind::$kind(metric), AnyStats::$kind(stats)) => metric.row_score(stats),)*
                    _ => None,
                }
            }

            /// What to print beside the score, if anything.
            pub fn note(&self, stats: &AnyStats) -> Option<String> {
                match (&self.0, stats) {
                    $((Kind::$kind(metric), AnyStats::$kind(stats)) => metric.note(stats),)*
                    _ => None,
                }
            }

            /// Every choice that the score depends on; empty for another metric's statistics.
            pub fn signature(&self, stats: &AnyStats) -> String {
                match (&self.0, stats) {
                    $((Kind::$kind(metric), AnyStats::$kind(stats)) => metric.signature(stats),)*
                    _ => String::new(),
                }
            }

            /// The name that [`parse`] reads.
            pub fn name(&self) -> String {
                match &self.0 {
                    $(Kind::$kind(metric) => metric.name(),)*
                }
            }

            /// Whether a bootstrap over rows makes sense; see [`TextMetric::can_be_resampled`].
            pub fn can_be_resampled(&self) -> bool {
                match &self.0 {
                    $(Kind::$kind(metric) => metric.can_be_resampled(),)*
                }
            }

            /// Which way the metric gets better.
            pub fn better(&self) -> Better {
                match &self.0 {
                    $(Kind::$kind(metric) => metric.better(),)*
                }
            }

            /// The largest score, where there is one.
            pub fn full_marks(&self) -> Option<f64> {
                match &self.0 {
                    $(Kind::$kind(metric) => metric.full_marks(),)*
                }
            }
        }
    };
}

kinds! {
    Mean, Mean, Boxed<Mean>, "a mean over rows";
    Ratio, Ratio, Boxed<Ratio>, "a ratio of totals";
    Bleu, BleuStats, Box<Bleu>, "BLEU";
    Chrf, ChrfStats, Box<Chrf>, "chrF";
    Acc, AccStats, Box<AccAtRouge>, "a rate of rows that reach a threshold";
    Distinct, DistinctStats, Box<Distinct>, "distinct-n";
}

/// The names that [`parse`] knows; the threshold after the `@` may be any number from 0 to 1.
pub fn names() -> Vec<&'static str> {
    NAMES.to_vec()
}

const NAMES: [&str; 41] = [
    "exact",
    "relaxed",
    "token_f1",
    "rouge1",
    "rouge2",
    "rouge3",
    "rouge4",
    "rouge5",
    "rouge6",
    "rouge7",
    "rouge8",
    "rouge9",
    "rougeL",
    "rougeLsum",
    "rouge1_nostem",
    "rouge2_nostem",
    "rouge3_nostem",
    "rouge4_nostem",
    "rouge5_nostem",
    "rouge6_nostem",
    "rouge7_nostem",
    "rouge8_nostem",
    "rouge9_nostem",
    "rougeL_nostem",
    "rougeLsum_nostem",
    "acc_rougeLsum@0.5",
    "bleu",
    "chrf",
    "chrf++",
    "squad_em",
    "squad_f1",
    "squad2_em",
    "squad2_f1",
    "edit_similarity",
    "distinct_1",
    "distinct_2",
    "distinct_3",
    "length_ratio",
    "repetition",
    "refusal",
    "empty",
];

/// The metric of this name.
///
/// # Errors
/// [`MetricError::Unknown`], which lists the names.
pub fn parse(name: &str) -> Result<AnyMetric, MetricError> {
    let kind = match name {
        "exact" => Kind::Mean(Box::new(Match::exact())),
        "relaxed" => Kind::Mean(Box::new(Match::relaxed())),
        "token_f1" => Kind::Mean(Box::new(Match::token_f1())),
        "bleu" => Kind::Bleu(Box::default()),
        "chrf" => Kind::Chrf(Box::default()),
        "chrf++" => Kind::Chrf(Box::new(Chrf::plus_plus())),
        "squad_em" => squad(SquadVersion::V1, SquadScore::Exact),
        "squad_f1" => squad(SquadVersion::V1, SquadScore::F1),
        "squad2_em" => squad(SquadVersion::V2, SquadScore::Exact),
        "squad2_f1" => squad(SquadVersion::V2, SquadScore::F1),
        "edit_similarity" => Kind::Mean(Box::new(EditSimilarity::default())),
        "length_ratio" => Kind::Ratio(Box::new(LengthRatio::default())),
        "repetition" => Kind::Ratio(Box::new(Repetition::default())),
        "refusal" => Kind::Mean(Box::new(Rate::refusal())),
        "empty" => Kind::Mean(Box::new(Rate::empty())),
        _ => numbered(name).ok_or_else(|| MetricError::Unknown { name: name.into() })?,
    };
    Ok(AnyMetric(kind))
}

/// A metric whose name holds a number.
fn numbered(name: &str) -> Option<Kind> {
    if let Some(threshold) = name.strip_prefix("acc_rougeLsum@") {
        let threshold: f64 = threshold.parse().ok()?;
        let fits = (0.0..=1.0).contains(&threshold);
        return fits.then(|| Kind::Acc(Box::new(AccAtRouge::new(threshold))));
    }
    if let Some(n) = name.strip_prefix("distinct_") {
        let n = digit(n).filter(|n| *n <= 3)?;
        return Some(Kind::Distinct(Box::new(Distinct::new(n.into()))));
    }
    let name = name.strip_prefix("rouge")?;
    let (which, stem) = match name.strip_suffix("_nostem") {
        Some(which) => (which, false),
        None => (name, true),
    };
    let which = match which {
        "L" => RougeType::L,
        "Lsum" => RougeType::Lsum,
        n => RougeType::N(digit(n)?),
    };
    Some(Kind::Mean(Box::new(RougeF::new(which, stem))))
}

/// One digit from 1 to 9.
fn digit(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [digit @ b'1'..=b'9'] => Some(digit - b'0'),
        _ => None,
    }
}

fn squad(version: SquadVersion, score: SquadScore) -> Kind {
    Kind::Mean(Box::new(Squad::new(version, score)))
}

/// A metric of some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The score of all rows together.
    pub score: Option<f64>,
    /// Every choice that the score depends on.
    pub signature: String,
    /// What to print beside the score.
    pub note: Option<String>,
    /// Each row's own statistics, in order.
    pub rows: Vec<AnyStats>,
    /// Their sum.
    pub total: AnyStats,
}

/// Measures many rows on all threads; `row` gives a row's references and its prediction.
///
/// # Errors
/// [`MetricError::Unknown`] for a name that is none.
pub fn measure<T: Sync>(
    name: &str,
    rows: &[T],
    row: impl Fn(&T) -> (Vec<&str>, &str) + Sync,
) -> Result<Measured, MetricError> {
    let metric = parse(name)?;
    let pieces: Vec<Vec<AnyStats>> = rows
        .par_chunks(PIECE)
        .map(|piece| {
            let mut metric = parse(name)?;
            let stats = piece.iter().map(|item| {
                let (references, prediction) = row(item);
                metric.row(&references, prediction)
            });
            Ok(stats.collect())
        })
        .collect::<Result<_, _>>()?;
    let rows: Vec<AnyStats> = pieces.into_iter().flatten().collect();
    let mut total = metric.zero();
    for stats in &rows {
        total.merge(stats)?;
    }
    Ok(Measured {
        score: metric.score(&total),
        signature: metric.signature(&total),
        note: metric.note(&total),
        rows,
        total,
    })
}

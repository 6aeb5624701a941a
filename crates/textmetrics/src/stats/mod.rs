//! Paired statistics: did the second system do better on the *same rows*, and could it be luck?
//!
//! Two systems answered the same questions, so the unit is the row and the quantity is the difference on it. Everything
//! here conditions on that: no test compares two unpaired means, and no p-value comes from a bootstrap (a bootstrap
//! gives intervals). Tests are exact where counting is feasible and count ties in the tail (`>=`), so that few rows and
//! coarse scores give p-values that are too large rather than too small.
//!
//! | question | answer | where |
//! |---|---|---|
//! | a yes/no metric changed? | exact McNemar | [`mcnemar`] |
//! | a mean changed? | sign-flip permutation, exact up to [`EXACT_LIMIT`] changed rows | [`sign_flip`] |
//! | more rows won than lost? | exact sign test | [`sign_test`] |
//! | is there no difference that matters? | two one-sided tests (TOST) | [`equivalence`], [`equivalence_of_rates`] |
//! | how sure is a rate? | Wilson, or exact | [`wilson`], [`clopper_pearson`] |
//! | how sure is a difference of rates? | Newcombe's paired score interval | [`newcombe_paired`] |
//! | how sure is a mean difference? | bootstrap-t up to [`BOOTSTRAP_LIMIT`] rows, else Student t | [`mean_interval`] |
//! | rows that share a context? | all of it by cluster | [`Clusters`], [`compare_paired_clustered`] |
//! | only because answers got longer? | change at matched length | [`length_control`] |
//! | does the same model differ from itself? | noise floor of a repeated run | [`noise_floor`] |
//! | a figure that is no mean of rows? | percentile bootstrap | [`percentile_bootstrap`] |
//! | several metrics at once? | Holm | [`holm`] |
//! | several candidates? | one family over candidates × metrics | [`compare_systems`] |
//! | several seeds? | rows averaged over seeds, spread between them | [`mean_over_seeds`], [`seed_spread`] |
//! | could this many rows have shown it? | power of the paired t test | [`minimal_detectable_effect`], [`rows_needed`] |
//!
//! [`compare_paired`] asks all of them for a list of metrics. Everything is a function of its input and a seed.
//!
//! ```
//! use textmetrics::stats::{CompareOptions, Kind, MetricPair, Verdict, compare_paired};
//!
//! let before = [0.0; 15];
//! let mut after = [0.0; 15];
//! after[..5].fill(1.0); // five rows flipped from wrong to right, none the other way
//! let pair = MetricPair { name: "em", kind: Kind::Binary, before: &before, after: &after };
//! let comparison = compare_paired(&[pair], &CompareOptions::default())?;
//! let em = &comparison.metrics[0];
//! assert_eq!((em.wins, em.ties, em.losses), (5, 10, 0));
//! assert_eq!(em.p, 0.0625);
//! assert_eq!(em.verdict, Verdict::CannotTell);
//! # Ok::<(), textmetrics::stats::StatsError>(())
//! ```

mod binomial;
mod cluster;
mod corpus;
mod equivalence;
mod error;
mod holm;
mod interval;
mod length;
mod noise;
mod paired;
mod plan;
mod power;
mod rng;
mod rows;
mod sign_flip;
pub mod special;
mod systems;
mod verdict;

pub use binomial::{exact_binomial_half, mcnemar, sign_test};
pub use cluster::Clusters;
pub use corpus::percentile_bootstrap;
pub use equivalence::{Equivalence, equivalence, equivalence_of_rates};
pub use error::StatsError;
pub use holm::holm;
pub use interval::{
    BOOTSTRAP_LIMIT, Interval, IntervalMethod, bootstrap_t, clopper_pearson, mean_interval,
    newcombe_paired, student_t, student_t_of, wilson,
};
pub use length::{LengthControl, length_control};
pub use noise::{NoiseFloor, noise_floor};
pub use paired::{
    CompareOptions, Kind, MetricComparison, MetricPair, PairedComparison, TIE, compare_paired,
    compare_paired_clustered,
};
pub use power::{minimal_detectable_effect, paired_power, rows_needed};
pub use rows::{
    RowsComparison, compare_rows, compare_rows_clustered, compare_rows_seeds, compare_rows_systems,
};
pub use sign_flip::{EXACT_LIMIT, SignFlip, sign_flip};
pub use systems::{SeedSpread, compare_systems, mean_over_seeds, seed_spread};
pub use verdict::Verdict;

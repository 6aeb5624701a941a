//! Several runs of one recipe that differ in their seed: their average against the first file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use stage::{FileRecord, OrExit, StageError};
use textmetrics::stats::{CompareOptions, RowsComparison, SeedSpread, compare_rows_seeds};
use textmetrics::{Metric, RowScore};

use crate::Extras;
use crate::read::read;
use crate::table::sections;

/// The average of several runs compared with a baseline. Serialises to what `compare --seeds --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct SeedsComparison {
    /// The figures of the runs' average.
    #[serde(flatten)]
    pub figures: RowsComparison,
    /// By metric, the change of each run and the spread between them.
    pub seeds: BTreeMap<&'static str, SeedSpread>,
    /// The first file.
    pub before: FileRecord,
    /// One a run.
    pub runs: Vec<FileRecord>,
    #[serde(skip)]
    options: CompareOptions,
    #[serde(skip)]
    short_thresh: usize,
}

/// Reads, joins, scores and compares.
///
/// # Errors
/// As [`build`](crate::build).
pub fn build_seeds(
    before: &Path,
    runs: &[PathBuf],
    extras: &Extras,
) -> Result<SeedsComparison, StageError> {
    let joined = read(before, runs, extras)?;
    let clusters = extras.clusters.of(&joined.files[0]);
    let scores: Vec<&[RowScore]> = joined.scores[1..].iter().map(Vec::as_slice).collect();
    let (figures, seeds) =
        compare_rows_seeds(&joined.scores[0], &scores, &clusters, &extras.stats).or_usage()?;
    Ok(SeedsComparison {
        figures,
        seeds: seeds
            .into_iter()
            .map(|(metric, spread)| (metric.name(), spread))
            .collect(),
        before: FileRecord::of(before)?,
        runs: runs
            .iter()
            .map(|run| FileRecord::of(run))
            .collect::<Result<_, _>>()?,
        options: extras.stats.clone(),
        short_thresh: extras.score.short_thresh,
    })
}

impl SeedsComparison {
    /// As text: the tables of the average, then the runs.
    pub fn table(&self) -> String {
        let mut out = format!(
            "before: one file\nafter:  the average of {} runs\n",
            self.runs.len()
        );
        sections(
            &mut out,
            &self.figures,
            self.short_thresh,
            self.options.alpha,
        );
        let percent = (1.0 - self.options.alpha) * 100.0;
        let _ = writeln!(
            out,
            "\nChange by seed\n{:<24} {:>8} {:>8} {:>8} {:>8}  {percent:.0} % interval for another seed, on these rows",
            "metric", "lowest", "mean", "highest", "sd"
        );
        for metric in Metric::ALL {
            let Some(spread) = self.seeds.get(metric.name()) else {
                continue;
            };
            let ends = |worse: fn(f64, f64) -> f64| {
                spread
                    .means
                    .iter()
                    .copied()
                    .reduce(worse)
                    .unwrap_or(spread.mean)
            };
            let sd = spread
                .sd
                .map_or_else(|| "-".into(), |sd| format!("{sd:.4}"));
            let interval = spread.ci.map_or_else(
                || "-".into(),
                |ci| format!("[{:+.4}, {:+.4}]", ci.lo, ci.hi),
            );
            let _ = writeln!(
                out,
                "{:<24} {:>+8.4} {:>+8.4} {:>+8.4} {sd:>8}  {interval}",
                metric.label(),
                ends(f64::min),
                spread.mean,
                ends(f64::max),
            );
        }
        let _ = write!(out, "\nOverall: {}", self.figures.all.says);
        out
    }
}

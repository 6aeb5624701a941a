//! From two files to everything that can be said about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use evaluate::{Prediction, load_predictions, score_predictions};
use report::{Provenance, ReportData, ReportRow, TrainPoint};
use serde::Serialize;
use stage::{FileRecord, OrExit, StageError};
use textmetrics::stats::{
    Clusters, CompareOptions, LengthControl, NoiseFloor, PairedComparison, RowsComparison,
    StatsError, compare_rows_clustered,
};
use textmetrics::{RowScore, ScoreOptions};

use crate::clusters::ClusterBy;
use crate::controls;
use crate::join::{Join, JoinedBy, Unmatched, join};
use crate::provenance;

/// What [`build`] needs besides the two files.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// Leave out rows that only one file has, instead of refusing.
    pub intersect: bool,
    /// How rows are scored.
    pub score: ScoreOptions,
    /// How systems are compared.
    pub stats: CompareOptions,
    /// Which rows count together.
    pub clusters: ClusterBy,
    /// A second run of the first system, for the noise floor.
    pub repeat: Option<PathBuf>,
    /// Training log for the report; looked for beside the second system's adapter if not given.
    pub train_log: Option<PathBuf>,
}

/// One system: its predictions and what they were made with, as far as a manifest says.
#[derive(Debug, Clone, Serialize)]
pub struct System {
    /// Name for people: model and adapter, else the file.
    pub name: String,
    /// The file of predictions.
    pub file: FileRecord,
}

/// Two systems compared. Serialises to what `compare --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Every prediction is the same in both files, character for character, and every row matched.
    pub identical: bool,
    /// The figures, over all rows and the short ones.
    #[serde(flatten)]
    pub figures: RowsComparison,
    /// The figures over the rows that training had not seen, where some row is flagged that it had
    /// and at least two are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean: Option<PairedComparison>,
    /// Whether changes of token F1 and ROUGE-Lsum are changes of length.
    pub length_control: BTreeMap<&'static str, LengthControl>,
    /// What a second run of the first system changed, by metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_floor: Option<BTreeMap<&'static str, NoiseFloor>>,
    /// The first system.
    pub before: System,
    /// The second system.
    pub after: System,
    /// What rows were matched by.
    pub joined_by: JoinedBy,
    /// Rows left out.
    pub unmatched: Unmatched,
    /// How rows were scored.
    pub score_options: ScoreOptions,
    /// Seed and number of resamples and permutations.
    pub seed: u64,
    /// See `seed`.
    pub resamples: usize,
    /// Version of this program.
    pub smoltune: &'static str,
    /// Texts and scores of every row, in the order of the first file.
    #[serde(skip)]
    pub rows: Vec<ReportRow>,
    #[serde(skip)]
    options: CompareOptions,
    #[serde(skip)]
    training: Vec<TrainPoint>,
    #[serde(skip)]
    provenance: Vec<Provenance>,
}

/// Reads, joins, scores and compares two files of predictions.
///
/// # Errors
/// Bad data (exit 3): a file that is missing, empty or malformed, or rows that do not match (all of
/// them, with [`Extras::intersect`]). Usage (exit 2): options out of range.
pub fn build(before: &Path, after: &Path, extras: &Extras) -> Result<Comparison, StageError> {
    let (first, second) = (load_predictions(before)?, load_predictions(after)?);
    let Joined {
        first,
        second,
        by,
        unmatched,
    } = joined((before, first), (after, second), extras.intersect)?;
    let left_out = !unmatched.is_empty();
    let (scores_before, scores_after) = (
        score_predictions(&first, &extras.score),
        score_predictions(&second, &extras.score),
    );
    let clusters = extras.clusters.of(&first);
    let figures = compare_rows_clustered(&scores_before, &scores_after, &clusters, &extras.stats)
        .or_usage()?;
    let clean = clean(
        [&first, &second],
        [&scores_before, &scores_after],
        &clusters,
        &extras.stats,
    )
    .or_usage()?;
    let identical = !left_out
        && first
            .iter()
            .zip(&second)
            .all(|(a, b)| a.prediction == b.prediction);
    let length_control = controls::lengths(
        [&first, &second],
        [&scores_before, &scores_after],
        &extras.stats,
    )
    .or_usage()?;
    let repeat = extras.repeat.as_deref();
    let noise_floor = repeat
        .map(|repeat| noise_floor(before, repeat, extras))
        .transpose()?;
    let rows = first
        .into_iter()
        .zip(second)
        .zip(scores_before.into_iter().zip(scores_after));
    let origin = provenance::collect(before, after, extras.train_log.as_deref())?;
    Ok(Comparison {
        identical,
        figures,
        clean,
        length_control,
        noise_floor,
        before: System {
            name: origin.before,
            file: FileRecord::of(before)?,
        },
        after: System {
            name: origin.after,
            file: FileRecord::of(after)?,
        },
        joined_by: by,
        unmatched,
        score_options: extras.score,
        seed: extras.stats.seed,
        resamples: extras.stats.resamples,
        smoltune: env!("CARGO_PKG_VERSION"),
        rows: rows
            .map(|((a, b), (score_a, score_b))| report_row(a, b, score_a, score_b))
            .collect(),
        options: extras.stats.clone(),
        training: origin.training,
        provenance: origin.blocks,
    })
}

/// The rows of two files that answer the same questions, in the order of the first.
struct Joined {
    first: Vec<Prediction>,
    second: Vec<Prediction>,
    by: JoinedBy,
    unmatched: Unmatched,
}

fn joined(
    (before, first): (&Path, Vec<Prediction>),
    (after, second): (&Path, Vec<Prediction>),
    intersect: bool,
) -> Result<Joined, StageError> {
    let Join {
        pairs,
        by,
        unmatched,
    } = join(&first, &second);
    if pairs.is_empty() || (!unmatched.is_empty() && !intersect) {
        let files = ((before, first.len()), (after, second.len()));
        return Err(mismatch(files.0, files.1, pairs.len(), by, &unmatched));
    }
    let (first, second) = pairs
        .iter()
        .map(|&(i, j)| (first[i].clone(), second[j].clone()))
        .unzip();
    Ok(Joined {
        first,
        second,
        by,
        unmatched,
    })
}

/// What a second run of the first system changed.
fn noise_floor(
    before: &Path,
    repeat: &Path,
    extras: &Extras,
) -> Result<BTreeMap<&'static str, NoiseFloor>, StageError> {
    let (first, again) = (load_predictions(before)?, load_predictions(repeat)?);
    let joined = joined((before, first), (repeat, again), extras.intersect)?;
    let scores = [joined.first, joined.second].map(|rows| score_predictions(&rows, &extras.score));
    controls::noise([&scores[0], &scores[1]], &extras.stats).or_usage()
}

/// The comparison over the rows that neither file flags as seen in training.
fn clean(
    rows: [&[Prediction]; 2],
    scores: [&[RowScore]; 2],
    clusters: &Clusters,
    options: &CompareOptions,
) -> Result<Option<PairedComparison>, StatsError> {
    let kept: Vec<usize> = (0..rows[0].len())
        .filter(|&i| rows.iter().all(|file| file[i].leak.is_none()))
        .collect();
    if kept.len() == rows[0].len() || kept.len() < 2 {
        return Ok(None);
    }
    let [before, after] =
        scores.map(|scores| -> Vec<RowScore> { kept.iter().map(|&i| scores[i]).collect() });
    let clusters = clusters.subset(kept);
    compare_rows_clustered(&before, &after, &clusters, options).map(|figures| Some(figures.all))
}

fn report_row(
    before: Prediction,
    after: Prediction,
    before_score: RowScore,
    after_score: RowScore,
) -> ReportRow {
    ReportRow {
        id: before.id.or(after.id),
        instruction: before.instruction,
        context: Some(before.context).filter(|c| !c.trim().is_empty()),
        gold: before.gold,
        before: before.prediction,
        after: after.prediction,
        before_score,
        after_score,
        category: before.category.or(after.category),
        truncated: before.truncated || after.truncated,
        before_finish: before.finish_reason,
        after_finish: after.finish_reason,
        leak: before.leak.or(after.leak),
    }
}

fn mismatch(
    (before, n_before): (&Path, usize),
    (after, n_after): (&Path, usize),
    common: usize,
    by: JoinedBy,
    unmatched: &Unmatched,
) -> StageError {
    let Unmatched {
        only_before,
        only_after,
        contradicting,
        example,
    } = unmatched;
    let by = match by {
        JoinedBy::Id => "id",
        JoinedBy::Text => "instruction, context and gold",
    };
    let advice = if common == 0 {
        "these files do not answer the same questions"
    } else {
        "compare files made from the same rows, or give --intersect to compare the common rows only"
    };
    StageError::bad_data(format!(
        "rows do not match (joined by {by}): {common} in both, {only_before} only in {} (of {n_before}), \
         {only_after} only in {} (of {n_after}), {contradicting} with the same id but another question or gold; \
         for example {}; {advice}",
        before.display(),
        after.display(),
        example.as_deref().unwrap_or("none"),
    ))
}

impl Comparison {
    /// What the HTML report shows.
    pub fn report(&self, title: &str) -> ReportData {
        ReportData {
            title: title.into(),
            before: self.before.name.clone(),
            after: self.after.name.clone(),
            identical: self.identical,
            comparison: self.figures.clone(),
            options: self.options.clone(),
            score_options: self.score_options,
            rows: self.rows.clone(),
            training: self.training.clone(),
            provenance: self.provenance.clone(),
            notes: self.notes(),
        }
    }

    /// What a reader must know besides the figures.
    pub(crate) fn notes(&self) -> Vec<String> {
        let left = &self.unmatched;
        let mut notes = Vec::new();
        if !left.is_empty() {
            notes.push(format!(
                "Rows left out: {} only in the first file, {} only in the second, {} with the same id but another question or gold.",
                left.only_before, left.only_after, left.contradicting
            ));
        }
        if let Some(clusters) = self.figures.all.clusters {
            notes.push(format!(
                "Rows that share a context, or a question without one, count together: {} rows in {clusters} clusters.",
                self.figures.all.n
            ));
        }
        notes.extend(controls::notes(self));
        if let Some(clean) = &self.clean {
            let seen = self.figures.all.n - clean.n;
            notes.push(format!(
                "Training had seen {seen} of the {} rows in one form or another (see the flag `leak`). \
                 On the {} others: {}",
                self.figures.all.n, clean.n, clean.says
            ));
        }
        notes
    }

    /// The options of the comparison.
    pub fn options(&self) -> &CompareOptions {
        &self.options
    }
}

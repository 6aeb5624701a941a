//! From two files to everything that can be said about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use evaluate::{Fields, Prediction};
use report::{Provenance, ReportData, ReportRow, TrainPoint};
use serde::Serialize;
use stage::{FileRecord, OrExit, StageError};
use textmetrics::stats::{
    Clusters, CompareOptions, LengthControl, NoiseFloor, PairedComparison, RowsComparison,
    StatsError, compare_rows_systems,
};
use textmetrics::{RowScore, ScoreOptions};

use crate::clusters::ClusterBy;
use crate::controls;
use crate::elsewhere::Elsewhere;
use crate::join::{JoinedBy, Unmatched};
use crate::provenance;
use crate::read::{Joined, Pair, read};

/// What [`build`] needs besides the two files.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// The fields of gold answers and predictions.
    pub fields: Fields,
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
    /// What `guard` measured of the second system.
    pub guard: Option<PathBuf>,
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
    /// Candidates whose claims were adjusted together, this one among them.
    #[serde(skip_serializing_if = "one")]
    pub candidates: usize,
    /// Whether changes of token F1 and ROUGE-Lsum are changes of length.
    pub length_control: BTreeMap<&'static str, LengthControl>,
    /// What a second run of the first system changed, by metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_floor: Option<BTreeMap<&'static str, NoiseFloor>>,
    /// What `guard` measured of the second system on texts that it was not tuned for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Elsewhere>,
    /// What a reader must know besides the figures, in sentences.
    pub notes: Vec<String>,
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
    let mut built = build_all(before, &[after.to_path_buf()], extras)?;
    Ok(built.remove(0))
}

/// [`build`] for several files against the first: over the rows that all of them have, and with p-values adjusted over
/// files and metrics.
///
/// # Errors
/// As [`build`].
pub fn build_all(
    before: &Path,
    afters: &[PathBuf],
    extras: &Extras,
) -> Result<Vec<Comparison>, StageError> {
    let joined = read(before, afters, extras)?;
    let first = joined.scores.first().map_or(&[][..], |scores| scores);
    let candidates: Vec<&[RowScore]> = joined.scores[1..].iter().map(Vec::as_slice).collect();
    let clusters = extras.clusters.of(&joined.files[0]);
    let figures = compare_rows_systems(first, &candidates, &clusters, &extras.stats).or_usage()?;
    let clean = clean(&joined, &clusters, &extras.stats).or_usage()?;
    let repeat = extras.repeat.as_deref();
    let noise_floor = repeat
        .map(|repeat| noise_floor(before, repeat, extras))
        .transpose()?;
    let found = figures.into_iter().zip(clean).enumerate();
    found
        .map(|(at, (figures, clean))| {
            let found = Found {
                figures,
                clean,
                noise_floor: noise_floor.clone(),
            };
            one_comparison(before, &afters[at], &joined.pair(at), found, extras)
        })
        .collect()
}

/// What was found for one candidate together with the others.
struct Found {
    figures: RowsComparison,
    clean: Option<PairedComparison>,
    noise_floor: Option<BTreeMap<&'static str, NoiseFloor>>,
}

fn one_comparison(
    before: &Path,
    after: &Path,
    pair: &Pair<'_>,
    found: Found,
    extras: &Extras,
) -> Result<Comparison, StageError> {
    let same = |(a, b): (&Prediction, &Prediction)| a.prediction == b.prediction;
    let identical = pair.unmatched.is_empty() && pair.rows[0].iter().zip(pair.rows[1]).all(same);
    let length_control = controls::lengths(pair.rows, pair.scores, &extras.stats).or_usage()?;
    let rows = pair.rows[0].iter().zip(pair.rows[1]);
    let scores = pair.scores[0].iter().zip(pair.scores[1]);
    let rows = rows
        .zip(scores)
        .map(|((a, b), (score_a, score_b))| report_row(a.clone(), b.clone(), *score_a, *score_b));
    let mut origin = provenance::collect(before, after, extras.train_log.as_deref())?;
    let elsewhere = match &extras.guard {
        Some(path) => {
            let read = Elsewhere::read(path)?;
            origin.blocks.push(read.provenance(path)?);
            Some(read)
        }
        None => None,
    };
    let mut comparison = Comparison {
        identical,
        notes: Vec::new(),
        figures: found.figures,
        clean: found.clean,
        candidates: pair.candidates,
        length_control,
        noise_floor: found.noise_floor,
        elsewhere,
        before: System {
            name: origin.before,
            file: FileRecord::of(before)?,
        },
        after: System {
            name: origin.after,
            file: FileRecord::of(after)?,
        },
        joined_by: pair.by,
        unmatched: pair.unmatched.clone(),
        score_options: extras.score,
        seed: extras.stats.seed,
        resamples: extras.stats.resamples,
        smoltune: env!("CARGO_PKG_VERSION"),
        rows: rows.collect(),
        options: extras.stats.clone(),
        training: origin.training,
        provenance: origin.blocks,
    };
    comparison.notes = comparison.sentences();
    let read = comparison.elsewhere.as_ref();
    let foreign = read.and_then(|read| read.foreign(origin.adapter.as_deref()?));
    comparison.notes.extend(foreign);
    Ok(comparison)
}

/// What a second run of the first system changed.
fn noise_floor(
    before: &Path,
    repeat: &Path,
    extras: &Extras,
) -> Result<BTreeMap<&'static str, NoiseFloor>, StageError> {
    let joined = read(before, &[repeat.to_path_buf()], extras)?;
    controls::noise(joined.pair(0).scores, &extras.stats).or_usage()
}

/// The comparisons over the rows that no file flags as seen in training, one a candidate.
fn clean(
    joined: &Joined,
    clusters: &Clusters,
    options: &CompareOptions,
) -> Result<Vec<Option<PairedComparison>>, StatsError> {
    let rows = joined.files[0].len();
    let unseen = |&i: &usize| joined.files.iter().all(|file| file[i].leak.is_none());
    let kept: Vec<usize> = (0..rows).filter(unseen).collect();
    if kept.len() == rows || kept.len() < 2 {
        return Ok(vec![None; joined.files.len() - 1]);
    }
    let scores: Vec<Vec<RowScore>> = joined
        .scores
        .iter()
        .map(|scores| kept.iter().map(|&i| scores[i]).collect())
        .collect();
    let candidates: Vec<&[RowScore]> = scores[1..].iter().map(Vec::as_slice).collect();
    let clusters = clusters.subset(kept);
    let figures = compare_rows_systems(&scores[0], &candidates, &clusters, options)?;
    Ok(figures.into_iter().map(|found| Some(found.all)).collect())
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

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn one(candidates: &usize) -> bool {
    *candidates == 1
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
            length_control: self.length_control.clone(),
            noise_floor: self.noise_floor.clone().unwrap_or_default(),
            rows: self.rows.clone(),
            training: self.training.clone(),
            elsewhere: self.elsewhere.as_ref().map(Elsewhere::report),
            provenance: self.provenance.clone(),
            notes: self.notes.clone(),
        }
    }

    fn sentences(&self) -> Vec<String> {
        let left = &self.unmatched;
        let mut notes = Vec::new();
        if !left.is_empty() {
            notes.push(format!(
                "Rows left out: {} only in the first file, {} only in the second, {} with the same id but another question or gold.",
                left.only_before, left.only_after, left.contradicting
            ));
        }
        if self.candidates > 1 {
            notes.push(format!(
                "One of {} candidates: p is adjusted over all of them and their metrics.",
                self.candidates
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
        notes.extend(self.elsewhere.as_ref().map(Elsewhere::note));
        notes
    }

    /// The options of the comparison.
    pub fn options(&self) -> &CompareOptions {
        &self.options
    }
}

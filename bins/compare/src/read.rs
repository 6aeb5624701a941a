//! The files to compare: read, joined by their questions, and scored.

use std::path::{Path, PathBuf};

use evaluate::{Prediction, load_fields, score_predictions};
use stage::StageError;
use textmetrics::RowScore;

use crate::Extras;
use crate::join::{Join, JoinedBy, Unmatched, join};

/// The rows that all files have, in the order of the first file.
pub(crate) struct Joined {
    /// The rows of each file, the first file's first.
    pub(crate) files: Vec<Vec<Prediction>>,
    /// Their scores.
    pub(crate) scores: Vec<Vec<RowScore>>,
    /// How each later file was joined with the first, and what was left out.
    pub(crate) joins: Vec<(JoinedBy, Unmatched)>,
}

/// The first file and a later one.
pub(crate) struct Pair<'a> {
    pub(crate) rows: [&'a [Prediction]; 2],
    pub(crate) scores: [&'a [RowScore]; 2],
    pub(crate) by: JoinedBy,
    pub(crate) unmatched: &'a Unmatched,
    /// Later files there are.
    pub(crate) candidates: usize,
}

impl Joined {
    /// The first file with later file number `at`, from 0.
    pub(crate) fn pair(&self, at: usize) -> Pair<'_> {
        Pair {
            rows: [&self.files[0], &self.files[at + 1]],
            scores: [&self.scores[0], &self.scores[at + 1]],
            by: self.joins[at].0,
            unmatched: &self.joins[at].1,
            candidates: self.joins.len(),
        }
    }
}

/// Reads, joins and scores. At least one later file.
///
/// # Errors
/// Bad data (exit 3): a file that is missing, empty or malformed, or rows that do not match (no row that all have, with
/// [`Extras::intersect`]).
pub(crate) fn read(
    before: &Path,
    afters: &[PathBuf],
    extras: &Extras,
) -> Result<Joined, StageError> {
    let first = load_fields(before, &extras.fields)?;
    let mut partners: Vec<Vec<Option<usize>>> = vec![Vec::new(); first.len()];
    let (mut loaded, mut joins) = (Vec::new(), Vec::new());
    for after in afters {
        let rows = load_fields(after, &extras.fields)?;
        let Join {
            pairs,
            by,
            unmatched,
        } = join(&first, &rows);
        if pairs.is_empty() || (!unmatched.is_empty() && !extras.intersect) {
            let files = ((before, first.len()), (after.as_path(), rows.len()));
            return Err(mismatch(files.0, files.1, pairs.len(), by, &unmatched));
        }
        for partner in &mut partners {
            partner.push(None);
        }
        for (row, partner) in pairs {
            partners[row][joins.len()] = Some(partner);
        }
        loaded.push(rows);
        joins.push((by, unmatched));
    }
    // Row numbers in the first and every later file.
    let kept: Vec<(usize, Vec<usize>)> = partners
        .into_iter()
        .enumerate()
        .filter_map(|(row, partners)| Some((row, partners.into_iter().collect::<Option<_>>()?)))
        .collect();
    if kept.is_empty() {
        return Err(StageError::bad_data(
            "no row is in all files: each has rows in common with the first, but none that all have",
        ));
    }
    let mut files = vec![
        kept.iter()
            .map(|(row, _)| first[*row].clone())
            .collect::<Vec<_>>(),
    ];
    for (at, rows) in loaded.iter().enumerate() {
        files.push(kept.iter().map(|(_, of)| rows[of[at]].clone()).collect());
    }
    let scores = files
        .iter()
        .map(|rows| score_predictions(rows, &extras.score))
        .collect();
    Ok(Joined {
        files,
        scores,
        joins,
    })
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

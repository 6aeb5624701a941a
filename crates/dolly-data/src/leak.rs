//! Leaks and duplicates: what training has seen of the test rows, and what a set holds twice.
//!
//! Rows are compared by their *question*: instruction and context, or every turn but the last of a
//! conversation. Two rows with one question and different answers are duplicates all the same.
//!
//! 1. [`profile`] turns texts into numbers once: words, whole questions, contexts, answers.
//! 2. [`near`] finds questions of nearly the same words; [`answer`] finds answers in contexts.
//! 3. [`between`] and [`within`] put together what one set holds of another, and of itself.
//! 4. [`report`] counts, [`remedy`] marks and removes.

mod answer;
mod between;
mod near;
mod profile;
mod remedy;
mod report;
mod within;

use serde::Serialize;

use crate::row::{LeakKind, Row};

pub use remedy::{drop_leaks, flag};
pub use report::{DuplicateCounts, LeakAudit, LeakCounts, LeakReport};

use profile::Profiler;

/// What counts as a leak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeakOptions {
    /// From which Jaccard similarity of their word 5-grams on two questions are near duplicates;
    /// 0.8 unless said otherwise. Values outside 0 to 1 count as the nearer of the two.
    pub near: f64,
    /// The fewest words of an answer that is looked for in contexts; 5 unless said otherwise. It
    /// must also have 30 characters, so that "yes" or "in the year of 1815" is no leak.
    pub answer_words: usize,
}

impl Default for LeakOptions {
    fn default() -> Self {
        Self {
            near: 0.8,
            answer_words: 5,
        }
    }
}

/// A test row of which training has seen something.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leak {
    /// Index of the row in the test set.
    pub index: usize,
    /// Its id.
    pub id: String,
    /// The gravest kind that applies.
    pub kind: LeakKind,
    /// Every training row concerned, the gravest kind first, then in their order.
    pub matches: Vec<LeakMatch>,
}

/// A training row, and what it has of a test row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeakMatch {
    /// What it has of it.
    pub kind: LeakKind,
    /// Index of the row in the training set.
    pub index: usize,
    /// Its id.
    pub id: String,
    /// For [`LeakKind::Near`]: the Jaccard similarity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
}

impl Leak {
    /// The kinds that apply, the gravest first.
    pub fn kinds(&self) -> Vec<LeakKind> {
        let mut kinds: Vec<LeakKind> = self.matches.iter().map(|found| found.kind).collect();
        kinds.dedup();
        kinds
    }

    /// The ids of the training rows that overlap in this way.
    pub fn train_ids(&self, kind: LeakKind) -> Vec<&str> {
        let found = self.matches.iter().filter(|found| found.kind == kind);
        found.map(|found| found.id.as_str()).collect()
    }
}

/// Rows of one set whose questions are the same, or nearly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DuplicateGroup {
    /// The loosest tie that holds the group together: [`LeakKind::Exact`] when all its questions are
    /// the same byte for byte, [`LeakKind::Normalised`] when all have the same words, else
    /// [`LeakKind::Near`].
    pub kind: LeakKind,
    /// Indices of the rows, ascending; two at least.
    pub rows: Vec<usize>,
    /// Their ids.
    pub ids: Vec<String>,
}

/// Finds the test rows of which `train` has the question, its words, nearly its words, its context,
/// or the answer. One entry for each such test row, in the order of `test`; nothing is removed.
///
/// A training row is listed once as exact, normalised or near, whichever is gravest, since each
/// implies the next. One that is near may also stand among the shared contexts; any may also hold
/// the answer in its context. What each kind means is said at [`LeakKind`].
///
/// ```
/// use dolly_data::{LeakKind, LeakOptions, Row, leaks};
/// let row = |id: &str, instruction: &str| Row {
///     id: id.into(), instruction: instruction.into(), response: "x".into(), ..Row::default()
/// };
/// let train = [row("1", "Who was Ada?"), row("2", "Who was Bo?")];
/// let found = leaks(&train, &[row("a", "who was  ADA")], &LeakOptions::default());
/// assert_eq!(found[0].kind, LeakKind::Normalised);
/// assert_eq!(found[0].train_ids(LeakKind::Normalised), ["1"]);
/// ```
pub fn leaks(train: &[Row], test: &[Row], options: &LeakOptions) -> Vec<Leak> {
    let mut profiler = Profiler::default();
    let seen = profiler.profile(train);
    let tested = profiler.profile(test);
    between::find(&profiler, (train, &seen), (test, &tested), *options)
}

/// Finds the rows of one set that have the same question, the same words in it, or nearly the same.
/// Each row is in one group at most; being near passes on, so that of a chain of near rows the ends
/// may differ by more. Groups come in the order of their first rows.
///
/// ```
/// use dolly_data::{LeakOptions, Row, duplicates};
/// let row = |instruction: &str| Row { instruction: instruction.into(), ..Row::default() };
/// let rows = [row("Who was Ada?"), row("Who was Bo?"), row("Who was Ada?")];
/// assert_eq!(duplicates(&rows, &LeakOptions::default())[0].rows, [0, 2]);
/// ```
pub fn duplicates(rows: &[Row], options: &LeakOptions) -> Vec<DuplicateGroup> {
    let mut profiler = Profiler::default();
    let profiles = profiler.profile(rows);
    within::find(&profiler, rows, &profiles, *options)
}

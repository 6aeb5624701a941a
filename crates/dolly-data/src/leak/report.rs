//! All sets of a split against each other, and the counts of it.

use serde::Serialize;

use super::profile::Profiler;
use super::{DuplicateGroup, Leak, LeakOptions, between, within};
use crate::row::{LeakKind, Row};

/// Everything that the sets of a split share, and what each holds twice, row by row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeakAudit {
    /// Test rows of which training has seen something.
    pub train_test: Vec<Leak>,
    /// Validation rows of which training has seen something.
    pub train_val: Vec<Leak>,
    /// Test rows of which validation has seen something.
    pub val_test: Vec<Leak>,
    /// Duplicates within the training set.
    pub train: Vec<DuplicateGroup>,
    /// Duplicates within the validation set.
    pub val: Vec<DuplicateGroup>,
    /// Duplicates within the test set.
    pub test: Vec<DuplicateGroup>,
}

impl LeakAudit {
    /// What [`leaks`](super::leaks) and [`duplicates`](super::duplicates) find in all of them, each
    /// text being read once. The validation set may be empty.
    pub fn new(train: &[Row], val: &[Row], test: &[Row], options: &LeakOptions) -> Self {
        let mut profiler = Profiler::default();
        let profiles = [train, val, test].map(|rows| profiler.profile(rows));
        let [in_train, in_val, in_test] = [
            (train, profiles[0].as_slice()),
            (val, profiles[1].as_slice()),
            (test, profiles[2].as_slice()),
        ];
        let leaks = |seen, tested| between::find(&profiler, seen, tested, *options);
        let twice = |(rows, profiles)| within::find(&profiler, rows, profiles, *options);
        Self {
            train_test: leaks(in_train, in_test),
            train_val: leaks(in_train, in_val),
            val_test: leaks(in_val, in_test),
            train: twice(in_train),
            val: twice(in_val),
            test: twice(in_test),
        }
    }

    /// The counts.
    pub fn report(&self) -> LeakReport {
        LeakReport {
            train_test: LeakCounts::of(&self.train_test),
            train_val: LeakCounts::of(&self.train_val),
            val_test: LeakCounts::of(&self.val_test),
            train: DuplicateCounts::of(&self.train),
            val: DuplicateCounts::of(&self.val),
            test: DuplicateCounts::of(&self.test),
        }
    }
}

/// How much the sets of a split share, and how much each holds twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LeakReport {
    /// Test rows of which training has seen something.
    pub train_test: LeakCounts,
    /// Validation rows of which training has seen something.
    pub train_val: LeakCounts,
    /// Test rows of which validation has seen something.
    pub val_test: LeakCounts,
    /// Duplicates within the training set.
    pub train: DuplicateCounts,
    /// Duplicates within the validation set.
    pub val: DuplicateCounts,
    /// Duplicates within the test set.
    pub test: DuplicateCounts,
}

/// Rows of which another set has seen something, each counted once, under its gravest kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LeakCounts {
    /// All of them.
    pub rows: usize,
    /// The same question, byte for byte.
    pub exact: usize,
    /// The same words in the question.
    pub normalised: usize,
    /// Nearly the same words.
    pub near: usize,
    /// The answer stands in a context.
    pub answer_in_context: usize,
    /// Another question about the same context.
    pub shared_context: usize,
}

impl LeakCounts {
    /// Counts these leaks.
    pub fn of(leaks: &[Leak]) -> Self {
        let count = |kind| leaks.iter().filter(|leak| leak.kind == kind).count();
        Self {
            rows: leaks.len(),
            exact: count(LeakKind::Exact),
            normalised: count(LeakKind::Normalised),
            near: count(LeakKind::Near),
            answer_in_context: count(LeakKind::AnswerInContext),
            shared_context: count(LeakKind::SharedContext),
        }
    }
}

/// Groups of duplicates, and the rows that a set would lose if each group kept one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DuplicateCounts {
    /// Groups of two rows or more.
    pub groups: usize,
    /// Rows beyond the first of each group.
    pub rows: usize,
    /// Of these rows, those in groups of one text.
    pub exact: usize,
    /// Those in groups of the same words.
    pub normalised: usize,
    /// Those in groups of nearly the same words.
    pub near: usize,
}

impl DuplicateCounts {
    /// Counts these groups.
    pub fn of(groups: &[DuplicateGroup]) -> Self {
        let count = |kind| {
            let groups = groups.iter().filter(|group| group.kind == kind);
            groups.map(|group| group.rows.len().saturating_sub(1)).sum()
        };
        let [exact, normalised, near] =
            [LeakKind::Exact, LeakKind::Normalised, LeakKind::Near].map(count);
        Self {
            groups: groups.len(),
            rows: exact + normalised + near,
            exact,
            normalised,
            near,
        }
    }
}

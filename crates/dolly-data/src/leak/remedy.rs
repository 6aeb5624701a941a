//! What to do about leaks: mark the test rows, or remove the training rows.

use std::collections::BTreeSet;

use super::Leak;
use crate::row::Row;

/// Marks the test rows with the gravest kind of these leaks, so that later stages can also give the
/// score of the rows that nothing has seen. A graver mark that is there already stays, so leaks from
/// several sets may be marked one after another.
pub fn flag(test: &mut [Row], leaks: &[Leak]) {
    for leak in leaks {
        if let Some(row) = test.get_mut(leak.index) {
            row.leak = row.leak.into_iter().chain([leak.kind]).min();
        }
    }
}

/// Removes every training row that these leaks name, of whatever kind, and returns the removed
/// rows in their order. To spare a kind, leave it out of `matches` first.
///
/// Training rows go, not test rows: a published test set has to stay what it is for scores to be
/// compared, and a training set loses little by a few rows. The leaks speak of indices, so give all
/// leaks of this training set at once:
///
/// ```
/// # use dolly_data::{LeakOptions, Row, drop_leaks, leaks};
/// # let row = |text: &str| Row { instruction: text.into(), ..Row::default() };
/// # let (test, val) = ([row("a")], [row("c")]);
/// let mut train = vec![row("a"), row("b"), row("c")];
/// let options = LeakOptions::default();
/// let (in_test, in_val) = (leaks(&train, &test, &options), leaks(&train, &val, &options));
/// let removed = drop_leaks(&mut train, in_test.iter().chain(&in_val));
/// assert_eq!((train.len(), removed.len()), (1, 2));
/// ```
pub fn drop_leaks<'a>(train: &mut Vec<Row>, leaks: impl IntoIterator<Item = &'a Leak>) -> Vec<Row> {
    let matches = leaks.into_iter().flat_map(|leak| &leak.matches);
    let offending: BTreeSet<usize> = matches.map(|found| found.index).collect();
    let mut removed = Vec::new();
    let mut kept = Vec::with_capacity(train.len());
    for (index, row) in train.drain(..).enumerate() {
        if offending.contains(&index) {
            removed.push(row);
        } else {
            kept.push(row);
        }
    }
    *train = kept;
    removed
}

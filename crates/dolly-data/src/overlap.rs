//! Leaks: test rows that training has already seen.

use std::collections::HashMap;

use serde::Serialize;

use crate::row::{LeakKind, Row};
use crate::words::normalise as words;

/// A test row and the training rows that it overlaps with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overlap {
    /// The gravest kind that applies.
    pub kind: LeakKind,
    /// Id of the test row.
    pub test_id: String,
    /// Ids of the training rows that overlap in this way.
    pub train_ids: Vec<String>,
}

/// Finds the test rows whose question, or whose context, also stands in `train`. One entry for each
/// such test row, in the order of `test`; nothing is removed.
///
/// ```
/// use dolly_data::{LeakKind, Row, overlaps};
/// let row = |id: &str, instruction: &str| Row {
///     id: id.into(), category: String::new(), instruction: instruction.into(), context: None, response: "x".into(),
///     ..Row::default()
/// };
/// let found = overlaps(&[row("1", "Who was Ada?")], &[row("2", "who was  Ada")]);
/// assert_eq!((found[0].kind, found[0].train_ids[0].as_str()), (LeakKind::Normalised, "1"));
/// ```
pub fn overlaps(train: &[Row], test: &[Row]) -> Vec<Overlap> {
    let mut index: HashMap<(LeakKind, String), Vec<&str>> = HashMap::new();
    for row in train {
        for key in keys(row) {
            index.entry(key).or_default().push(&row.id);
        }
    }
    test.iter()
        .filter_map(|row| {
            keys(row).into_iter().find_map(|key| {
                let ids = index.get(&key)?;
                Some(Overlap {
                    kind: key.0,
                    test_id: row.id.clone(),
                    train_ids: ids.iter().map(|&id| id.to_owned()).collect(),
                })
            })
        })
        .collect()
}

/// What a row must share to overlap, the gravest kind first. A normalised text without a word
/// (`"???"`) identifies nothing and gives no key.
fn keys(row: &Row) -> Vec<(LeakKind, String)> {
    let context = row.context.as_deref().unwrap_or_default();
    // U+0000 keeps "a" + "b c" apart from "a b" + "c".
    let exact = format!("{}\0{context}", row.instruction);
    let mut keys = vec![(LeakKind::Exact, exact)];
    let (instruction, context) = (words(&row.instruction), words(context));
    if !instruction.is_empty() {
        let both = format!("{instruction}\0{context}");
        keys.push((LeakKind::Normalised, both));
    }
    if !context.is_empty() {
        keys.push((LeakKind::SharedContext, context));
    }
    keys
}

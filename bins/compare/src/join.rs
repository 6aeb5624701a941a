//! Which row of one file answers the same question as which row of the other.

use std::collections::{HashMap, VecDeque};

use evaluate::Prediction;
use serde::Serialize;

/// What rows were matched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinedBy {
    /// The `id` of each row; every row of both files has one.
    Id,
    /// Instruction, context and gold answer.
    Text,
}

/// Rows without a partner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unmatched {
    /// Rows that only the first file has.
    pub only_before: usize,
    /// Rows that only the second file has.
    pub only_after: usize,
    /// Rows with the same id, but another question or gold answer; also left out.
    pub contradicting: usize,
    /// One of them, to look at.
    #[serde(skip)]
    pub example: Option<String>,
}

impl Unmatched {
    /// Whether every row found its partner.
    pub fn is_empty(&self) -> bool {
        self.only_before + self.only_after + self.contradicting == 0
    }
}

/// Row numbers that belong together, in the order of the first file.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) pairs: Vec<(usize, usize)>,
    pub(crate) by: JoinedBy,
    pub(crate) unmatched: Unmatched,
}

type Key<'a> = [&'a str; 3];

/// Joins by id where every row has one, else by text. A key that comes more than once is matched
/// in order: the k-th with the k-th.
pub(crate) fn join(before: &[Prediction], after: &[Prediction]) -> Join {
    let by = if before.iter().chain(after).all(|row| row.id.is_some()) {
        JoinedBy::Id
    } else {
        JoinedBy::Text
    };
    let mut waiting: HashMap<Key<'_>, VecDeque<usize>> = HashMap::with_capacity(after.len());
    for (j, row) in after.iter().enumerate() {
        waiting.entry(key(row, by)).or_default().push_back(j);
    }
    let (mut pairs, mut unmatched) = (Vec::with_capacity(before.len()), Unmatched::default());
    for (i, row) in before.iter().enumerate() {
        match waiting.get_mut(&key(row, by)).and_then(VecDeque::pop_front) {
            Some(j) if same_question(row, &after[j]) => pairs.push((i, j)),
            Some(_) => {
                unmatched.contradicting += 1;
                unmatched.example.get_or_insert_with(|| describe(row));
            }
            None => {
                unmatched.only_before += 1;
                unmatched.example.get_or_insert_with(|| describe(row));
            }
        }
    }
    unmatched.only_after = waiting.values().map(VecDeque::len).sum();
    if unmatched.example.is_none() {
        let first = waiting.values().flatten().min();
        unmatched.example = first.map(|&j| describe(&after[j]));
    }
    Join {
        pairs,
        by,
        unmatched,
    }
}

fn key(row: &Prediction, by: JoinedBy) -> Key<'_> {
    match (by, &row.id) {
        (JoinedBy::Id, Some(id)) => [id, "", ""],
        _ => [&row.instruction, &row.context, &row.gold],
    }
}

fn same_question(a: &Prediction, b: &Prediction) -> bool {
    a.instruction == b.instruction && a.context == b.context && a.gold == b.gold
}

fn describe(row: &Prediction) -> String {
    let id = row
        .id
        .as_ref()
        .map(|id| format!("id {id}: "))
        .unwrap_or_default();
    let short: String = row.instruction.chars().take(60).collect();
    let more = if short.len() < row.instruction.len() {
        "…"
    } else {
        ""
    };
    format!("{id}“{}{more}”", short.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: Option<&str>, instruction: &str) -> Prediction {
        Prediction {
            id: id.map(str::to_owned),
            instruction: instruction.into(),
            gold: "g".into(),
            ..Prediction::default()
        }
    }

    #[test]
    fn ids_win_over_order() {
        let a = [row(Some("1"), "x"), row(Some("2"), "y")];
        let b = [row(Some("2"), "y"), row(Some("1"), "x")];
        let joined = join(&a, &b);
        assert_eq!(
            (joined.by, joined.pairs),
            (JoinedBy::Id, vec![(0, 1), (1, 0)])
        );
        assert!(joined.unmatched.is_empty());
    }

    #[test]
    fn one_row_without_an_id_means_text() {
        let joined = join(&[row(Some("1"), "x")], &[row(None, "x")]);
        assert_eq!((joined.by, joined.pairs), (JoinedBy::Text, vec![(0, 0)]));
    }

    #[test]
    fn repeated_rows_pair_in_order_and_leftovers_are_counted() {
        let a = [row(None, "x"), row(None, "x"), row(None, "y")];
        let b = [
            row(None, "x"),
            row(None, "z"),
            row(None, "x"),
            row(None, "x"),
        ];
        let joined = join(&a, &b);
        assert_eq!(joined.pairs, [(0, 0), (1, 2)]);
        assert_eq!(
            (joined.unmatched.only_before, joined.unmatched.only_after),
            (1, 2)
        );
        assert_eq!(joined.unmatched.example.as_deref(), Some("“y”"));
    }

    #[test]
    fn the_same_id_with_another_question_is_no_match() {
        let joined = join(&[row(Some("1"), "x")], &[row(Some("1"), "other")]);
        assert_eq!((joined.pairs.len(), joined.unmatched.contradicting), (0, 1));
    }
}

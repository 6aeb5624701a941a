//! Splits that are stratified or grouped, and folds: properties of every one of them.

use std::collections::{BTreeMap, BTreeSet};

use dolly_data::{
    DataError, FoldSpec, GroupBy, Part, Row, Size, Source, Split, SplitSpec, permutation,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A source of rows with these categories and contexts; context 0 is none. Contexts of one number
/// differ in spelling.
fn source(rows: &[(u8, u8)]) -> Source {
    let rows = rows.iter().enumerate().map(|(i, (category, context))| {
        let context = match (context, i % 2) {
            (0, _) => String::new(),
            (_, 0) => format!("The context {context}."),
            _ => format!("the  CONTEXT {context}"),
        };
        format!("r{i},k{category},{context},q{i},yes\n")
    });
    let csv = format!(
        "id,category,context,instruction,response\n{}",
        rows.collect::<String>()
    );
    crate::read_as("a.csv", csv).unwrap()
}

fn ids(part: &Part) -> Vec<&str> {
    part.rows.iter().map(|row| row.id.as_str()).collect()
}

fn parts(split: &Split) -> [&Part; 3] {
    [&split.test, &split.train, &split.val]
}

/// The number of the row's context; rows without one have none.
fn context(row: &Row) -> Option<String> {
    let words = row.context.as_ref()?;
    Some(words.chars().filter(char::is_ascii_digit).collect())
}

/// No record twice, and each part in the order of the permutation.
fn assert_parts_of(order: &[usize], split: &Split) {
    let place = |id: &str| order.iter().position(|i| format!("r{i}") == id).unwrap();
    let mut seen = BTreeSet::new();
    for part in parts(split) {
        assert!(ids(part).is_sorted_by_key(|id| place(id)));
        assert!(ids(part).into_iter().all(|id| seen.insert(id)));
    }
}

fn sizes(n: usize, cut: (usize, usize)) -> [Size; 3] {
    let (a, b) = (cut.0 % (n + 1), cut.1 % (n + 1));
    [a.min(b), a.max(b) - a.min(b), n - a.max(b)].map(Size::Rows)
}

proptest! {
    #[test]
    fn strata_keep_their_shares(
        rows in vec((0u8..6, Just(0)), 1..120), seed: u64, cut: (usize, usize), unused in 0usize..5,
    ) {
        let n = rows.len();
        let [test, train, val] = sizes(n - unused.min(n), cut);
        let spec = SplitSpec { seed, test, train, val, stratify: true, group_by: None };
        let split = source(&rows).split(&spec).unwrap();
        assert_parts_of(&permutation(seed, n), &split);
        for (part, within) in [(&split.test, 1), (&split.train, 1), (&split.val, 2)] {
            prop_assert_eq!(part.rows.len(), part.asked);
            for category in 0..6 {
                let count = rows.iter().filter(|row| row.0 == category).count();
                let name = format!("k{category}");
                let drawn = part.rows.iter().filter(|row| row.category == name).count();
                prop_assert!((drawn * n).abs_diff(part.asked * count) <= within * n);
            }
        }
    }

    #[test]
    fn no_context_stands_in_two_parts(
        rows in vec((Just(0), 0u8..12), 1..120), seed: u64, cut: (usize, usize), rest in 0usize..4,
    ) {
        let n = rows.len();
        let mut asked = sizes(n, cut);
        if let Some(size) = asked.get_mut(rest) {
            *size = Size::Rest;
        }
        let [test, train, val] = asked;
        let spec = SplitSpec { seed, test, train, val, stratify: false, group_by: Some(GroupBy::Context) };
        // A small part may have no room for any group: an error, by name.
        let split = match source(&rows).split(&spec) {
            Ok(split) => split,
            Err(error) => {
                prop_assert!(error.to_string().contains("every group of rows has more rows"), "{}", error);
                return Ok(());
            }
        };
        assert_parts_of(&permutation(seed, n), &split);
        let mut owner = BTreeMap::new();
        for (name, part) in parts(&split).into_iter().enumerate() {
            prop_assert!(part.rows.len() <= part.asked || rest == name);
            for context in part.rows.iter().filter_map(context) {
                prop_assert_eq!(*owner.entry(context).or_insert(name), name);
            }
        }
        if rest < 3 {
            prop_assert_eq!(parts(&split).iter().map(|part| part.rows.len()).sum::<usize>(), n);
        }
    }

    #[test]
    fn each_record_is_tested_once(
        rows in vec((0u8..4, 0u8..40), 2..90), seed: u64, folds in 2usize..9, kind in 0usize..3,
    ) {
        let spec = FoldSpec {
            seed,
            folds,
            stratify: kind == 1,
            group_by: (kind == 2).then_some(GroupBy::Context),
        };
        let contexts: BTreeSet<_> = rows.iter().map(|row| row.1).filter(|&c| c > 0).collect();
        let alone = rows.iter().filter(|row| row.1 == 0).count();
        let pieces = if kind == 2 { contexts.len() + alone } else { rows.len() };
        let found = source(&rows).folds(&spec);
        if folds > pieces {
            let said = found.unwrap_err().to_string();
            let expected = format!("{folds} folds asked for, expected from 2 to {pieces}");
            prop_assert!(said.contains(&expected), "{}", said);
            return Ok(());
        }
        let found = found.unwrap();
        prop_assert_eq!(found.len(), folds);
        let mut tested = BTreeSet::new();
        for fold in &found {
            assert_parts_of(&permutation(seed, rows.len()), fold);
            prop_assert_eq!(fold.test.rows.len() + fold.train.rows.len(), rows.len());
            prop_assert!(ids(&fold.test).into_iter().all(|id| tested.insert(id)));
            if kind == 2 {
                let test: BTreeSet<_> = fold.test.rows.iter().filter_map(context).collect();
                prop_assert!(fold.train.rows.iter().filter_map(context).all(|c| !test.contains(&c)));
            } else {
                prop_assert!(fold.test.rows.len().abs_diff(rows.len() / folds) <= 1);
            }
        }
        prop_assert_eq!(tested.len(), rows.len());
        for category in (0..4).filter(|_| kind == 1) {
            let name = format!("k{category}");
            let count = |fold: &Split| fold.test.rows.iter().filter(|row| row.category == name).count();
            let counts: Vec<_> = found.iter().map(count).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }
    }
}

#[test]
fn validation_rows_come_after_the_others() {
    let source = source(&[(0, 0); 20]);
    let spec = |val| SplitSpec {
        test: Size::Fraction(0.2),
        train: Size::Rows(10),
        val,
        ..SplitSpec::default()
    };
    let without = source.split(&spec(Size::Rows(0))).unwrap();
    let with = source.split(&spec(Size::Rest)).unwrap();
    assert_eq!((&with.test, &with.train), (&without.test, &without.train));
    let order: Vec<String> = permutation(42, 20)
        .iter()
        .map(|i| format!("r{i}"))
        .collect();
    assert_eq!(ids(&with.test), order[..4]);
    assert_eq!(ids(&with.train), order[4..14]);
    assert_eq!(ids(&with.val), order[14..]);
    assert!(without.val.rows.is_empty());
}

#[test]
fn grouping_moves_nothing_where_every_context_is_its_own() {
    let rows: Vec<(u8, u8)> = (0..30).map(|i| (0, i)).collect();
    let spec = SplitSpec {
        test: Size::Rows(5),
        train: Size::Rows(20),
        ..SplitSpec::default()
    };
    let grouped = SplitSpec {
        group_by: Some(GroupBy::Context),
        ..spec
    };
    let source = source(&rows);
    assert_eq!(
        source.split(&spec).unwrap(),
        source.split(&grouped).unwrap()
    );
}

#[test]
fn impossible_splits_say_why() {
    let source = source(&[(0, 1), (0, 1), (0, 1)]);
    let said = |spec: SplitSpec| source.split(&spec).unwrap_err().to_string();
    let spec = SplitSpec {
        test: Size::Rows(1),
        train: Size::Rest,
        group_by: Some(GroupBy::Context),
        ..SplitSpec::default()
    };
    assert!(said(spec).contains("every group of rows has more rows than the 1 asked for test"));
    let both = SplitSpec {
        stratify: true,
        ..spec
    };
    assert!(said(both).contains("choose one of the two"));
    let rests = SplitSpec {
        val: Size::Rest,
        ..spec
    };
    assert!(said(rests).contains("found 2 parts that take the rest"));
    let large = SplitSpec {
        train: Size::Rows(2),
        val: Size::Rows(3),
        ..spec
    };
    assert!(said(large).contains("test 1 + train 2 + val 3 rows asked for, but the source has 3"));
    for folds in [0, 1, 4, usize::MAX] {
        let spec = FoldSpec {
            folds,
            ..FoldSpec::default()
        };
        assert!(
            matches!(source.folds(&spec), Err(DataError::Split { .. })),
            "{folds}"
        );
    }
}

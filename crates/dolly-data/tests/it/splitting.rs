//! The split: where rows go, and where they are lost.

use dolly_data::{DataError, Row, Size, Source, SplitSpec, permutation};
use proptest::prelude::*;

/// A source of `n` rows with ids `r0`, `r1`, …, those at `blank` without a response.
fn source(n: usize, blank: &[usize]) -> Source {
    let rows = (0..n).map(|i| {
        let response = if blank.contains(&i) { "" } else { "yes" };
        format!("r{i},q{i},{response}\n")
    });
    let csv = format!("id,instruction,response\n{}", rows.collect::<String>());
    crate::read_as("a.csv", csv).unwrap()
}

/// So many rows of each, drawn plainly.
fn rows(seed: u64, test: usize, train: usize) -> SplitSpec {
    SplitSpec {
        seed,
        test: Size::Rows(test),
        train: Size::Rows(train),
        ..SplitSpec::default()
    }
}

fn ids(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

#[test]
fn blank_rows_are_dropped_after_the_draw() {
    let spec = rows(42, 3, 5);
    let order = permutation(42, 12);
    let whole = source(12, &[]).split(&spec).unwrap();
    assert_eq!(
        ids(&whole.test.rows),
        order[..3]
            .iter()
            .map(|i| format!("r{i}"))
            .collect::<Vec<_>>()
    );
    assert_eq!(
        ids(&whole.train.rows),
        order[3..8]
            .iter()
            .map(|i| format!("r{i}"))
            .collect::<Vec<_>>()
    );
    let short = source(12, &[order[1], order[5]]).split(&spec).unwrap();
    assert_eq!(short.test.rows.len(), 2);
    assert_eq!(short.test.dropped[0].index, order[1]);
    let mut left = ids(&whole.train.rows);
    left.remove(2);
    assert_eq!(
        ids(&short.train.rows),
        left,
        "nothing moves up, nothing is refilled"
    );
}

#[test]
fn too_much_is_asked_for() {
    let source = source(4, &[]);
    let split = |test, train| source.split(&rows(0, test, train));
    assert_eq!(split(1, 3).unwrap().train.rows.len(), 3);
    assert_eq!(split(0, 0).unwrap().train.rows.len(), 0);
    let said = split(2, 3).unwrap_err().to_string();
    assert!(
        said.contains("test 2 + train 3 rows asked for, but the source has 4"),
        "{said}"
    );
    assert!(matches!(
        split(usize::MAX, 2),
        Err(DataError::SplitTooLarge { .. })
    ));
}

#[test]
fn a_part_of_blanks_is_an_error() {
    let order = permutation(1, 5);
    let source = source(5, &order[..2]);
    let error = source.split(&rows(1, 2, 3)).unwrap_err();
    assert!(
        error.to_string().contains("all 2 rows drawn for test"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn no_record_stands_on_both_sides(seed: u64, test in 0usize..20, train in 0usize..20) {
        let split = source(40, &[]).split(&rows(seed, test, train)).unwrap();
        prop_assert_eq!((split.test.rows.len(), split.train.rows.len()), (test, train));
        prop_assert!(split.test.rows.iter().all(|row| !split.train.rows.contains(row)));
    }
}

//! How many rows go where when the command line does not say.

use dolly_data::{GroupBy, Size, SplitSpec};
use stage::StageError;

use crate::Args;

/// The published split of Dolly.
const TEST: usize = 15;
const TRAIN: usize = 1000;

/// The split to draw from `rows` records, and a note where a default had to shrink. A size that was
/// typed is never changed.
pub(crate) fn choose(args: &Args, rows: usize) -> Result<(SplitSpec, Option<String>), StageError> {
    let typed = |size: Option<Size>| size.map_or(0, |size| least(size, rows));
    let val = args.val.unwrap_or(Size::Rows(0));
    let room = rows.saturating_sub(typed(args.val));
    let test = args.test.unwrap_or_else(|| {
        Size::Rows(match args.train {
            Some(train @ (Size::Rows(_) | Size::Fraction(_))) => {
                TEST.min(room.saturating_sub(least(train, rows)))
            }
            // A tenth, so that a small source still leaves most of its rows for training.
            _ => TEST.min((rows / 10).max(1)),
        })
    });
    let left = room.saturating_sub(least(test, rows));
    let takes_rest = [args.test, args.val].contains(&Some(Size::Rest));
    let train = args.train.unwrap_or(Size::Rows(if takes_rest {
        TRAIN.min(rows / 2)
    } else {
        TRAIN.min(left)
    }));
    let empty = |typed: Option<Size>, size| typed.is_none() && size == Size::Rows(0);
    if empty(args.test, test) || empty(args.train, train) {
        return Err(StageError::usage(format!(
            "the source has {rows} rows, and {} test + {} train rows leave one side empty; say --test N and --train N",
            least(test, rows),
            least(train, rows)
        )));
    }
    let shrunk = (args.test.is_none() && test != Size::Rows(TEST))
        || (args.train.is_none() && train != Size::Rows(TRAIN));
    let note = shrunk.then(|| {
        format!(
            "the source has {rows} rows, so the split is {} test + {} train (the default is {TEST} + {TRAIN}; --test and --train decide)",
            least(test, rows),
            least(train, rows)
        )
    });
    let spec = SplitSpec {
        seed: args.seed,
        test,
        val,
        train,
        stratify: args.stratify.is_some(),
        group_by: args.group_by.map(GroupBy::from),
    };
    Ok((spec, note))
}

/// The rows that a size takes for sure: none, where it takes the rest.
fn least(size: Size, rows: usize) -> usize {
    match size {
        Size::Rows(n) => n,
        Size::Fraction(part) => (part * rows as f64) as usize,
        Size::Rest => 0,
    }
}

#[cfg(test)]
mod tests {
    use dolly_data::Size;

    use super::choose;
    use crate::Args;

    fn drawn(rows: usize, test: Option<&str>, train: Option<&str>) -> Option<(Size, Size, bool)> {
        let size = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let args = Args {
            test: size(test),
            train: size(train),
            ..Args::new("x")
        };
        let (spec, note) = choose(&args, rows).ok()?;
        Some((spec.test, spec.train, note.is_some()))
    }

    #[test]
    fn defaults_shrink_and_typed_sizes_do_not() {
        let rows = |test, train, note| Some((Size::Rows(test), Size::Rows(train), note));
        assert_eq!(drawn(15_015, None, None), rows(15, 1000, false));
        assert_eq!(drawn(1015, None, None), rows(15, 1000, false));
        assert_eq!(drawn(240, None, None), rows(15, 225, true));
        assert_eq!(drawn(20, None, None), rows(2, 18, true));
        assert_eq!(drawn(2, None, None), rows(1, 1, true));
        assert_eq!(drawn(1, None, None), None);
        assert_eq!(drawn(100, Some("40"), None), rows(40, 60, true));
        assert_eq!(drawn(100, None, Some("90")), rows(10, 90, true));
        assert_eq!(drawn(100, None, Some("100")), None);
        assert_eq!(drawn(100, Some("100"), None), None);
        assert_eq!(drawn(100, Some("500"), Some("600")), rows(500, 600, false));
        assert_eq!(drawn(100, Some("100"), Some("0")), rows(100, 0, false));
        assert_eq!(
            drawn(2000, None, Some("rest")),
            Some((Size::Rows(15), Size::Rest, false))
        );
        assert_eq!(
            drawn(2000, Some("10%"), None),
            Some((Size::Fraction(0.1), Size::Rows(1000), false))
        );
    }
}

//! How many rows go where when the command line does not say.

use dolly_data::{Size, SplitSpec};
use stage::StageError;

use crate::Args;

/// The published split of Dolly.
const TEST: usize = 15;
const TRAIN: usize = 1000;

/// The split to draw from `rows` records, and a note where a default had to shrink. A number that
/// was typed is never changed.
pub(crate) fn choose(args: &Args, rows: usize) -> Result<(SplitSpec, Option<String>), StageError> {
    let test = match (args.test, args.train) {
        (Some(test), _) => test,
        (None, Some(train)) => TEST.min(rows.saturating_sub(train)),
        // A tenth, so that a small source still leaves most of its rows for training.
        (None, None) => TEST.min((rows / 10).max(1)),
    };
    let train = args.train.unwrap_or(TRAIN.min(rows.saturating_sub(test)));
    if (args.test.is_none() && test == 0) || (args.train.is_none() && train == 0) {
        return Err(StageError::usage(format!(
            "the source has {rows} rows, and {test} test + {train} train rows leave one side empty; say --test N and --train N"
        )));
    }
    let shrunk = (args.test.is_none() && test < TEST) || (args.train.is_none() && train < TRAIN);
    let note = shrunk.then(|| {
        format!("the source has {rows} rows, so the split is {test} test + {train} train (the default is {TEST} + {TRAIN}; --test and --train decide)")
    });
    let spec = SplitSpec {
        seed: args.seed,
        test: Size::Rows(test),
        train: Size::Rows(train),
        ..SplitSpec::default()
    };
    Ok((spec, note))
}

#[cfg(test)]
mod tests {
    use dolly_data::Size;

    use super::choose;
    use crate::Args;

    fn drawn(
        rows: usize,
        test: Option<usize>,
        train: Option<usize>,
    ) -> Option<(usize, usize, bool)> {
        let args = Args {
            test,
            train,
            ..Args::new("x")
        };
        let (spec, note) = choose(&args, rows).ok()?;
        let (Size::Rows(test), Size::Rows(train)) = (spec.test, spec.train) else {
            return None;
        };
        Some((test, train, note.is_some()))
    }

    #[test]
    fn defaults_shrink_and_typed_numbers_do_not() {
        assert_eq!(drawn(15_015, None, None), Some((15, 1000, false)));
        assert_eq!(drawn(1015, None, None), Some((15, 1000, false)));
        assert_eq!(drawn(240, None, None), Some((15, 225, true)));
        assert_eq!(drawn(20, None, None), Some((2, 18, true)));
        assert_eq!(drawn(2, None, None), Some((1, 1, true)));
        assert_eq!(drawn(1, None, None), None);
        assert_eq!(drawn(100, Some(40), None), Some((40, 60, true)));
        assert_eq!(drawn(100, None, Some(90)), Some((10, 90, true)));
        assert_eq!(drawn(100, None, Some(100)), None);
        assert_eq!(drawn(100, Some(100), None), None);
        assert_eq!(drawn(100, Some(500), Some(600)), Some((500, 600, false)));
        assert_eq!(drawn(100, Some(100), Some(0)), Some((100, 0, false)));
    }
}

//! The seeded split.

use crate::error::DataError;
use crate::numpy::permutation;
use crate::row::Loaded;
use crate::source::Source;

/// What to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitSpec {
    /// The seed, as in `numpy.random.default_rng(seed)`.
    pub seed: u64,
    /// Rows to draw for the test set.
    pub test: usize,
    /// Rows to draw for the training set.
    pub train: usize,
}

/// One side of a split: its rows, and the drawn records that turned out unusable.
pub type Part = Loaded;

/// A test and a training set that share no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The first rows of the permutation.
    pub test: Part,
    /// Those after them.
    pub train: Part,
}

impl Source {
    /// Draws a test and a training set: with `p = permutation(seed, len)`, the records at
    /// `p[..test]` and at `p[test..test + train]`, in that order.
    ///
    /// The split is over the records as read. A record without instruction or response is dropped
    /// after the draw and never replaced, so a blank row in one place moves no other row and the
    /// published ids stay what they are; a part may be shorter than asked for.
    ///
    /// # Errors
    /// When the source has fewer than `test + train` records, or when nothing usable is left of a
    /// part that was to have rows.
    pub fn split(&self, spec: &SplitSpec) -> Result<Split, DataError> {
        let rows = self.len();
        if spec.test.checked_add(spec.train).is_none_or(|n| n > rows) {
            return Err(DataError::SplitTooLarge {
                path: self.path.clone(),
                test: spec.test,
                train: spec.train,
                rows,
            });
        }
        let order = permutation(spec.seed, rows);
        let (test, rest) = order.split_at(spec.test);
        Ok(Split {
            test: self.part("test", test)?,
            train: self.part("train", &rest[..spec.train])?,
        })
    }

    fn part(&self, part: &'static str, indices: &[usize]) -> Result<Part, DataError> {
        let drawn = self.view(indices.iter().copied());
        if drawn.rows.is_empty() && !indices.is_empty() {
            return Err(DataError::EmptyPart {
                path: self.path.clone(),
                part,
                drawn: indices.len(),
            });
        }
        Ok(drawn)
    }
}

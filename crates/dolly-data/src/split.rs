//! The seeded split: what to draw, and what is drawn.

mod deal;
mod folds;
mod groups;
mod size;
mod strata;

use crate::error::DataError;
use crate::row::{Dropped, Row};
use crate::source::Source;

pub use folds::FoldSpec;
pub use size::{Size, SizeError};

/// What to draw. The default is the published split of Dolly: seed 42, 15 test and 1,000 training
/// rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitSpec {
    /// The seed, as in `numpy.random.default_rng(seed)`.
    pub seed: u64,
    /// The test set: the first rows of the permutation.
    pub test: Size,
    /// The validation set: the rows after the training set, so that asking for one leaves test and
    /// training rows where they are.
    pub val: Size,
    /// The training set: the rows after the test set.
    pub train: Size,
    /// Whether each part shall have the categories in the proportions of the source.
    pub stratify: bool,
    /// What must not stand in two parts.
    pub group_by: Option<GroupBy>,
}

impl Default for SplitSpec {
    fn default() -> Self {
        Self {
            seed: 42,
            test: Size::Rows(15),
            val: Size::Rows(0),
            train: Size::Rows(1000),
            stratify: false,
            group_by: None,
        }
    }
}

/// What makes rows belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupBy {
    /// The words of the context, whatever their case, punctuation and spacing. A row without a
    /// context belongs to no other.
    Context,
}

/// One part of a split: its rows, and the drawn records that turned out unusable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// The usable rows, in the order of the permutation.
    pub rows: Vec<Row>,
    /// The drawn records that are none, in that order.
    pub dropped: Vec<Dropped>,
    /// Records asked for. As many were drawn, unless rows were grouped.
    pub asked: usize,
}

/// A test, a validation and a training set that share no record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// The test set.
    pub test: Part,
    /// The validation set; empty unless asked for.
    pub val: Part,
    /// The training set.
    pub train: Part,
}

impl Source {
    /// Draws a test, a training and a validation set: with `p = permutation(seed, len)`, the records
    /// at `p[..test]`, at `p[test..test + train]` and at `p[test + train..test + train + val]`, in
    /// that order.
    ///
    /// The split is over the records as read. A record without instruction or response is dropped
    /// after the draw and never replaced, so a blank row in one place moves no other row and the
    /// published ids stay what they are; a part may be shorter than asked for.
    ///
    /// With [`SplitSpec::stratify`], each part takes from each category as many as its share of the
    /// source, the largest remainders rounded up, and of each category the first that are left in
    /// `p`. Test and training sets stand within one row of each share, the validation set, which
    /// takes what they leave, within two. A part keeps the order of `p`.
    ///
    /// With [`SplitSpec::group_by`], groups are taken whole, in the order of their first record in
    /// `p`; a group with more records than a part still wants is passed over and left to the next
    /// part. So a part is never larger than asked for, and may be a little smaller; only
    /// [`Size::Rest`] also takes every group that found no place.
    ///
    /// # Errors
    /// When the source has fewer records than asked for, when a size is no size or two are the rest,
    /// when rows shall be both stratified and grouped (a group has no one category), and when
    /// nothing usable is left of a part that was to have rows.
    pub fn split(&self, spec: &SplitSpec) -> Result<Split, DataError> {
        let asked = self.asked(spec)?;
        let [test, train, val] = match (spec.stratify, spec.group_by) {
            (true, Some(_)) => return Err(self.conflict()),
            (true, None) => strata::draw(self, spec.seed, asked),
            (false, Some(by)) => {
                let rest = [spec.test, spec.train, spec.val].map(|size| size == Size::Rest);
                groups::draw(self, spec.seed, by, asked, rest)
            }
            (false, None) => deal::draw(spec.seed, self.len(), asked),
        };
        Ok(Split {
            test: self.part("test", &test, asked[0])?,
            train: self.part("train", &train, asked[1])?,
            val: self.part("val", &val, asked[2])?,
        })
    }

    /// Rows asked for in test, train and val.
    fn asked(&self, spec: &SplitSpec) -> Result<[usize; 3], DataError> {
        let rows = self.len();
        let sizes = [spec.test, spec.train, spec.val];
        let named = size::resolve(sizes, rows).map_err(|problem| DataError::Split {
            path: self.path.clone(),
            problem,
        })?;
        let [test, train, val] = named;
        let sum = test.checked_add(train).and_then(|n| n.checked_add(val));
        if sum.is_none_or(|sum| sum > rows) {
            return Err(DataError::SplitTooLarge {
                path: self.path.clone(),
                test,
                train,
                val,
                rows,
            });
        }
        Ok(named)
    }

    fn conflict(&self) -> DataError {
        DataError::Split {
            path: self.path.clone(),
            problem: "asked to stratify by category and to keep contexts together, but rows of one context may be of several categories; choose one of the two".to_owned(),
        }
    }

    fn part(&self, part: &'static str, indices: &[usize], asked: usize) -> Result<Part, DataError> {
        let drawn = self.view(indices.iter().copied());
        if asked > 0 && indices.is_empty() {
            return Err(DataError::Split {
                path: self.path.clone(),
                problem: format!(
                    "every group of rows has more rows than the {asked} asked for {part}; ask for more, or do not group"
                ),
            });
        }
        if drawn.rows.is_empty() && asked > 0 {
            return Err(DataError::EmptyPart {
                path: self.path.clone(),
                part,
                drawn: indices.len(),
            });
        }
        Ok(Part {
            rows: drawn.rows,
            dropped: drawn.dropped,
            asked,
        })
    }
}

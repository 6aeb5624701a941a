//! k-fold cross-validation.

use super::{GroupBy, Part, Split, groups, strata};
use crate::error::DataError;
use crate::numpy::permutation;
use crate::source::Source;

/// How to fold. The default is five folds with seed 42.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldSpec {
    /// The seed, as in `numpy.random.default_rng(seed)`.
    pub seed: u64,
    /// How many folds.
    pub folds: usize,
    /// Whether each fold shall have the categories in the proportions of the source.
    pub stratify: bool,
    /// What must not stand in two folds.
    pub group_by: Option<GroupBy>,
}

impl Default for FoldSpec {
    fn default() -> Self {
        Self {
            seed: 42,
            folds: 5,
            stratify: false,
            group_by: None,
        }
    }
}

impl Source {
    /// Splits the source `k` times, so that each record is in exactly one test set and in the
    /// training set of every other fold. There is no validation set.
    ///
    /// With `p = permutation(seed, len)`, the test sets are consecutive pieces of `p`, the first
    /// `len % k` one record longer. Stratified, the records of each category are dealt out in turn,
    /// so folds differ by one row at most in each category and in all. Grouped, the largest groups
    /// go first, each to the fold that has fewest records. Every part keeps the order of `p`.
    ///
    /// # Errors
    /// When there are fewer than two folds, or more than records or groups; when rows shall be both
    /// stratified and grouped; when nothing usable is left of a part.
    pub fn folds(&self, spec: &FoldSpec) -> Result<Vec<Split>, DataError> {
        let k = spec.folds;
        let order = permutation(spec.seed, self.len());
        let (fold_of, pieces) = match (spec.stratify, spec.group_by) {
            (true, Some(_)) => return Err(self.conflict()),
            (true, None) => (dealt(&strata::strata(self), &order, k), self.len()),
            (false, Some(by)) => {
                let groups = groups::members(&groups::groups(self, by), &order);
                let pieces = groups.len();
                (balanced(groups, self.len(), k), pieces)
            }
            (false, None) => (pieces(&order, k), self.len()),
        };
        if k < 2 || k > pieces {
            return Err(DataError::Split {
                path: self.path.clone(),
                problem: format!(
                    "{k} folds asked for, expected from 2 to {pieces}, as many as there are rows or groups of rows"
                ),
            });
        }
        (0..k)
            .map(|fold| self.fold(&order, &fold_of, fold))
            .collect()
    }

    fn fold(&self, order: &[usize], fold_of: &[usize], fold: usize) -> Result<Split, DataError> {
        let (test, train): (Vec<usize>, Vec<usize>) =
            order.iter().partition(|&&index| fold_of[index] == fold);
        Ok(Split {
            test: self.part("test", &test, test.len())?,
            val: Part::default(),
            train: self.part("train", &train, train.len())?,
        })
    }
}

/// Consecutive pieces of the order.
fn pieces(order: &[usize], k: usize) -> Vec<usize> {
    let mut fold_of = vec![0; order.len()];
    let k = k.max(1);
    let (short, longer) = (order.len() / k, order.len() % k);
    let sizes = (0..k).map(|fold| short + usize::from(fold < longer));
    let folds = sizes
        .enumerate()
        .flat_map(|(fold, n)| std::iter::repeat_n(fold, n));
    for (&index, fold) in order.iter().zip(folds) {
        fold_of[index] = fold;
    }
    fold_of
}

/// One record after another to one fold after another, stratum by stratum.
fn dealt(strata: &[usize], order: &[usize], k: usize) -> Vec<usize> {
    let mut sorted = order.to_vec();
    sorted.sort_by_key(|&index| strata[index]);
    let mut fold_of = vec![0; order.len()];
    for (place, index) in sorted.into_iter().enumerate() {
        fold_of[index] = place % k.max(1);
    }
    fold_of
}

/// The largest groups first, each to the smallest fold.
fn balanced(mut groups: Vec<Vec<usize>>, rows: usize, k: usize) -> Vec<usize> {
    let mut sizes = vec![0; k.max(1).min(rows.max(1))];
    let mut fold_of = vec![0; rows];
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    for group in groups {
        let smallest = (0..sizes.len())
            .min_by_key(|&fold| sizes[fold])
            .unwrap_or(0);
        sizes[smallest] += group.len();
        for index in group {
            fold_of[index] = smallest;
        }
    }
    fold_of
}

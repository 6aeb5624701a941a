//! Rows that hang together.
//!
//! Ten questions about one context are not ten independent rows: a system that misreads the context misses all ten.
//! Taken for independent they give one false finding in seven (`docs/statistics.md`). So what is flipped, counted and
//! resampled is the cluster, and each row stays in the mean as one row.

use std::collections::HashMap;
use std::hash::Hash;

/// Which rows belong together. Every row is in exactly one cluster.
///
/// ```
/// use textmetrics::stats::Clusters;
///
/// // Rows that share any key are one cluster; the last row has none and stands alone.
/// let clusters = Clusters::sharing([vec!["a"], vec!["b", "a"], vec!["c"], vec![]]);
/// assert_eq!((clusters.rows(), clusters.count()), (4, 3));
/// assert_eq!(clusters.sums(&[1.0, 2.0, 3.0, 4.0]), [3.0, 3.0, 4.0]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    of_row: Vec<usize>,
    count: usize,
}

impl Clusters {
    /// Clusters of the rows that share a key, directly or through other rows. Takes the keys of each row.
    pub fn sharing<K: Eq + Hash>(
        rows: impl IntoIterator<Item = impl IntoIterator<Item = K>>,
    ) -> Self {
        let mut parents: Vec<usize> = Vec::new();
        let mut first: HashMap<K, usize> = HashMap::new();
        for (row, keys) in rows.into_iter().enumerate() {
            parents.push(row);
            for key in keys {
                let other = *first.entry(key).or_insert(row);
                let (a, b) = (root(&mut parents, row), root(&mut parents, other));
                parents[a.max(b)] = a.min(b);
            }
        }
        Self::numbered((0..parents.len()).map(|row| root(&mut parents, row)))
    }

    /// Numbers clusters in the order of their first rows.
    fn numbered(labels: impl Iterator<Item = usize>) -> Self {
        let mut numbers: HashMap<usize, usize> = HashMap::new();
        let of_row = labels
            .map(|label| {
                let next = numbers.len();
                *numbers.entry(label).or_insert(next)
            })
            .collect();
        Self {
            of_row,
            count: numbers.len(),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.of_row.len()
    }

    /// Number of clusters.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Rows of the largest cluster.
    pub(super) fn largest(&self) -> usize {
        let mut sizes = vec![0; self.count];
        for &cluster in &self.of_row {
            sizes[cluster] += 1;
        }
        sizes.into_iter().max().unwrap_or(0)
    }

    /// The clusters of some of the rows, by row number, in that order. Row numbers beyond the last are left out.
    #[must_use]
    pub fn subset(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let kept = rows.into_iter();
        Self::numbered(kept.filter_map(|row| self.of_row.get(row).copied()))
    }

    /// The sum of each cluster's values.
    pub fn sums(&self, values: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.count];
        for (&cluster, value) in self.of_row.iter().zip(values) {
            sums[cluster] += value;
        }
        sums
    }

    /// One value a cluster, whose mean is the mean of all rows and whose spread is that of the mean under clustering:
    /// `mean + (sum − mean · size) · clusters / rows`, the linearised ratio estimator of survey sampling (Cochran,
    /// "Sampling Techniques", 1977, chapter 6). What holds for the mean of independent values can be asked of these.
    pub(super) fn linearised(&self, values: &[f64]) -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let scale = self.count as f64 / values.len() as f64;
        let mut sizes = vec![0.0; self.count];
        for &cluster in &self.of_row {
            sizes[cluster] += 1.0;
        }
        let sums = self.sums(values);
        let of = |(sum, size): (f64, f64)| mean + (sum - mean * size) * scale;
        sums.into_iter().zip(sizes).map(of).collect()
    }
}

/// The first row of a row's cluster so far; shortens the way for the next time.
fn root(parents: &mut [usize], mut row: usize) -> usize {
    while parents[row] != row {
        parents[row] = parents[parents[row]];
        row = parents[row];
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_link_rows_through_other_rows() {
        let clusters = Clusters::sharing([vec![1], vec![2], vec![3], vec![1, 3], vec![9, 2]]);
        assert_eq!(clusters.of_row, [0, 1, 0, 0, 1]);
        assert_eq!(clusters.subset([1, 2, 4, 7]).of_row, [0, 1, 0]);
    }

    #[test]
    fn linearised_values_keep_the_mean() {
        let clusters = Clusters::sharing([['a'], ['a'], ['a'], ['b'], ['c'], ['c']]);
        let values = [1.0, 0.0, 0.5, -1.0, 0.25, 0.75];
        let linear = clusters.linearised(&values);
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        assert!((mean(&linear) - mean(&values)).abs() < 1e-15);
        // Clusters of one row leave the values as they are.
        let alone = Clusters::sharing([[0], [1], [2], [3], [4], [5]]).linearised(&values);
        assert!(alone.iter().zip(values).all(|(a, b)| (a - b).abs() < 1e-15));
    }

    #[test]
    fn no_rows() {
        let none = Clusters::sharing(Vec::<Vec<u8>>::new());
        assert_eq!((none.rows(), none.count()), (0, 0));
    }
}

//! How long rows are.

use serde::Serialize;

/// Upper bounds of the histogram's buckets, included: powers of two and the limits that people set.
const BOUNDS: [usize; 11] = [32, 64, 128, 256, 512, 768, 1024, 1536, 2048, 4096, 8192];

/// Lengths of rows, in tokens; all 0 where there are no rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lengths {
    /// The shortest.
    pub min: usize,
    /// The mean.
    pub mean: f64,
    /// Half of the rows are at most so long (the smallest length of which that is true).
    pub p50: usize,
    /// Nine tenths are.
    pub p90: usize,
    /// 95 in 100 are.
    pub p95: usize,
    /// 99 in 100 are.
    pub p99: usize,
    /// The longest.
    pub max: usize,
    /// Buckets of up to 32, 64, 128, 256, 512, 768, 1024, 1536, 2048, 4096, 8192 and any number of
    /// tokens, empty ones included.
    pub histogram: Vec<Bucket>,
}

/// Rows of about one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// The fewest tokens.
    pub from: usize,
    /// The most, included; none in the last bucket.
    pub to: Option<usize>,
    /// Rows.
    pub rows: usize,
}

impl Lengths {
    pub(super) fn of(lengths: &[usize]) -> Self {
        let mut sorted = lengths.to_vec();
        sorted.sort_unstable();
        // Nearest rank: the smallest length that so many rows do not exceed.
        let rank = |percent: usize| (sorted.len() * percent).div_ceil(100).max(1) - 1;
        let at = |percent: usize| sorted.get(rank(percent)).copied().unwrap_or_default();
        let total: usize = sorted.iter().sum();
        Self {
            min: sorted.first().copied().unwrap_or_default(),
            mean: total as f64 / sorted.len().max(1) as f64,
            p50: at(50),
            p90: at(90),
            p95: at(95),
            p99: at(99),
            max: sorted.last().copied().unwrap_or_default(),
            histogram: histogram(&sorted),
        }
    }
}

fn histogram(sorted: &[usize]) -> Vec<Bucket> {
    let bounds = BOUNDS.into_iter().map(Some).chain([None]);
    let (mut from, mut below) = (0, 0);
    let bucket = |to: Option<usize>| {
        let up_to = to.map_or(sorted.len(), |to| sorted.partition_point(|&n| n <= to));
        let rows = up_to - below;
        let bucket = Bucket { from, to, rows };
        below = up_to;
        from = to.map_or(from, |to| to + 1);
        bucket
    };
    bounds.map(bucket).collect()
}

#[cfg(test)]
mod tests {
    use super::Lengths;

    #[test]
    fn ranks_and_buckets() {
        let lengths: Vec<usize> = (1..=200).rev().collect();
        let found = Lengths::of(&lengths);
        assert_eq!((found.min, found.max, found.mean), (1, 200, 100.5));
        assert_eq!(
            (found.p50, found.p90, found.p95, found.p99),
            (100, 180, 190, 198)
        );
        let rows: Vec<usize> = found.histogram.iter().map(|b| b.rows).collect();
        assert_eq!(rows, [32, 32, 64, 72, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            (found.histogram[1].from, found.histogram[1].to),
            (33, Some(64))
        );
        assert_eq!(
            (found.histogram[11].from, found.histogram[11].to),
            (8193, None)
        );
    }

    #[test]
    fn the_ends() {
        let beyond = Lengths::of(&[9000, 32]);
        assert_eq!((beyond.p50, beyond.p90), (32, 9000));
        assert_eq!(
            (beyond.histogram[0].rows, beyond.histogram[11].rows),
            (1, 1)
        );
        let none = Lengths::of(&[]);
        assert_eq!((none.min, none.p50, none.max, none.mean), (0, 0, 0, 0.0));
        assert!(none.histogram.iter().all(|bucket| bucket.rows == 0));
    }
}

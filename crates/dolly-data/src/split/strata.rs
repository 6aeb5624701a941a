//! Drawing in the proportions of the categories.

use std::collections::HashMap;

use crate::numpy::permutation;
use crate::source::Source;

/// The records of each part.
pub(super) fn draw<const N: usize>(
    source: &Source,
    seed: u64,
    sizes: [usize; N],
) -> [Vec<usize>; N] {
    let strata = strata(source);
    let mut counts = vec![0; strata.iter().max().map_or(0, |last| last + 1)];
    for &stratum in &strata {
        counts[stratum] += 1;
    }
    let mut order = permutation(seed, source.len());
    let mut room = counts.clone();
    sizes.map(|size| {
        let mut wanted = shares(size, &counts, &room);
        for (room, wanted) in room.iter_mut().zip(&wanted) {
            *room -= wanted;
        }
        let taken;
        (taken, order) = order.iter().partition(|&&index| {
            let wanted = &mut wanted[strata[index]];
            let takes = *wanted > 0;
            *wanted -= usize::from(takes);
            takes
        });
        taken
    })
}

/// The stratum of each record: its category's place in the order of first appearance.
pub(super) fn strata(source: &Source) -> Vec<usize> {
    let mut places = HashMap::new();
    let records = source.records().iter();
    records
        .map(|record| {
            let next = places.len();
            *places.entry(record.category.as_str()).or_insert(next)
        })
        .collect()
}

/// How many of `size` rows each stratum gives: its share of the source rounded down, and one more
/// where the remainder is largest (the earlier stratum on a tie) until the sum is right. No stratum
/// gives more than it has `room` for; what it cannot give comes from where most room is left.
fn shares(size: usize, counts: &[usize], room: &[usize]) -> Vec<usize> {
    let total = counts.iter().sum::<usize>().max(1) as u128;
    let share = |count: usize| size as u128 * count as u128;
    let mut given: Vec<usize> = counts
        .iter()
        .zip(room)
        .map(|(&count, &room)| room.min((share(count) / total) as usize))
        .collect();
    let mut left = size - given.iter().sum::<usize>();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(share(counts[at]) % total));
    for &at in &order {
        let more = left > 0 && share(counts[at]) % total > 0 && given[at] < room[at];
        given[at] += usize::from(more);
        left -= usize::from(more);
    }
    while left > 0 {
        let emptiest = order.iter().max_by_key(|&&at| room[at] - given[at]);
        let Some(&at) = emptiest.filter(|&&at| room[at] > given[at]) else {
            break;
        };
        given[at] += 1;
        left -= 1;
    }
    given
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn largest_remainders_are_rounded_up() {
        assert_eq!(shares(10, &[50, 30, 20], &[50, 30, 20]), [5, 3, 2]);
        assert_eq!(shares(3, &[5, 3, 2], &[5, 3, 2]), [1, 1, 1]);
        assert_eq!(shares(1, &[1, 1], &[1, 1]), [1, 0]);
        assert_eq!(shares(1, &[1, 1], &[0, 1]), [0, 1]);
        assert_eq!(shares(0, &[], &[]), [0; 0]);
    }
}

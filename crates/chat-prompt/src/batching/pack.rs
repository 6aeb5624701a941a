//! First-fit-decreasing, with a tree to find the first batch that has room.

use std::cmp::Reverse;

/// Puts rows into batches of at most `max` tokens; a longer row gets one of its own. Rows of one
/// length are placed in the order given.
pub(super) fn first_fit_decreasing(
    mut rows: Vec<usize>,
    length: impl Fn(usize) -> usize,
    max: usize,
) -> Vec<Vec<usize>> {
    rows.sort_by_key(|&row| Reverse(length(row)));
    let mut room = Room::new(rows.len(), max);
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for row in rows {
        let length = length(row);
        if length > max {
            // Longer rows come first, so no batch is open yet: this one takes a batch and fills it.
            room.take(batches.len(), max);
            batches.push(vec![row]);
            continue;
        }
        let batch = room.first(length);
        room.take(batch, length);
        match batches.get_mut(batch) {
            Some(batch) => batch.push(row),
            None => batches.push(vec![row]),
        }
    }
    batches
}

/// The room left in each batch: the leaves of a binary tree in which every node holds the most room
/// below it. Batches not yet opened have all their room, so the first with room always exists.
struct Room {
    /// The root is at 1, the children of `i` at `2 i` and `2 i + 1`.
    most: Vec<usize>,
    leaves: usize,
}

impl Room {
    fn new(batches: usize, max: usize) -> Self {
        let leaves = batches.next_power_of_two();
        Self {
            most: vec![max; 2 * leaves],
            leaves,
        }
    }

    /// The first batch with room for so many tokens, which must be at most `max`.
    fn first(&self, length: usize) -> usize {
        let mut node = 1;
        while node < self.leaves {
            node *= 2;
            node += usize::from(self.most[node] < length);
        }
        node - self.leaves
    }

    fn take(&mut self, batch: usize, length: usize) {
        let mut node = self.leaves + batch;
        self.most[node] -= length;
        while node > 1 {
            node /= 2;
            self.most[node] = self.most[2 * node].max(self.most[2 * node + 1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::first_fit_decreasing;
    use proptest::prelude::*;

    /// The definition, word for word.
    fn plain(lengths: &[usize], max: usize) -> Vec<Vec<usize>> {
        let mut rows: Vec<usize> = (0..lengths.len()).collect();
        rows.sort_by_key(|&row| std::cmp::Reverse(lengths[row]));
        let mut batches: Vec<(usize, Vec<usize>)> = Vec::new();
        for row in rows {
            let fits = |(used, _): &&mut (usize, Vec<usize>)| used + lengths[row] <= max;
            if let Some((used, batch)) = batches.iter_mut().find(fits) {
                *used += lengths[row];
                batch.push(row);
            } else {
                batches.push((lengths[row], vec![row]));
            }
        }
        batches.into_iter().map(|(_, batch)| batch).collect()
    }

    proptest! {
        #[test]
        fn equals_the_definition(lengths in prop::collection::vec(1usize..60, 0..80), max in 1usize..100) {
            let rows = (0..lengths.len()).collect();
            let fast = first_fit_decreasing(rows, |row| lengths[row], max);
            prop_assert_eq!(fast, plain(&lengths, max));
        }
    }
}

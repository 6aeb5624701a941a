//! Drawing whole groups.

use std::collections::HashMap;

use super::GroupBy;
use crate::numpy::permutation;
use crate::source::Source;
use crate::words::normalise;

/// The records of each part. A part with `rest` also takes the groups that no part had room for.
pub(super) fn draw<const N: usize>(
    source: &Source,
    seed: u64,
    by: GroupBy,
    sizes: [usize; N],
    rest: [bool; N],
) -> [Vec<usize>; N] {
    let order = permutation(seed, source.len());
    let groups = groups(source, by);
    let mut left = members(&groups, &order);
    let mut owners: Vec<Option<usize>> = vec![None; left.len()];
    for (part, size) in sizes.into_iter().enumerate() {
        let mut room = size;
        left.retain(|group| {
            let fits = group.len() <= room;
            if fits {
                room -= group.len();
                owners[groups[group[0]]] = Some(part);
            }
            !fits
        });
    }
    let rest = rest.iter().position(|&rest| rest);
    std::array::from_fn(|part| {
        let owns = |&&index: &&usize| owners[groups[index]].or(rest) == Some(part);
        order.iter().filter(owns).copied().collect()
    })
}

/// The group of each record, in the order of first appearance.
pub(super) fn groups(source: &Source, by: GroupBy) -> Vec<usize> {
    let GroupBy::Context = by;
    let mut places = HashMap::new();
    let mut next = 0;
    let mut fresh = || {
        next += 1;
        next - 1
    };
    let records = source.records().iter();
    records
        .map(
            |record| match normalise(record.context.text(source.text_view())) {
                words if words.is_empty() => fresh(),
                words => *places.entry(words).or_insert_with(&mut fresh),
            },
        )
        .collect()
}

/// The records of each group in this order, and the groups in the order of their first records.
pub(super) fn members(groups: &[usize], order: &[usize]) -> Vec<Vec<usize>> {
    let mut places = vec![None; groups.len()];
    let mut members: Vec<Vec<usize>> = Vec::new();
    for &index in order {
        let place = *places[groups[index]].get_or_insert(members.len());
        if place == members.len() {
            members.push(Vec::new());
        }
        members[place].push(index);
    }
    members
}

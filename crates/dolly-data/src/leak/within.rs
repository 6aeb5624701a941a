//! What one set holds twice.

use std::collections::{BTreeMap, BTreeSet};

use super::profile::{Profile, Profiler};
use super::{DuplicateGroup, LeakOptions, near};
use crate::row::{LeakKind, Row};

/// The groups of rows with one question, or nearly one.
pub(super) fn find(
    profiler: &Profiler,
    rows: &[Row],
    profiles: &[Profile],
    options: LeakOptions,
) -> Vec<DuplicateGroup> {
    let questions: BTreeSet<u32> = profiles.iter().map(|row| row.question).collect();
    let mut ties = Ties((0..profiler.shingles.len()).collect());
    tie_near(profiler, &questions, &mut ties, options.near);
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, row) in profiles.iter().enumerate() {
        let root = ties.root(row.question as usize);
        groups.entry(root).or_default().push(index);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().filter(|g| g.len() > 1).collect();
    groups.sort_unstable();
    let group = |members: Vec<usize>| DuplicateGroup {
        kind: loosest(&members, profiles),
        ids: members
            .iter()
            .map(|&index| rows[index].id.clone())
            .collect(),
        rows: members,
    };
    groups.into_iter().map(group).collect()
}

fn loosest(members: &[usize], profiles: &[Profile]) -> LeakKind {
    let same = |of: fn(&Profile) -> u32| {
        let first = members.first().map(|&index| of(&profiles[index]));
        members
            .iter()
            .all(|&index| Some(of(&profiles[index])) == first)
    };
    if same(|row| row.exact) {
        LeakKind::Exact
    } else if same(|row| row.question) {
        LeakKind::Normalised
    } else {
        LeakKind::Near
    }
}

/// Ties the questions that are near. Pairs that are tied already are not measured again, so that a
/// set full of near rows costs no more than one without.
fn tie_near(profiler: &Profiler, questions: &BTreeSet<u32>, ties: &mut Ties, threshold: f64) {
    let bands = near::Bands::for_threshold(threshold);
    let shingles = &profiler.shingles;
    let buckets = near::buckets(questions.iter().copied(), shingles, bands);
    for bucket in buckets.values() {
        for (at, &a) in bucket.iter().enumerate() {
            for &b in &bucket[at + 1..] {
                let (a, b) = (a as usize, b as usize);
                if ties.root(a) != ties.root(b)
                    && shingles[a].similarity(&shingles[b]) >= bands.threshold()
                {
                    ties.tie(a, b);
                }
            }
        }
    }
}

/// Disjoint sets; each points to a member nearer to its root.
struct Ties(Vec<usize>);

impl Ties {
    fn root(&mut self, mut item: usize) -> usize {
        while self.0[item] != item {
            self.0[item] = self.0[self.0[item]];
            item = self.0[item];
        }
        item
    }

    fn tie(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        // The lower one becomes the root: the outcome does not depend on the order of ties.
        self.0[a.max(b)] = a.min(b);
    }
}

//! What one set holds of another.

use std::collections::{BTreeMap, HashMap};

use super::profile::{Profile, Profiler};
use super::{Leak, LeakMatch, LeakOptions, answer, near};
use crate::row::{LeakKind, Row};

/// The seen rows by question and by context.
struct Seen<'a> {
    profiles: &'a [Profile],
    by_question: BTreeMap<u32, Vec<usize>>,
    by_context: HashMap<u32, Vec<usize>>,
}

impl<'a> Seen<'a> {
    fn new(profiles: &'a [Profile]) -> Self {
        let mut seen = Self {
            profiles,
            by_question: BTreeMap::new(),
            by_context: HashMap::new(),
        };
        for (index, row) in profiles.iter().enumerate() {
            seen.by_question
                .entry(row.question)
                .or_default()
                .push(index);
            if let Some(context) = row.context {
                seen.by_context.entry(context).or_default().push(index);
            }
        }
        seen
    }

    fn with_question(&self, question: u32) -> impl Iterator<Item = usize> {
        self.by_question
            .get(&question)
            .into_iter()
            .flatten()
            .copied()
    }

    fn with_context(&self, context: u32) -> impl Iterator<Item = usize> {
        self.by_context.get(&context).into_iter().flatten().copied()
    }
}

/// A kind, the index of a seen row, and for near ones the similarity.
type Found = (LeakKind, usize, Option<f64>);

/// The tested rows of which something was seen.
pub(super) fn find(
    profiler: &Profiler,
    (seen_rows, seen): (&[Row], &[Profile]),
    (tested_rows, tested): (&[Row], &[Profile]),
    options: LeakOptions,
) -> Vec<Leak> {
    let seen = Seen::new(seen);
    let near = near_questions(profiler, &seen, tested, options.near);
    let answers = answer::contexts(profiler, seen.profiles, tested, options.answer_words);
    let mut leaks = Vec::new();
    for (index, row) in tested.iter().enumerate() {
        let near = near.get(&row.question).map_or(&[][..], Vec::as_slice);
        let answers = answers.get(&index).map_or(&[][..], Vec::as_slice);
        let mut found = of_row(&seen, row, near, answers);
        found.sort_by_key(|&(kind, index, _)| (kind, index));
        let Some(&(kind, ..)) = found.first() else {
            continue;
        };
        let matches = found
            .into_iter()
            .map(|(kind, index, similarity)| LeakMatch {
                kind,
                index,
                id: seen_rows[index].id.clone(),
                similarity,
            });
        leaks.push(Leak {
            index,
            id: tested_rows[index].id.clone(),
            kind,
            matches: matches.collect(),
        });
    }
    leaks
}

fn of_row(seen: &Seen, row: &Profile, near: &[(u32, f64)], answers: &[u32]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for index in seen.with_question(row.question) {
        let exact = seen.profiles[index].exact == row.exact;
        let kind = if exact {
            LeakKind::Exact
        } else {
            LeakKind::Normalised
        };
        found.push((kind, index, None));
    }
    for &(question, similarity) in near {
        let rows = seen.with_question(question);
        found.extend(rows.map(|index| (LeakKind::Near, index, Some(similarity))));
    }
    for &context in answers {
        let rows = seen.with_context(context);
        found.extend(rows.map(|index| (LeakKind::AnswerInContext, index, None)));
    }
    if let Some(context) = row.context {
        // Where the question is the same, so is the context: said already.
        let others = seen
            .with_context(context)
            .filter(|&index| seen.profiles[index].question != row.question);
        found.extend(others.map(|index| (LeakKind::SharedContext, index, None)));
    }
    found
}

/// For each tested question the seen ones that are near and not the same, with their similarity.
fn near_questions(
    profiler: &Profiler,
    seen: &Seen,
    tested: &[Profile],
    threshold: f64,
) -> HashMap<u32, Vec<(u32, f64)>> {
    let bands = near::Bands::for_threshold(threshold);
    let shingles = &profiler.shingles;
    let buckets = near::buckets(seen.by_question.keys().copied(), shingles, bands);
    let mut near: HashMap<u32, Vec<(u32, f64)>> = HashMap::new();
    for row in tested {
        near.entry(row.question).or_insert_with(|| {
            let own = &shingles[row.question as usize];
            let keys = bands.keys(own);
            let mut candidates: Vec<u32> = keys
                .iter()
                .filter_map(|key| buckets.get(key))
                .flatten()
                .copied()
                .filter(|&question| question != row.question)
                .collect();
            candidates.sort_unstable();
            candidates.dedup();
            candidates
                .into_iter()
                .map(|question| (question, own.similarity(&shingles[question as usize])))
                .filter(|&(_, similarity)| similarity >= bands.threshold())
                .collect()
        });
    }
    near
}

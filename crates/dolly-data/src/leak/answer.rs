//! Answers that stand word for word in a context.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::near::hash;
use super::profile::{Profile, Profiler};

/// Which contexts hold the answer of each tested row: contexts by the row's index. An answer counts
/// from `fewest` words on; its words must follow one another in the context.
///
/// The answers are indexed by a hash of their first words and the contexts are read once, so the
/// time does not depend on how many answers there are.
pub(super) fn contexts(
    profiler: &Profiler,
    seen: &[Profile],
    tested: &[Profile],
    fewest: usize,
) -> BTreeMap<usize, Vec<u32>> {
    let width = fewest.max(1);
    let mut answers: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, row) in tested.iter().enumerate() {
        if let Some(first) = row.answer.get(..width) {
            answers.entry(hash(first)).or_default().push(index);
        }
    }
    let mut found: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    if answers.is_empty() {
        return found;
    }
    let contexts: BTreeSet<u32> = seen.iter().filter_map(|row| row.context).collect();
    for context in contexts {
        let words = &profiler.context_words[context as usize];
        for (at, window) in words.windows(width).enumerate() {
            for &index in answers.get(&hash(window)).into_iter().flatten() {
                let holds = words[at..].starts_with(&tested[index].answer);
                let contexts = found.entry(index).or_default();
                if holds && contexts.last() != Some(&context) {
                    contexts.push(context);
                }
            }
        }
    }
    found
}

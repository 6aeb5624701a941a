//! What of a row is compared, as numbers: equal things get equal numbers, so that comparing them
//! is cheap however long the texts are.

use std::borrow::Cow;
use std::collections::HashMap;

use super::near::Shingles;
use crate::row::Row;
use crate::words::normalise;

/// The fewest characters of an answer that is looked for in contexts.
const ANSWER_CHARS: usize = 30;

/// A row as the comparisons see it.
pub(super) struct Profile {
    /// Number of the question's text.
    pub(super) exact: u32,
    /// Number of the question's words. A question without a word (`"???"`) identifies nothing, so
    /// its text counts as its word.
    pub(super) question: u32,
    /// Number of the context's words, if it has any.
    pub(super) context: Option<u32>,
    /// The words of the answer; empty where it has too few characters to be looked for.
    pub(super) answer: Vec<u32>,
}

/// Numbers the texts of several sets alike.
#[derive(Default)]
pub(super) struct Profiler {
    words: HashMap<Box<str>, u32>,
    exact: HashMap<String, u32>,
    questions: HashMap<(Vec<u32>, Option<u32>), u32>,
    contexts: HashMap<Vec<u32>, u32>,
    /// The 5-grams of each question, by its number.
    pub(super) shingles: Vec<Shingles>,
    /// The words of each context, by its number.
    pub(super) context_words: Vec<Vec<u32>>,
}

impl Profiler {
    /// The profiles of these rows.
    pub(super) fn profile(&mut self, rows: &[Row]) -> Vec<Profile> {
        rows.iter().map(|row| self.row(row)).collect()
    }

    fn row(&mut self, row: &Row) -> Profile {
        let (instruction, context) = question(row);
        let exact = number(
            &mut self.exact,
            // U+0000 keeps "a" + "b c" apart from "a b" + "c".
            format!("{instruction}\0{context}"),
        );
        let context = self.context(context);
        let words = self.words(&instruction);
        let question = self.question(words, context, exact);
        let answer = normalise(&row.response);
        let long = answer.chars().nth(ANSWER_CHARS - 1).is_some();
        Profile {
            exact,
            question,
            context,
            answer: if long { self.ids(&answer) } else { Vec::new() },
        }
    }

    fn context(&mut self, text: &str) -> Option<u32> {
        let words = self.words(text);
        if words.is_empty() {
            return None;
        }
        let known = self.contexts.get(&words).copied();
        Some(known.unwrap_or_else(|| {
            self.context_words.push(words.clone());
            number(&mut self.contexts, words)
        }))
    }

    fn question(&mut self, mut words: Vec<u32>, context: Option<u32>, exact: u32) -> u32 {
        let wordless = words.is_empty();
        if wordless {
            // No word has a number from this end: there are never so many.
            words.push(u32::MAX - exact);
        }
        let key = (words, context);
        if let Some(&known) = self.questions.get(&key) {
            return known;
        }
        let mut all = key.0.clone();
        if let Some(context) = context {
            all.extend(&self.context_words[context as usize]);
        }
        let shingles = if wordless {
            Shingles::default()
        } else {
            Shingles::of(&all)
        };
        self.shingles.push(shingles);
        number(&mut self.questions, key)
    }

    fn words(&mut self, text: &str) -> Vec<u32> {
        self.ids(&normalise(text))
    }

    fn ids(&mut self, normalised: &str) -> Vec<u32> {
        let words = normalised.split(' ').filter(|word| !word.is_empty());
        words
            .map(|word| match self.words.get(word) {
                Some(&id) => id,
                None => number(&mut self.words, word.into()),
            })
            .collect()
    }
}

/// The text that asks, and the context. Of a conversation, all that comes before the last answer.
fn question(row: &Row) -> (Cow<'_, str>, &str) {
    let Some((_, before)) = row.messages.split_last() else {
        let context = row.context.as_deref().unwrap_or_default();
        return (Cow::Borrowed(&row.instruction), context);
    };
    let turns = before.iter().map(|turn| turn.content.as_str());
    (Cow::Owned(turns.collect::<Vec<_>>().join("\n")), "")
}

/// The number of a thing: as many as were known before it.
fn number<K: std::hash::Hash + Eq>(known: &mut HashMap<K, u32>, thing: K) -> u32 {
    let next = known.len() as u32;
    *known.entry(thing).or_insert(next)
}

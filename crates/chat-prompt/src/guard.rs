//! Makes control strings in user text harmless while the template is rendered.
//!
//! The template puts user text between control strings of its own, and after rendering the two
//! look alike. So before rendering, the first character of each control string in user text is
//! replaced by a private-use character that occurs nowhere in the conversation. After rendering,
//! what still reads as a control string was written by the template. The text is split there, the
//! stand-ins are turned back, and each piece is encoded as ordinary text.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::error::{PromptError, Result};
use crate::message::Message;

/// Private-use characters: nothing in Unicode gives them a meaning.
const PRIVATE: [std::ops::RangeInclusive<char>; 3] = [
    '\u{e000}'..='\u{f8ff}',
    '\u{f0000}'..='\u{ffffd}',
    '\u{100000}'..='\u{10fffd}',
];

/// Stand-ins and the characters they stand for.
pub(crate) struct Guard {
    stand_ins: BTreeMap<char, char>,
}

/// True if any of the control strings occurs in the text.
pub(crate) fn holds_control<'c>(
    text: &str,
    controls: impl IntoIterator<Item = &'c String>,
) -> bool {
    controls
        .into_iter()
        .any(|control| text.contains(control.as_str()))
}

impl Guard {
    /// Guards the contents of messages; `others` are further texts whose characters must not be
    /// used as stand-ins (the template, the control strings).
    pub(crate) fn apply(
        messages: &[Message],
        controls: &[&str],
        others: &[&str],
    ) -> Result<(Vec<Message>, Self)> {
        let contents = messages.iter().map(|m| m.content.as_str());
        let roles = messages.iter().map(|m| m.role.as_str());
        let texts = contents
            .chain(roles)
            .chain(controls.iter().copied())
            .chain(others.iter().copied());
        let used: HashSet<char> = texts
            .flat_map(str::chars)
            .filter(|c| is_private(*c))
            .collect();
        let mut free = PRIVATE.into_iter().flatten().filter(|c| !used.contains(c));

        let firsts: BTreeSet<char> = controls.iter().filter_map(|c| c.chars().next()).collect();
        let mut by_first = BTreeMap::new();
        for first in firsts {
            by_first.insert(first, free.next().ok_or(PromptError::NoGuard)?);
        }
        let guarded = messages
            .iter()
            .map(|m| Message::new(m.role.clone(), replace(&m.content, controls, &by_first)))
            .collect();
        let stand_ins = by_first
            .into_iter()
            .map(|(first, stand_in)| (stand_in, first))
            .collect();
        Ok((guarded, Self { stand_ins }))
    }

    /// The text with its stand-ins turned back.
    pub(crate) fn restore(&self, text: &str) -> String {
        text.chars()
            .map(|c| *self.stand_ins.get(&c).unwrap_or(&c))
            .collect()
    }
}

fn is_private(c: char) -> bool {
    PRIVATE.iter().any(|range| range.contains(&c))
}

/// Replaces the first character of every occurrence, overlapping ones included.
fn replace(text: &str, controls: &[&str], by_first: &BTreeMap<char, char>) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let rest = text.get(at..).unwrap_or_default();
        let stand_in = by_first
            .get(&c)
            .filter(|_| controls.iter().any(|s| rest.starts_with(s)));
        out.push(*stand_in.unwrap_or(&c));
    }
    out
}

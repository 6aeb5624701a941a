//! What is read: twelve short texts of different kinds, or a file's.

use std::path::Path;

use chat_prompt::Prompter;
use stage::{OrExit, StageError};

/// Written for this program, so that no model has been trained on them.
const BUILT_IN: &str = include_str!("texts.txt");

/// A text and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// What it is called.
    pub name: String,
    /// The text.
    pub text: String,
}

/// A text's tokens, at least two.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) name: String,
    pub(crate) ids: Vec<u32>,
}

/// The texts that come with the program; the first line of each is its name.
pub fn built_in() -> Vec<Passage> {
    let named = parted(BUILT_IN).filter_map(|part| part.split_once('\n'));
    named
        .map(|(name, text)| Passage {
            name: name.trim().to_owned(),
            text: text.trim().to_owned(),
        })
        .collect()
}

/// The texts of a file, called by their number.
///
/// # Errors
/// Exit code 3 if the file cannot be read or has no text.
pub(crate) fn read(path: &Path) -> Result<Vec<Passage>, StageError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| StageError::bad_data(format!("cannot read {}: {e}", path.display())))?;
    let passage = |(i, text): (usize, &str)| Passage {
        name: format!("text {}", i + 1),
        text: text.to_owned(),
    };
    let found: Vec<Passage> = parted(&text).enumerate().map(passage).collect();
    if found.is_empty() {
        return Err(StageError::bad_data(format!(
            "{} has no text; give texts, parted by lines of ---",
            path.display()
        )));
    }
    Ok(found)
}

/// Parts between lines of `---`, none of them blank.
fn parted(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    let parts = std::iter::from_fn(move || {
        let whole = rest?;
        let mut at = 0;
        for line in whole.split_inclusive('\n') {
            if line.trim_end() == "---" {
                rest = Some(&whole[at + line.len()..]);
                return Some(&whole[..at]);
            }
            at += line.len();
        }
        rest = None;
        Some(whole)
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

/// Tokens of each text, at most `longest`; control strings in a text are text.
///
/// # Errors
/// Exit code 3 for a text of fewer than two tokens, from which nothing is predicted; 2 if `longest` is below two.
pub(crate) fn encode(
    passages: &[Passage],
    prompter: &Prompter,
    longest: usize,
) -> Result<Vec<Encoded>, StageError> {
    if longest < 2 {
        return Err(StageError::usage(
            "--max-tokens must be at least 2: a token is predicted from those before it",
        ));
    }
    let one = |passage: &Passage| {
        let mut ids = prompter.encode_plain(&passage.text).or_bad_data()?;
        ids.truncate(longest);
        if ids.len() < 2 {
            return Err(StageError::bad_data(format!(
                "{} is a single token ({:?}); nothing can be predicted in it",
                passage.name, passage.text
            )));
        }
        Ok(Encoded {
            name: passage.name.clone(),
            ids,
        })
    };
    passages.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_texts_come_with_the_program_each_with_a_name() {
        let texts = built_in();
        assert_eq!(texts.len(), 12);
        for text in &texts {
            assert!(
                !text.name.is_empty() && text.name.len() < 20,
                "{}",
                text.name
            );
            assert!(text.text.len() > 300, "{}", text.name);
        }
    }

    #[test]
    fn a_file_is_parted_at_its_lines() {
        let parts: Vec<&str> = parted("---\none\ntwo\n---\r\n\n---\n--- three\n").collect();
        assert_eq!(parts, ["one\ntwo", "--- three"]);
    }
}

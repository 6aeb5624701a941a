//! Text of ids that arrive one at a time.

use crate::error::Result;
use crate::tokenizer::ChatTokenizer;

/// Turns ids into text as they come, and never gives out half a character: a token may end in the
/// middle of one, and then its text waits for the tokens that complete it.
///
/// All pieces and [`TextStream::finish`] together are exactly what
/// [`ChatTokenizer::decode`] gives for all ids (control tokens left out).
pub struct TextStream<'t> {
    tokenizer: &'t ChatTokenizer,
    /// Ids since the last point at which the text was known to be whole, from one earlier piece on:
    /// decoders treat the first token of a sequence in their own way, so there is always one in
    /// front.
    window: Vec<u32>,
    /// How many ids of the window have been given out, and the length of their text.
    given: usize,
}

impl<'t> TextStream<'t> {
    pub(crate) fn new(tokenizer: &'t ChatTokenizer) -> Self {
        Self {
            tokenizer,
            window: Vec::new(),
            given: 0,
        }
    }

    /// Takes the next id; returns the text that is now certain, often empty.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn push(&mut self, id: u32) -> Result<String> {
        if self.tokenizer.is_control(id) {
            return Ok(String::new());
        }
        self.window.push(id);
        let (before, text) = self.texts()?;
        if text.ends_with('\u{fffd}') {
            // Either a character is not complete yet, or the bytes are not text at all; the next
            // tokens, or `finish`, will tell.
            return Ok(String::new());
        }
        let new = text.get(before.len()..).unwrap_or_default().to_owned();
        self.window.drain(..self.given);
        self.given = self.window.len();
        Ok(new)
    }

    /// The text still held back: what the model left incomplete comes out as U+FFFD.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn finish(&mut self) -> Result<String> {
        let (before, text) = self.texts()?;
        let rest = text.get(before.len()..).unwrap_or_default().to_owned();
        self.window.clear();
        self.given = 0;
        Ok(rest)
    }

    fn texts(&self) -> Result<(String, String)> {
        let given = self.window.get(..self.given).unwrap_or_default();
        Ok((
            self.tokenizer.decode(given, true)?,
            self.tokenizer.decode(&self.window, true)?,
        ))
    }
}

//! One answered row, as it stands in the output file.

use chat_prompt::Prompter;
use serde::{Deserialize, Serialize};
use stage::{OrExit, StageError};

use crate::answers::Record;
use crate::rows::{Prompt, Question};
use crate::task::{Answer, Chosen, six_decimals};

/// A line of the output file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The row's id.
    pub id: String,
    /// What was asked.
    pub instruction: String,
    /// The text it was asked about; empty where there is none.
    pub context: String,
    /// The reference answer.
    pub gold: String,
    /// The model's answer, white space at its ends removed.
    pub prediction: String,
    /// The row's category.
    pub category: String,
    /// `stop`: the model ended its answer, or a stop string did; `length`: it was cut off; `error`: it could not be
    /// asked.
    pub finish_reason: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer, without the end token.
    pub new_tokens: usize,
    /// Mean log-probability (nats) of the answer's tokens and its end, under the model alone; to six decimals. Files of
    /// older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_logprob: Option<f64>,
    /// Whether the prompt was too long and had to be shortened.
    pub truncated: bool,
    /// Hash of the row's content ([`dolly_data::Row::key`]): the row that this answers.
    pub key: String,
    /// How training had seen the row, where a leakage audit found that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leak: Option<dolly_data::LeakKind>,
    /// The answer token by token, with `--logprobs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// Why there is no answer, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A token and how likely it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// Its text; U+FFFD where it is a part of a character.
    pub token: String,
    /// Its log-probability (nats) under the model alone, to six decimals.
    pub logprob: f64,
}

impl TokenLogprob {
    pub(crate) fn new(id: u32, logprob: f64, prompter: &Prompter) -> Result<Self, StageError> {
        Ok(Self {
            token: prompter.decode(&[id], false).or_failed()?,
            logprob: six_decimals(logprob),
        })
    }
}

impl Prediction {
    pub(crate) fn new(
        question: &Question,
        prompt: &Prompt,
        answer: &Answer,
        prompter: &Prompter,
    ) -> Result<Self, StageError> {
        let token = |token: &Chosen| TokenLogprob::new(token.id, token.logprob, prompter);
        let tokens: Vec<_> = answer.tokens.iter().map(token).collect::<Result<_, _>>()?;
        Ok(Self {
            prediction: answer.text.trim_matches(is_python_space).to_owned(),
            finish_reason: answer.finish.name().to_owned(),
            prompt_tokens: prompt.ids.len(),
            new_tokens: answer.new_tokens,
            mean_logprob: answer.mean_logprob,
            truncated: prompt.truncated,
            logprobs: (!tokens.is_empty()).then_some(tokens),
            ..Self::blank(question)
        })
    }

    /// The record of a row that cannot be answered.
    pub(crate) fn refused(question: &Question, reason: &str) -> Self {
        Self {
            finish_reason: "error".to_owned(),
            error: Some(reason.to_owned()),
            ..Self::blank(question)
        }
    }

    fn blank(question: &Question) -> Self {
        let row = &question.row;
        Self {
            id: row.id.clone(),
            instruction: row.instruction.clone(),
            context: row.context.clone().unwrap_or_default(),
            gold: row.response.clone(),
            prediction: String::new(),
            category: row.category.clone(),
            finish_reason: String::new(),
            prompt_tokens: 0,
            new_tokens: 0,
            mean_logprob: None,
            truncated: false,
            key: question.key.clone(),
            leak: row.leak,
            logprobs: None,
            error: None,
        }
    }
}

impl Record for Prediction {
    fn key(&self) -> &str {
        &self.key
    }

    fn name(&self) -> &str {
        &self.id
    }
}

/// What Python's `str.strip()` removes: Unicode's white space and four separators more.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_as_python_does() {
        let text = "\u{1c}\u{a0}\n a b\u{200b} \u{1f}\u{3000}";
        // The zero-width space is no white space, in Python neither.
        assert_eq!(text.trim_matches(is_python_space), "a b\u{200b}");
    }
}

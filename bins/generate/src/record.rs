//! One answered row, as it stands in the output file.

use serde::{Deserialize, Serialize};
use smollm_model::{Completion, FinishReason};

use crate::prompts::{Prompt, Question};

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
    /// `stop`: the model ended its answer; `length`: it was cut off.
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
}

impl Prediction {
    pub(crate) fn new(
        question: &Question,
        text: &str,
        answer: &Completion,
        prompt: &Prompt,
    ) -> Self {
        let row = &question.row;
        Self {
            id: row.id.clone(),
            instruction: row.instruction.clone(),
            context: row.context.clone().unwrap_or_default(),
            gold: row.response.clone(),
            prediction: text.trim_matches(is_python_space).to_owned(),
            category: row.category.clone(),
            finish_reason: match answer.finish_reason {
                FinishReason::Stop => "stop",
                FinishReason::Length => "length",
                FinishReason::Cancelled => "cancelled",
            }
            .to_owned(),
            prompt_tokens: prompt.ids.len(),
            new_tokens: answer.ids.len(),
            // So few digits are read back as they were written.
            mean_logprob: answer.mean_logprob.map(|mean| (mean * 1e6).round() / 1e6),
            truncated: prompt.truncated,
            key: question.key.clone(),
            leak: row.leak,
        }
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

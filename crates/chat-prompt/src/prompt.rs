//! Generation prompts, and how one is made to fit.

use serde::Serialize;

use crate::error::{PromptError, Result, start_of};
use crate::message::{Message, Role, is_blank, user_turn};
use crate::prompter::Prompter;

/// What gives way when a prompt is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PromptPolicy {
    /// The end of the context. Template and instruction stay whole; where they alone are too long,
    /// that is an error.
    #[default]
    Context,
    /// The end of the prompt, as the original program does: the question's tail and the header of
    /// the assistant's turn are lost. For `--compat original` only.
    CutEnd,
}

/// A prompt that ends where the assistant is to speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationPrompt {
    /// Token ids.
    pub ids: Vec<u32>,
    /// What was cut to make it fit, if anything.
    pub truncated: Option<Truncated>,
}

/// Which part was shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// The end of the context.
    Context,
    /// The oldest turns of a conversation.
    Turns,
    /// The end of the whole.
    End,
}

/// What was taken away to meet a length limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated {
    /// Which part was shortened.
    pub cut: Cut,
    /// Length in tokens before.
    pub ids_before: usize,
    /// Length in tokens after.
    pub ids_after: usize,
    /// The text that is gone.
    pub removed: String,
}

impl Prompter {
    /// The prompt for one row of data, at most `max_prompt_len` tokens long: a longer one has its
    /// context shortened from the end, at a token boundary; a context of which nothing is left goes
    /// with its heading.
    ///
    /// # Errors
    /// [`PromptError::PromptTooLong`] if template and instruction alone do not fit.
    pub fn generation_prompt(
        &self,
        instruction: &str,
        context: Option<&str>,
        max_prompt_len: Option<usize>,
    ) -> Result<GenerationPrompt> {
        self.generation_prompt_with(instruction, context, max_prompt_len, PromptPolicy::Context)
    }

    /// [`Prompter::generation_prompt`] with a choice of what gives way.
    ///
    /// # Errors
    /// As there, under [`PromptPolicy::Context`].
    pub fn generation_prompt_with(
        &self,
        instruction: &str,
        context: Option<&str>,
        max_prompt_len: Option<usize>,
        policy: PromptPolicy,
    ) -> Result<GenerationPrompt> {
        let ids = self.prompt_ids(instruction, context)?;
        let Some(limit) = max_prompt_len.filter(|&limit| ids.len() > limit) else {
            return Ok(GenerationPrompt {
                ids,
                truncated: None,
            });
        };
        match policy {
            PromptPolicy::CutEnd => self.cut_end(ids, limit),
            PromptPolicy::Context => {
                let fitted = self.shorten_context(instruction, context, ids.len(), limit)?;
                match fitted {
                    Fitted::Yes { ids, truncated, .. } => Ok(GenerationPrompt {
                        ids,
                        truncated: Some(truncated),
                    }),
                    Fitted::No { needed } => {
                        let start = start_of(instruction);
                        Err(PromptError::PromptTooLong {
                            needed,
                            limit,
                            start,
                        })
                    }
                }
            }
        }
    }

    /// The prompt for the next turn of a conversation, at most `max_prompt_len` tokens long: from a
    /// longer one the oldest turns are left out, up to the next turn of the user; the system turn
    /// and the last turn stay.
    ///
    /// # Errors
    /// [`PromptError::PromptTooLong`] if these alone do not fit, and whatever the template or the
    /// tokenizer reports.
    pub fn conversation_prompt(
        &self,
        messages: &[Message],
        max_prompt_len: Option<usize>,
    ) -> Result<GenerationPrompt> {
        let ids = self.encode_chat(messages, true)?;
        let Some(limit) = max_prompt_len.filter(|&limit| ids.len() > limit) else {
            return Ok(GenerationPrompt {
                ids,
                truncated: None,
            });
        };
        let ids_before = ids.len();
        let kept = messages.iter().take_while(|m| m.role == Role::SYSTEM);
        let (system, turns) = messages.split_at(kept.count());
        let mut needed = ids_before;
        for first in (1..turns.len()).filter(|&at| turns[at].role == Role::USER) {
            let shorter = [system, &turns[first..]].concat();
            let ids = self.encode_chat(&shorter, true)?;
            needed = ids.len();
            if needed <= limit {
                let gone = turns[..first].iter().map(|turn| turn.content.as_str());
                let truncated = Truncated {
                    cut: Cut::Turns,
                    ids_before,
                    ids_after: needed,
                    removed: gone.collect::<Vec<_>>().join("\n"),
                };
                return Ok(GenerationPrompt {
                    ids,
                    truncated: Some(truncated),
                });
            }
        }
        Err(PromptError::PromptTooLong {
            needed,
            limit,
            start: start_of(turns.last().map_or("", |turn| &turn.content)),
        })
    }

    fn cut_end(&self, mut ids: Vec<u32>, limit: usize) -> Result<GenerationPrompt> {
        let ids_before = ids.len();
        let gone = ids.split_off(limit);
        let removed = self.decode(&gone, false)?;
        let truncated = Truncated {
            cut: Cut::End,
            ids_before,
            ids_after: limit,
            removed,
        };
        Ok(GenerationPrompt {
            ids,
            truncated: Some(truncated),
        })
    }

    pub(crate) fn prompt_ids(&self, instruction: &str, context: Option<&str>) -> Result<Vec<u32>> {
        self.encode_chat(&[Message::user(user_turn(instruction, context))], true)
    }

    /// Looks for the longest start of the context (to within re-tokenisation at the cut) with which
    /// the prompt fits. `full` is the prompt's length with the whole context.
    pub(crate) fn shorten_context(
        &self,
        instruction: &str,
        context: Option<&str>,
        full: usize,
        limit: usize,
    ) -> Result<Fitted> {
        let context = context.filter(|c| !is_blank(c)).unwrap_or_default();
        let ends = self.tokenizer().token_ends(context)?;
        let done = |ids: Vec<u32>, kept: &str| {
            let removed = context.get(kept.len()..).unwrap_or_default().to_owned();
            let (cut, ids_after) = (Cut::Context, ids.len());
            let truncated = Truncated {
                cut,
                ids_before: full,
                ids_after,
                removed,
            };
            Fitted::Yes {
                ids,
                kept: kept.to_owned(),
                truncated,
            }
        };
        let mut keep = ends.len().saturating_sub(full.saturating_sub(limit).max(1));
        while keep > 0 {
            let kept = ends
                .get(keep - 1)
                .and_then(|&end| context.get(..end))
                .unwrap_or_default();
            if is_blank(kept) {
                break;
            }
            let ids = self.prompt_ids(instruction, Some(kept))?;
            if ids.len() <= limit {
                return Ok(done(ids, kept));
            }
            keep = keep.saturating_sub(ids.len() - limit);
        }
        let ids = self.prompt_ids(instruction, None)?;
        if ids.len() > limit || context.is_empty() {
            return Ok(Fitted::No { needed: ids.len() });
        }
        Ok(done(ids, ""))
    }
}

/// Whether a prompt could be made to fit.
pub(crate) enum Fitted {
    Yes {
        ids: Vec<u32>,
        kept: String,
        truncated: Truncated,
    },
    No {
        needed: usize,
    },
}

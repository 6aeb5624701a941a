//! A request that was understood, and what the engine is asked for it.

use chat_prompt::Message;
use smollm_model::Request;

use crate::api_error::ApiError;
use crate::models::{ModelName, Models};
use crate::options::Options;

/// A request that was understood.
#[derive(Debug, PartialEq)]
pub(crate) struct Ask {
    pub(crate) options: Options,
    pub(crate) prompts: Prompts,
}

/// What is to be answered or continued.
#[derive(Debug, PartialEq)]
pub(crate) enum Prompts {
    /// A conversation.
    Chat(Vec<Message>),
    /// Texts, in which control strings are control tokens.
    Text(Vec<String>),
    /// Token ids.
    Ids(Vec<Vec<u32>>),
}

impl Ask {
    /// How many answers are wanted.
    pub(crate) fn answers(&self) -> usize {
        let prompts = match &self.prompts {
            Prompts::Chat(_) => 1,
            Prompts::Text(texts) => texts.len(),
            Prompts::Ids(lists) => lists.len(),
        };
        prompts.saturating_mul(self.options.n)
    }

    /// Encodes the prompts. Returns what the engine is asked: `n` requests for each prompt, in order. No answer may be
    /// longer than `limit` tokens.
    pub(crate) fn requests(
        self,
        models: &Models,
        model: &ModelName,
        limit: usize,
    ) -> Result<Vec<Request>, ApiError> {
        let (field, prompts) = encode(self.prompts, models, model)?;
        let options = &self.options;
        let mut requests = Vec::new();
        for prompt in prompts {
            let request = Request {
                adapter: model.adapter,
                max_new_tokens: max_new_tokens(options, field, prompt.len(), models, limit)?,
                stop_ids: models.stop_ids.clone(),
                sampling: options.sampling.clone(),
                top_logprobs: options.logprobs.unwrap_or(0),
                prompt,
            };
            request
                .check(&models.config, models.adapters(), 0)
                .map_err(|e| ApiError::bad_field(field, e.to_string()))?;
            requests.extend((0..options.n).map(|choice| {
                let mut request = request.clone();
                request.sampling.stream = choice as u64;
                request
            }));
        }
        Ok(requests)
    }
}

/// The prompts as token ids, and the field they came in.
fn encode(
    prompts: Prompts,
    models: &Models,
    model: &ModelName,
) -> Result<(&'static str, Vec<Vec<u32>>), ApiError> {
    let prompter = &models.prompter;
    let (field, encoded) = match prompts {
        Prompts::Chat(messages) => (
            "messages",
            prompter
                .encode_chat(&model.with_system(messages), true)
                .map(|ids| vec![ids]),
        ),
        Prompts::Text(texts) => (
            "prompt",
            texts
                .iter()
                .map(|text| prompter.encode_rendered(text))
                .collect(),
        ),
        Prompts::Ids(lists) => ("prompt", Ok(lists)),
    };
    let encoded = encoded.map_err(|e| ApiError::bad_field(field, e.to_string()))?;
    if encoded.iter().any(Vec::is_empty) {
        let message = format!(
            "`{field}` holds an empty prompt; the model needs at least one token to go on from"
        );
        return Err(ApiError::bad_field(field, message));
    }
    Ok((field, encoded))
}

/// Longest answer to a prompt of `tokens` tokens.
fn max_new_tokens(
    options: &Options,
    field: &str,
    tokens: usize,
    models: &Models,
    limit: usize,
) -> Result<usize, ApiError> {
    let positions = models.config.max_position_embeddings;
    let room = positions.saturating_sub(tokens);
    if room == 0 {
        let message = format!(
            "the prompt has {tokens} tokens and leaves no room for an answer: the model has {positions} positions"
        );
        return Err(ApiError::too_long(field, message));
    }
    let Some(asked) = options.max_tokens else {
        return Ok(options.unlimited.min(limit).min(room));
    };
    if asked == 0 || asked > limit {
        let message =
            format!("`max_tokens` is {asked}, expected 1 to {limit}, this server's limit");
        return Err(ApiError::bad_field("max_tokens", message));
    }
    if asked > room {
        let message = format!(
            "the prompt's {tokens} tokens and the {asked} tokens of `max_tokens` are more than the model's {positions} \
             positions; shorten the prompt or ask for at most {room} tokens"
        );
        return Err(ApiError::too_long(field, message));
    }
    Ok(asked)
}

//! The models that the server answers with: one base, and adapters beside it.

use std::sync::Arc;

use chat_prompt::{Message, Prompter, Role};
use smollm_model::ModelConfig;

use crate::api_error::ApiError;

/// What a server needs to know of its models besides the weights.
#[derive(Debug)]
pub struct Models {
    /// Template and tokenizer.
    pub prompter: Prompter,
    /// Sizes of the base model.
    pub config: ModelConfig,
    /// Tokens that end an answer.
    pub stop_ids: Arc<[u32]>,
    /// What can be asked for, the base first.
    pub names: Vec<ModelName>,
}

/// One model by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    /// What requests call it.
    pub id: String,
    /// The decoder's number for the adapter; `None` is the base.
    pub adapter: Option<usize>,
    /// The system message of conversations that have none of their own; `None` leaves it to the template.
    pub system: Option<String>,
}

impl Models {
    /// The model called `id`.
    pub(crate) fn find(&self, id: &str) -> Result<&ModelName, ApiError> {
        self.names.iter().find(|name| name.id == id).ok_or_else(|| {
            let known: Vec<String> = self.names.iter().map(|n| format!("`{}`", n.id)).collect();
            ApiError::unknown_model(id, &known.join(", "))
        })
    }

    /// How many adapters the decoder has.
    pub(crate) fn adapters(&self) -> usize {
        let numbers = self.names.iter().filter_map(|name| name.adapter);
        numbers.max().map_or(0, |most| most + 1)
    }
}

impl ModelName {
    /// The conversation with the system message that belongs to the model.
    pub(crate) fn with_system(&self, mut messages: Vec<Message>) -> Vec<Message> {
        if let Some(system) = &self.system
            && messages.iter().all(|message| message.role != Role::SYSTEM)
        {
            messages.insert(0, Message::system(system.as_str()));
        }
        messages
    }
}

//! Messages to ids: template and tokenizer together.

use std::path::Path;

use gguf::GgufFile;

use crate::error::{PromptError, Result};
use crate::guard::{Guard, holds_control};
use crate::message::Message;
use crate::stream::TextStream;
use crate::template::ChatTemplate;
use crate::template_source;
use crate::tokenizer::{ChatTokenizer, Piece};

/// A model's chat template and tokenizer, and everything that is done with both.
#[derive(Debug, Clone)]
pub struct Prompter {
    tokenizer: ChatTokenizer,
    template: ChatTemplate,
}

impl Prompter {
    /// From a model folder: `tokenizer.json`, and the template in `chat_template.jinja` or
    /// `tokenizer_config.json`.
    ///
    /// # Errors
    /// If a file is missing or wrong, or if there is no template.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        Ok(Self::new(
            ChatTokenizer::from_dir(dir)?,
            template_source::from_dir(dir)?,
        ))
    }

    /// From the metadata of a GGUF file.
    ///
    /// # Errors
    /// If keys are missing or of an unsupported kind, or if there is no template.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        Ok(Self::new(
            ChatTokenizer::from_gguf(file)?,
            template_source::from_gguf(file)?,
        ))
    }

    /// From parts.
    pub fn new(tokenizer: ChatTokenizer, template: ChatTemplate) -> Self {
        Self {
            tokenizer,
            template,
        }
    }

    /// The conversation as text, as the template writes it.
    ///
    /// # Errors
    /// If the template fails or refuses the messages.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.template.render(messages, add_generation_prompt)
    }

    /// Encodes rendered text: control strings become control ids, whoever wrote them. This is what
    /// transformers does; for user text use [`Prompter::encode_chat`].
    ///
    /// Characters that need a byte without a token are dropped (see [`ChatTokenizer`]).
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode_parsing(text)
    }

    /// Encodes text that is nobody's order: control strings in it become ordinary tokens.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode_plain(text)
    }

    /// Renders and encodes a conversation. Control ids come from the template alone; a control
    /// string within a message's content is encoded as the characters it is made of. Where no
    /// content holds one, the result is that of [`Prompter::encode_rendered`] on the rendered text.
    ///
    /// # Errors
    /// If the template fails or refuses the messages, or if a *role* holds a control string.
    pub fn encode_chat(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>> {
        let controls = self.tokenizer.controls();
        for message in messages {
            let role = message.role.as_str();
            if let Some(control) = controls.values().find(|c| role.contains(c.as_str())) {
                return Err(PromptError::Role {
                    role: role.into(),
                    control: control.clone(),
                });
            }
        }
        if messages
            .iter()
            .any(|m| holds_control(&m.content, controls.values()))
        {
            self.encode_guarded(messages, add_generation_prompt)
        } else {
            self.encode_rendered(&self.render(messages, add_generation_prompt)?)
        }
    }

    fn encode_guarded(&self, messages: &[Message], generation: bool) -> Result<Vec<u32>> {
        let controls: Vec<&str> = self
            .tokenizer
            .controls()
            .values()
            .map(String::as_str)
            .collect();
        let (guarded, guard) = Guard::apply(messages, &controls, &[self.template.source()])?;
        let rendered = self.render(&guarded, generation)?;
        let mut ids = Vec::new();
        for piece in self.tokenizer.split_at_controls(&rendered)? {
            match piece {
                Piece::Control(id) => ids.push(id),
                Piece::Text(text) => {
                    ids.extend(self.tokenizer.encode_plain(&guard.restore(text))?);
                }
            }
        }
        Ok(ids)
    }

    /// Text of ids; control tokens are left out if `skip_special`. Bytes that are no UTF-8 come out
    /// as U+FFFD.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.tokenizer.decode(ids, skip_special)
    }

    /// A decoder for ids that arrive one at a time, control tokens left out.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(&self.tokenizer)
    }

    /// The id of a token given as it stands in the vocabulary, such as `<|im_end|>`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_id(token)
    }

    /// One more than the largest token id.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size()
    }

    /// The tokenizer alone.
    pub fn tokenizer(&self) -> &ChatTokenizer {
        &self.tokenizer
    }

    /// The chat template alone.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// SHA-256 of the chat template's text, for manifests: training and inference must agree on it.
    pub fn template_hash(&self) -> String {
        self.template.hash()
    }

    /// The chat template's text.
    pub fn template_source(&self) -> &str {
        self.template.source()
    }
}

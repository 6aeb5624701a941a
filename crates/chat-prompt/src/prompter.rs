//! Messages to ids: template and tokenizer together.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

use gguf::GgufFile;

use crate::date::Date;
use crate::error::{PromptError, Result};
use crate::guard::{Guard, holds_control};
use crate::message::{Message, Role};
use crate::stream::TextStream;
use crate::template::ChatTemplate;
use crate::template_source;
use crate::tokenizer::{ChatTokenizer, Piece};

/// A model's chat template and tokenizer, and everything that is done with both.
#[derive(Debug, Clone)]
pub struct Prompter {
    tokenizer: ChatTokenizer,
    template: ChatTemplate,
    system: Option<String>,
    /// Found out once; see [`Prompter::end_of_turn`].
    pub(crate) end_of_turn: OnceLock<u32>,
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
            system: None,
            end_of_turn: OnceLock::new(),
        }
    }

    /// The same with a system prompt: every conversation that has no system turn of its own begins
    /// with it. With none, the template does what it does without one. An empty text is none.
    #[must_use]
    pub fn with_system(mut self, system: Option<String>) -> Self {
        self.system = system.filter(|text| !text.is_empty());
        self
    }

    /// The same with a fixed date for templates that write one; see [`ChatTemplate::with_date`].
    #[must_use]
    pub fn with_date(mut self, date: Option<Date>) -> Self {
        if let Some(date) = date {
            self.template = self.template.with_date(date);
        }
        self
    }

    /// The system prompt, if one was set.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// The conversation as text, as the template writes it, under the system prompt if one was set.
    ///
    /// # Errors
    /// If the template fails or refuses the messages.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.template
            .render(&self.with_system_turn(messages), add_generation_prompt)
    }

    fn with_system_turn<'m>(&self, messages: &'m [Message]) -> Cow<'m, [Message]> {
        match &self.system {
            Some(system) if messages.iter().all(|m| m.role != Role::SYSTEM) => {
                let mut whole = vec![Message::system(system.as_str())];
                whole.extend_from_slice(messages);
                Cow::Owned(whole)
            }
            _ => Cow::Borrowed(messages),
        }
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
        let (turns, guard) = self.guarded(messages)?;
        let rendered = self.render(&turns, add_generation_prompt)?;
        self.encode_pieces(&rendered, guard.as_ref())
    }

    /// The messages, system turn included, with the control strings of their contents made harmless,
    /// and what undoes that (nothing, where they hold none).
    pub(crate) fn guarded<'m>(
        &self,
        messages: &'m [Message],
    ) -> Result<(Cow<'m, [Message]>, Option<Guard>)> {
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
        let messages = self.with_system_turn(messages);
        let held = |m: &Message| holds_control(&m.content, controls.values());
        if !messages.iter().any(held) {
            return Ok((messages, None));
        }
        let controls: Vec<&str> = controls.values().map(String::as_str).collect();
        let (guarded, guard) = Guard::apply(&messages, &controls, &[self.template.source()])?;
        Ok((Cow::Owned(guarded), Some(guard)))
    }

    fn encode_pieces(&self, rendered: &str, guard: Option<&Guard>) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for piece in self.tokenizer.split_at_controls(rendered)? {
            match piece {
                Piece::Control(id) => ids.push(id),
                Piece::Text(text) => ids.extend(self.encode_guarded(text, guard)?),
            }
        }
        Ok(ids)
    }

    /// Encodes a piece of rendered text between control tokens.
    pub(crate) fn encode_guarded(&self, text: &str, guard: Option<&Guard>) -> Result<Vec<u32>> {
        match guard {
            Some(guard) => self.encode_plain(&guard.restore(text)),
            None => self.encode_plain(text),
        }
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

//! What was said, and the next answer to it.

use std::sync::Arc;

use chat_prompt::{Message, Prompter};
use smollm_model::{Decoder, Engine, EngineLimits, Request, Sampling};
use stage::{OrExit, StageError};

use crate::Args;
use crate::speak::{Listener, Spoken, speak};
use crate::voices::{Voice, Voices};

/// A conversation with a model.
pub(crate) struct Conversation<'v, D: Decoder> {
    engine: Engine<D>,
    voices: &'v Voices,
    /// Who answers.
    current: usize,
    sampling: Sampling,
    max_new_tokens: usize,
    stop_ids: Arc<[u32]>,
    /// The system message that was set by hand, in place of the voice's own.
    system: Option<String>,
    /// The user's and the assistant's turns, alternating.
    turns: Vec<Message>,
}

/// Tokens of a prompt, or word that the last question alone is too long.
enum Prompt {
    Ids(Vec<u32>),
    TooLong,
}

impl<'v, D: Decoder> Conversation<'v, D> {
    /// With the last of the voices.
    pub(crate) fn new(decoder: D, voices: &'v Voices, args: &Args) -> Result<Self, StageError> {
        let config = decoder.config();
        let stop_ids = loader::stop_ids(voices.prompter(), config, false);
        Ok(Self {
            engine: Engine::new(decoder, EngineLimits::default()).or_failed()?,
            current: voices.all.len() - 1,
            voices,
            sampling: Sampling {
                temperature: args.temperature,
                top_p: Some(args.top_p),
                seed: args.seed,
                ..Sampling::default()
            },
            max_new_tokens: args.max_new_tokens,
            stop_ids: stop_ids.into(),
            system: None,
            turns: Vec::new(),
        })
    }

    /// Who answers.
    pub(crate) fn voice(&self) -> &'v Voice {
        &self.voices.all[self.current]
    }

    /// Lets another voice answer from now on; whether there is one of that name.
    pub(crate) fn call(&mut self, name: &str) -> bool {
        let found = self.voices.all.iter().position(|voice| voice.name == name);
        self.current = found.unwrap_or(self.current);
        found.is_some()
    }

    pub(crate) fn reset(&mut self) {
        self.turns.clear();
    }

    /// Starts again with this system message; the model's own if `text` is empty.
    pub(crate) fn set_system(&mut self, text: &str) {
        self.system = (!text.is_empty()).then(|| text.to_owned());
        self.turns.clear();
    }

    pub(crate) fn temperature(&self) -> f64 {
        self.sampling.temperature
    }

    /// Sets the temperature.
    ///
    /// # Errors
    /// In words, if it makes no sense.
    pub(crate) fn set_temperature(&mut self, temperature: f64) -> Result<(), String> {
        let sampling = Sampling {
            temperature,
            ..self.sampling.clone()
        };
        sampling.check().map_err(|e| e.to_string())?;
        self.sampling = sampling;
        Ok(())
    }

    /// The conversation with its system message, if anything was said.
    pub(crate) fn messages(&self) -> Option<Vec<Message>> {
        (!self.turns.is_empty()).then(|| self.under_system(self.voice(), &self.turns))
    }

    /// Answers `text`. `None` if it is too long.
    ///
    /// # Errors
    /// What the model, the tokenizer or the listener reports.
    pub(crate) fn reply(
        &mut self,
        text: &str,
        listener: &mut Listener<'_>,
    ) -> Result<Option<Spoken>, StageError> {
        self.turns.push(Message::user(text));
        let mut turns = std::mem::take(&mut self.turns);
        let prompt = self.prompt(self.voice(), &mut turns, true)?;
        self.turns = turns;
        let Prompt::Ids(ids) = prompt else {
            self.turns.pop();
            return Ok(None);
        };
        let request = self.request(ids, self.voice());
        let spoken = self.speak(vec![request], listener)?;
        let said = spoken.texts.first().map_or("", |text| text.trim_end());
        self.turns.push(Message::assistant(said));
        Ok(Some(spoken))
    }

    /// Answers `text`, or the last question, with two voices, beside the conversation. `None` if it is too long.
    ///
    /// # Errors
    /// As [`Conversation::reply`].
    pub(crate) fn compare(
        &mut self,
        text: &str,
        voices: [&Voice; 2],
        listener: &mut Listener<'_>,
    ) -> Result<Option<Spoken>, StageError> {
        let mut turns = self.turns.clone();
        if text.is_empty() {
            // Without the answer that it had.
            turns.pop();
        } else {
            turns.push(Message::user(text));
        }
        let mut requests = Vec::new();
        for voice in voices {
            let Prompt::Ids(ids) = self.prompt(voice, &mut turns.clone(), false)? else {
                return Ok(None);
            };
            requests.push(self.request(ids, voice));
        }
        self.speak(requests, listener).map(Some)
    }

    /// Whether anything was asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    fn speak(
        &mut self,
        requests: Vec<Request>,
        listener: &mut Listener<'_>,
    ) -> Result<Spoken, StageError> {
        // Every answer draws anew, and the same conversation draws the same.
        self.sampling.stream += 1;
        let prompter: &'v Prompter = self.voices.prompter();
        speak(&mut self.engine, prompter, requests, listener)
    }

    fn request(&self, prompt: Vec<u32>, voice: &Voice) -> Request {
        Request {
            prompt,
            adapter: voice.adapter,
            max_new_tokens: self.max_new_tokens,
            stop_ids: Arc::clone(&self.stop_ids),
            sampling: self.sampling.clone(),
            top_logprobs: 0,
        }
    }

    fn under_system(&self, voice: &Voice, turns: &[Message]) -> Vec<Message> {
        let system = self.system.as_ref().or(voice.system.as_ref());
        let system = system.into_iter().map(Message::system);
        system.chain(turns.iter().cloned()).collect()
    }

    /// The prompt for `turns`; the oldest question and its answer are taken out as long as it leaves no room for an
    /// answer, and that is `told`.
    fn prompt(
        &self,
        voice: &Voice,
        turns: &mut Vec<Message>,
        told: bool,
    ) -> Result<Prompt, StageError> {
        let positions = self.engine.decoder().config().max_position_embeddings;
        let limit = positions
            .saturating_sub(self.max_new_tokens)
            .max(positions / 2);
        loop {
            let messages = self.under_system(voice, turns);
            let ids = self.voices.prompter().encode_chat(&messages, true);
            let ids = ids.or_failed()?;
            if ids.len() <= limit {
                return Ok(Prompt::Ids(ids));
            }
            if turns.len() < 3 {
                return Ok(Prompt::TooLong);
            }
            turns.drain(..2);
            if told {
                crate::say(
                    "(the oldest question and answer are forgotten: the conversation is longer than the model can hold)",
                );
            }
        }
    }
}

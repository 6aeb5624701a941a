//! What was said, and the next answer to it.

use std::ops::ControlFlow;

use chat_prompt::Message;
use loader::Loaded;
use smollm_model::{GenerationConfig, GenerationEvent};
use stage::{OrExit, StageError};

use crate::Args;
use crate::stop::{self, Answering};

/// A conversation with a model.
pub(crate) struct Conversation<'a> {
    loaded: &'a Loaded,
    settings: GenerationConfig,
    system: Option<String>,
    /// The user's and the assistant's turns, alternating.
    turns: Vec<Message>,
}

/// How an answer ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It is said, or was stopped.
    Done,
    /// Nobody reads the output any more.
    Closed,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(loaded: &'a Loaded, args: &Args, system: Option<String>) -> Self {
        let settings = GenerationConfig {
            max_new_tokens: args.max_new_tokens,
            stop_ids: loader::stop_ids(&loaded.prompter, loaded.model.config(), false),
            temperature: args.temperature,
            top_p: Some(args.top_p),
            seed: args.seed,
            batch_size: 1,
            ..GenerationConfig::default()
        };
        Self {
            loaded,
            settings,
            system,
            turns: Vec::new(),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.turns.clear();
    }

    /// Starts again with this system message; the model's own if `text` is empty.
    pub(crate) fn set_system(&mut self, text: &str) {
        self.system = (!text.is_empty()).then(|| text.to_owned());
        self.turns.clear();
    }

    /// Answers `text`, giving out the answer piece by piece.
    pub(crate) fn reply(
        &mut self,
        text: &str,
        out: &mut dyn FnMut(&str) -> Result<bool, StageError>,
    ) -> Result<Reply, StageError> {
        self.turns.push(Message::user(text));
        let Some(prompt) = self.prompt()? else {
            self.turns.pop();
            crate::say("(too long for this model; say it in fewer words)");
            return Ok(Reply::Done);
        };
        // Every turn draws anew, and the same conversation draws the same.
        self.settings.seed = self.settings.seed.wrapping_add(1);
        let _answering = Answering::begin();
        let mut stream = self.loaded.prompter.stream();
        let (mut said, mut failure, mut closed) = (String::new(), None, false);
        let mut give = |piece: Result<String, StageError>| {
            let given = piece.and_then(|piece| {
                said.push_str(&piece);
                out(&piece)
            });
            closed |= matches!(given, Ok(false));
            let broken = !matches!(given, Ok(true));
            failure = given.err().or(failure.take());
            if broken {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let generated = smollm_model::generate(
            &self.loaded.model,
            &[prompt],
            &self.settings,
            &mut |event| {
                let GenerationEvent::Token { id, .. } = event else {
                    return ControlFlow::Continue(());
                };
                if stop::requested() {
                    return ControlFlow::Break(());
                }
                give(stream.push(id).or_failed())
            },
        );
        let _ = give(stream.finish().or_failed());
        let _ = give(Ok("\n".to_owned()));
        if let Some(error) = failure {
            return Err(error);
        }
        generated.or_failed()?;
        self.turns.push(Message::assistant(said.trim_end()));
        Ok(if closed { Reply::Closed } else { Reply::Done })
    }

    /// The prompt for all turns; the oldest question and its answer are forgotten as long as it
    /// leaves no room for an answer. `None` if the last turn alone is too long.
    fn prompt(&mut self) -> Result<Option<Vec<u32>>, StageError> {
        let positions = self.loaded.model.config().max_position_embeddings;
        let limit = positions
            .saturating_sub(self.settings.max_new_tokens)
            .max(positions / 2);
        loop {
            let system = self.system.iter().map(Message::system);
            let messages: Vec<Message> = system.chain(self.turns.iter().cloned()).collect();
            let ids = self
                .loaded
                .prompter
                .encode_chat(&messages, true)
                .or_failed()?;
            if ids.len() <= limit {
                return Ok(Some(ids));
            }
            if self.turns.len() < 3 {
                return Ok(None);
            }
            self.turns.drain(..2);
            crate::say(
                "(the oldest question and answer are forgotten: the conversation is longer than the model can hold)",
            );
        }
    }
}

//! Answers in progress, given out piece by piece.

use chat_prompt::{Prompter, TextStream};
use smollm_model::{Decoder, Engine, Event, Request};
use stage::{OrExit, StageError};

use crate::stop::{self, Answering};

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// It goes on with this text.
    Piece(&'a str),
    /// It is complete, or was stopped.
    End,
}

/// Receives what is said by whom (a number from 0); `false` when nobody reads any more.
pub(crate) type Listener<'l> = dyn FnMut(usize, Said<'_>) -> Result<bool, StageError> + 'l;

/// What was said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spoken {
    /// The answers, as far as they came.
    pub(crate) texts: Vec<String>,
    /// Whether nobody reads any more.
    pub(crate) closed: bool,
    /// Whether Ctrl-C stopped them.
    pub(crate) stopped: bool,
}

struct Speaker<'p> {
    stream: TextStream<'p>,
    /// The engine's number; none after its end.
    index: Option<usize>,
    text: String,
}

/// Answers all of `requests` at the same time; Ctrl-C stops them, and what was said is kept.
///
/// # Errors
/// What the model, the tokenizer or the listener reports.
pub(crate) fn speak<D: Decoder>(
    engine: &mut Engine<D>,
    prompter: &Prompter,
    requests: Vec<Request>,
    listener: &mut Listener<'_>,
) -> Result<Spoken, StageError> {
    let _answering = Answering::begin();
    let mut speakers = Vec::new();
    for request in requests {
        speakers.push(Speaker {
            stream: prompter.stream(),
            index: Some(engine.submit(request).or_failed()?),
            text: String::new(),
        });
    }
    let mut open = true;
    while open && !engine.is_idle() && !stop::requested() {
        for event in engine.step().or_failed()? {
            open &= take(&mut speakers, &event, listener)?;
        }
    }
    let mut stopped = false;
    for (who, speaker) in speakers.iter_mut().enumerate() {
        if let Some(index) = speaker.index {
            engine.cancel(index);
            stopped = open;
            open &= end(speaker, who, listener)?;
        }
    }
    Ok(Spoken {
        texts: speakers.into_iter().map(|speaker| speaker.text).collect(),
        closed: !open,
        stopped,
    })
}

fn take(
    speakers: &mut [Speaker<'_>],
    event: &Event,
    listener: &mut Listener<'_>,
) -> Result<bool, StageError> {
    let index = match event {
        Event::Token { index, .. } => *index,
        Event::Finished(completion) => completion.index,
    };
    let who = speakers.iter().position(|s| s.index == Some(index));
    let Some((who, speaker)) = who.map(|who| (who, &mut speakers[who])) else {
        return Ok(true);
    };
    match event {
        Event::Token { id, .. } => {
            let piece = speaker.stream.push(*id).or_failed()?;
            say(speaker, who, &piece, listener)
        }
        Event::Finished(_) => end(speaker, who, listener),
    }
}

fn end(
    speaker: &mut Speaker<'_>,
    who: usize,
    listener: &mut Listener<'_>,
) -> Result<bool, StageError> {
    speaker.index = None;
    let rest = speaker.stream.finish().or_failed()?;
    Ok(say(speaker, who, &rest, listener)? && listener(who, Said::End)?)
}

fn say(
    speaker: &mut Speaker<'_>,
    who: usize,
    piece: &str,
    listener: &mut Listener<'_>,
) -> Result<bool, StageError> {
    if piece.is_empty() {
        return Ok(true);
    }
    speaker.text.push_str(piece);
    listener(who, Said::Piece(piece))
}

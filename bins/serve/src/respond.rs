//! From requests to replies: hands requests to the engine, and its tokens to the client.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use smollm_model::Request;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::api_error::ApiError;
use crate::app::{App, Phase};
use crate::metrics::Metrics;
use crate::reply::{Reply, Usage};
use crate::worker::{Job, Told};
use crate::writer::{Piece, Writer};

/// Chunks that wait for a client before the next is made.
const CHUNKS_AHEAD: usize = 8;
/// How often a waiting client hears that it still waits.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Answers that the engine works on. Dropping it cancels them.
pub(crate) struct Answers {
    choices: Vec<Choice>,
    prompt_tokens: usize,
    deadline: Instant,
    timeout: Duration,
    phase: watch::Receiver<Phase>,
    _room: OwnedSemaphorePermit,
}

/// One answer.
struct Choice {
    /// `None` when it has ended.
    told: Option<mpsc::Receiver<Told>>,
    metrics: Arc<Metrics>,
}

impl Choice {
    /// Counts the answer and hears no more of it; a running one is cancelled by that.
    fn end(&mut self, how: &'static str) {
        if self.told.take().is_some() {
            self.metrics.answer(how);
        }
    }
}

impl Drop for Choice {
    fn drop(&mut self) {
        self.end("cancelled");
    }
}

impl Answers {
    /// Hands requests to the engine, `n` for each prompt.
    pub(crate) fn begin(
        app: &App,
        requests: Vec<Request>,
        n: usize,
        deadline: Instant,
        room: OwnedSemaphorePermit,
    ) -> Result<Self, ApiError> {
        let prompts = requests.iter().step_by(n);
        let prompt_tokens = prompts.map(|request| request.prompt.len()).sum();
        let mut choices = Vec::with_capacity(requests.len());
        for request in requests {
            // Room for every token and the end: the engine never waits for a client.
            let (told, receiver) = mpsc::channel(request.max_new_tokens.saturating_add(2));
            let job = Job {
                request,
                told,
                arrived: std::time::Instant::now(),
            };
            let sent = app.jobs.send(job);
            sent.map_err(|_| ApiError::internal("the engine has stopped"))?;
            choices.push(Choice {
                told: Some(receiver),
                metrics: app.metrics.clone(),
            });
        }
        app.metrics.prompt_tokens.add(prompt_tokens);
        Ok(Self {
            choices,
            prompt_tokens,
            deadline,
            timeout: app.settings.timeout,
            phase: app.phase.clone(),
            _room: room,
        })
    }

    /// What the engine tells next, and of which answer; `None` when all have ended.
    async fn next(&mut self) -> Option<Result<(usize, Told), ApiError>> {
        let choices = &mut self.choices;
        let told = poll_fn(|cx| poll_any(choices, cx));
        tokio::select! {
            biased;
            told = told => told,
            _ = self.phase.wait_for(|phase| *phase == Phase::Cut) => Some(Err(ApiError::stopping())),
            () = sleep_until(self.deadline) => Some(Err(ApiError::timed_out(self.timeout.as_secs()))),
        }
    }

    /// Tells the writers; returns the piece that the next event gives, and of which answer.
    async fn piece(
        &mut self,
        writers: &mut [Writer<'_>],
    ) -> Option<Result<(usize, Piece), ApiError>> {
        let (index, told) = match self.next().await? {
            Ok(told) => told,
            Err(error) => return Some(Err(error)),
        };
        let piece = writers.get_mut(index)?.take(told);
        match (&piece, self.choices.get_mut(index)) {
            (Ok(piece), Some(choice)) => piece.ended.iter().for_each(|how| choice.end(how)),
            (Err(_), Some(choice)) => choice.end("failed"),
            (_, None) => {}
        }
        Some(piece.map(|piece| (index, piece)))
    }

    fn writers<'a>(&self, app: &'a App, stops: &'a [String], reply: &Reply) -> Vec<Writer<'a>> {
        let writer = |_| Writer::new(&app.models.prompter, stops, reply.logprobs);
        (0..self.choices.len()).map(writer).collect()
    }

    fn usage(&self, writers: &[Writer<'_>]) -> Usage {
        Usage {
            prompt: self.prompt_tokens,
            answers: writers.iter().map(|writer| writer.count).sum(),
        }
    }
}

/// The first answer that has something to tell.
fn poll_any(
    choices: &mut [Choice],
    cx: &mut Context<'_>,
) -> Poll<Option<Result<(usize, Told), ApiError>>> {
    let mut running = false;
    for (index, choice) in choices.iter_mut().enumerate() {
        let Some(receiver) = &mut choice.told else {
            continue;
        };
        running = true;
        match receiver.poll_recv(cx) {
            Poll::Ready(Some(told)) => return Poll::Ready(Some(Ok((index, told)))),
            Poll::Ready(None) => {
                choice.end("failed");
                let error = ApiError::internal("the engine has stopped");
                return Poll::Ready(Some(Err(error)));
            }
            Poll::Pending => {}
        }
    }
    if running {
        Poll::Pending
    } else {
        Poll::Ready(None)
    }
}

/// Waits for all answers and returns them as one object.
pub(crate) async fn whole(
    app: &App,
    mut answers: Answers,
    stops: &[String],
    reply: &Reply,
) -> Result<Response, ApiError> {
    let mut writers = answers.writers(app, stops, reply);
    let mut done: Vec<Piece> = writers.iter().map(|_| Piece::default()).collect();
    while let Some(event) = answers.piece(&mut writers).await {
        let (index, mut piece) = event?;
        if let Some(whole) = done.get_mut(index) {
            whole.text.push_str(&piece.text);
            whole.tokens.append(&mut piece.tokens);
            whole.ended = piece.ended.or(whole.ended);
        }
    }
    let body = reply.whole(&done, answers.usage(&writers));
    let mut response = Response::new(Body::from(body.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// Returns at once; the body brings the answers as they come, as server-sent events.
pub(crate) fn stream(
    app: Arc<App>,
    answers: Answers,
    stops: Vec<String>,
    reply: Reply,
) -> Response {
    let (chunks, body) = mpsc::channel(CHUNKS_AHEAD);
    let deadline = answers.deadline;
    tokio::spawn(async move {
        let out = Chunks { chunks, deadline };
        // Where the client is gone, nobody is left to tell.
        let _ = write_stream(&app, answers, &stops, &reply, &out).await;
    });
    let mut response = Response::new(Body::new(Lines(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The client does not take more.
struct Gone;

async fn write_stream(
    app: &App,
    mut answers: Answers,
    stops: &[String],
    reply: &Reply,
    out: &Chunks,
) -> Result<(), Gone> {
    let mut writers = answers.writers(app, stops, reply);
    for index in 0..writers.len() {
        if let Some(chunk) = reply.first(index) {
            out.send(&chunk).await?;
        }
    }
    let mut signs = tokio::time::interval_at(Instant::now() + SIGN_OF_LIFE, SIGN_OF_LIFE);
    loop {
        let event = tokio::select! {
            biased;
            () = out.chunks.closed() => return Err(Gone),
            event = answers.piece(&mut writers) => event,
            _ = signs.tick() => {
                out.line(": waiting\n\n").await?;
                continue;
            }
        };
        match event {
            Some(Ok((index, piece))) => {
                for chunk in reply.chunks(index, &piece) {
                    out.send(&chunk).await?;
                }
            }
            Some(Err(error)) => return out.send(&error.body()).await,
            None => break,
        }
    }
    if let Some(chunk) = reply.last(answers.usage(&writers)) {
        out.send(&chunk).await?;
    }
    out.line("data: [DONE]\n\n").await
}

/// The way to a client that reads a stream.
struct Chunks {
    chunks: mpsc::Sender<Bytes>,
    deadline: Instant,
}

impl Chunks {
    async fn send(&self, chunk: &Value) -> Result<(), Gone> {
        self.line(format!("data: {chunk}\n\n")).await
    }

    async fn line(&self, line: impl Into<Bytes>) -> Result<(), Gone> {
        // A little longer than the answer may take, so that a client can hear that it took too long.
        let until = self.deadline + Duration::from_secs(1);
        match timeout_at(until, self.chunks.send(line.into())).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// A body that is made piece by piece.
struct Lines(mpsc::Receiver<Bytes>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0
            .poll_recv(cx)
            .map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

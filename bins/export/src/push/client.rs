//! Requests to the hub: who is asked, what is sent, when it is sent again.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use smollm_model::HubOptions;
use stage::StageError;
use ureq::http::Response;
use ureq::{Agent, Body, SendBody};

/// The hub's own address, which a mirror's links may name.
const OFFICIAL: &str = "https://huggingface.co";
/// How often a request is sent again, and how long before the first time (`huggingface_hub`'s `http_backoff`).
const RETRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// Answers after which it may help.
const AGAIN: [u16; 6] = [408, 429, 500, 502, 503, 504];
/// Longest answer that is read.
const ANSWER_BYTES: u64 = 16 << 20;

/// The hub, and who speaks to it.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: String,
}

/// What goes with a request.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    Nothing,
    /// A text, and its media type.
    Text(&'a str, &'static str),
    /// Bytes of a file.
    Part {
        path: &'a Path,
        from: u64,
        bytes: u64,
    },
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) etag: Option<String>,
}

/// What was asked, for messages: never the whole address, whose query may be a signature.
pub(super) struct Ask<'a> {
    pub(super) method: &'static str,
    pub(super) url: &'a str,
    /// In words, such as "creating the repository".
    pub(super) what: &'a str,
}

impl Client {
    /// A client with the token of the environment or of the hub's own file.
    ///
    /// # Errors
    /// Exit code 2 where there is no token, or the address is none.
    pub(super) fn new(hub_url: Option<&str>) -> Result<Self, StageError> {
        let options = HubOptions::from_env();
        let endpoint = hub_url.unwrap_or(&options.endpoint).trim_end_matches('/');
        if !["http://", "https://"]
            .iter()
            .any(|s| endpoint.starts_with(s))
        {
            return Err(StageError::usage(format!(
                "--hub-url {endpoint} is no http or https address"
            )));
        }
        if options.offline {
            return Err(StageError::usage(
                "HF_HUB_OFFLINE is set, and --push-to-hub needs the network; unset it",
            ));
        }
        let token = options.token.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| {
            StageError::usage(
                "--push-to-hub needs a token that may write: set HF_TOKEN, or log in with `hf auth login`",
            )
        })?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .user_agent(concat!("smoltune/", env!("CARGO_PKG_VERSION")));
        Ok(Self {
            agent: config.build().into(),
            endpoint: endpoint.to_owned(),
            token,
        })
    }

    /// An address below the hub's.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint)
    }

    /// A link of the hub's, at the mirror that is spoken to.
    pub(super) fn here(&self, link: &str) -> String {
        match link.strip_prefix(OFFICIAL) {
            Some(path) => format!("{}{path}", self.endpoint),
            None => link.to_owned(),
        }
    }

    /// Asks once. The token goes to the hub alone, never to where files are stored.
    pub(super) fn once(&self, ask: &Ask<'_>, payload: Payload<'_>) -> Result<Answer, StageError> {
        self.send(ask, payload)
            .map_err(|e| StageError::failed(format!("{}: {e}", ask.what)))
    }

    /// Asks again where that may help, a little later each time.
    ///
    /// # Errors
    /// No connection, or a file that cannot be read; any status is an answer.
    pub(super) fn again(&self, ask: &Ask<'_>, payload: Payload<'_>) -> Result<Answer, StageError> {
        let mut wait = FIRST_WAIT;
        for _ in 0..RETRIES {
            match self.send(ask, payload) {
                Ok(answer) if !AGAIN.contains(&answer.status) => return Ok(answer),
                Err(Failure::File(_)) => break,
                Ok(_) | Err(Failure::Hub(_)) => {}
            }
            std::thread::sleep(wait);
            wait = LONGEST_WAIT.min(2 * wait);
        }
        self.once(ask, payload)
    }

    fn send(&self, ask: &Ask<'_>, payload: Payload<'_>) -> Result<Answer, Failure> {
        let mut request = ureq::http::Request::builder()
            .method(ask.method)
            .uri(ask.url);
        let own = ask.url.strip_prefix(&self.endpoint);
        if own.is_some_and(|path| path.starts_with('/')) {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        let hub = |e: ureq::Error| Failure::Hub(e.to_string());
        let answer = match payload {
            Payload::Nothing => self.run(request, SendBody::none()),
            Payload::Text(text, kind) => {
                let request = request
                    .header("content-type", kind)
                    .header("content-length", text.len().to_string());
                let request = if kind == LFS {
                    request.header("accept", kind)
                } else {
                    request
                };
                self.run(request, SendBody::from_reader(&mut text.as_bytes()))
            }
            Payload::Part { path, from, bytes } => {
                let named = |e| Failure::File(format!("{}: {e}", path.display()));
                let mut file = File::open(path).map_err(named)?;
                file.seek(SeekFrom::Start(from)).map_err(named)?;
                let request = request.header("content-length", bytes.to_string());
                self.run(request, SendBody::from_reader(&mut file.take(bytes)))
            }
        };
        let mut answer = answer.map_err(hub)?;
        let etag = answer.headers().get("etag").and_then(|e| e.to_str().ok());
        let (etag, status) = (etag.map(str::to_owned), answer.status().as_u16());
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES);
        Ok(Answer {
            status,
            etag,
            body: body.read_to_string().map_err(hub)?,
        })
    }

    fn run(
        &self,
        request: ureq::http::request::Builder,
        body: SendBody<'_>,
    ) -> Result<Response<Body>, ureq::Error> {
        self.agent.run(request.body(body)?)
    }
}

/// The media type of git's large files.
pub(super) const LFS: &str = "application/vnd.git-lfs+json";
/// The media type of everything else that is asked.
pub(super) const JSON: &str = "application/json";

/// Why there is no answer.
enum Failure {
    File(String),
    Hub(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(why) => write!(f, "cannot read {why}"),
            Self::Hub(why) => write!(f, "{why}; check the network and --hub-url"),
        }
    }
}

impl Answer {
    /// Whether it is a yes.
    pub(super) fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The object that it is.
    ///
    /// # Errors
    /// Exit code 1: the hub said no (with its reason and what to do), or no JSON.
    pub(super) fn json(&self, what: &str) -> Result<serde_json::Value, StageError> {
        self.yes(what)?;
        serde_json::from_str(&self.body)
            .map_err(|e| StageError::failed(format!("{what}: the hub's answer is no JSON: {e}")))
    }

    /// Nothing, if it is a yes.
    ///
    /// # Errors
    /// Exit code 1, with the hub's reason and what to do.
    pub(super) fn yes(&self, what: &str) -> Result<(), StageError> {
        if self.ok() {
            return Ok(());
        }
        let remedy = match self.status {
            401 => "; the token is not known: check HF_TOKEN",
            403 => "; the token may not write there: take one that may, or another name",
            404 => "; there is no such repository or revision, or the token may not see it",
            409 | 412 => "; somebody else has changed it meanwhile: try again",
            413 => "; a file is too large",
            429 => "; too many requests: try again later",
            500.. => "; the hub has a problem: try again later",
            _ => "",
        };
        Err(StageError::failed(format!(
            "{what}: the hub answered {}{}{remedy}",
            self.status,
            self.reason()
        )))
    }

    /// What the hub says of it, in a line.
    fn reason(&self) -> String {
        let parsed: Option<serde_json::Value> = serde_json::from_str(&self.body).ok();
        let told = parsed.as_ref().and_then(|body| {
            let error = body.get("error").or_else(|| body.get("message"))?;
            error.as_str()
        });
        let line = told.unwrap_or_default().lines().next().unwrap_or_default();
        let short: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
        if short.is_empty() {
            String::new()
        } else {
            format!(" ({short})")
        }
    }
}

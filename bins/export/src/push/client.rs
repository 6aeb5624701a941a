//! Requests to the hub: who is asked, what is sent, when it is sent again.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use smollm_model::HubOptions;
use stage::StageError;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body, SendBody};

use super::answer::Answer;

/// The hub's own address, which a mirror's links may name.
const OFFICIAL: &str = "https://huggingface.co";
/// How often a request is sent again (`huggingface_hub`'s `http_backoff`).
const RETRIES: u32 = 5;
/// Answers after which it may help.
const AGAIN: [u16; 6] = [408, 429, 500, 502, 503, 504];
/// Longest answer that is read.
const ANSWER_BYTES: u64 = 16 << 20;

/// The hub, and who speaks to it.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: String,
    patience: Patience,
}

/// How long is waited.
#[derive(Clone, Copy)]
struct Patience {
    /// Before a request is sent again: the first time, and at most.
    wait: (Duration, Duration),
    /// For the next bytes of an answer. A hub that puts many parts together says nothing for a while.
    read: Duration,
    /// For the connection to take the next bytes of a request.
    write: Duration,
}

impl Patience {
    const USUAL: Self = Self {
        wait: (Duration::from_secs(1), Duration::from_secs(8)),
        read: Duration::from_mins(5),
        write: Duration::from_mins(1),
    };
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

/// What was asked, for messages: never the whole address, whose query may be a signature.
pub(super) struct Ask<'a> {
    method: &'static str,
    url: &'a str,
    /// In words, such as "creating the repository".
    what: &'a str,
}

impl<'a> Ask<'a> {
    pub(super) fn get(url: &'a str, what: &'a str) -> Self {
        let method = "GET";
        Self { method, url, what }
    }

    pub(super) fn post(url: &'a str, what: &'a str) -> Self {
        let method = "POST";
        Self { method, url, what }
    }

    pub(super) fn put(url: &'a str, what: &'a str) -> Self {
        let method = "PUT";
        Self { method, url, what }
    }
}

impl Client {
    /// A client with the token of the environment or of the hub's own file.
    ///
    /// # Errors
    /// Exit code 2 where there is no token, or the address is none.
    pub(super) fn new(hub_url: Option<&str>) -> Result<Self, StageError> {
        let options = HubOptions::from_env();
        let endpoint = hub_url.unwrap_or(&options.endpoint).trim_end_matches('/');
        if !is_whole(endpoint) {
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
        Ok(Self::patient(endpoint, token, Patience::USUAL))
    }

    fn patient(endpoint: &str, token: String, patience: Patience) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A POST that is led elsewhere becomes a GET there, whose answer says nothing of the POST.
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_per_read(Some(patience.read))
            .timeout_per_write(Some(patience.write))
            .user_agent(concat!("smoltune/", env!("CARGO_PKG_VERSION")));
        Self {
            agent: config.build().into(),
            endpoint: endpoint.to_owned(),
            token,
            patience,
        }
    }

    /// An address below the hub's.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint)
    }

    /// A link of the hub's, at the mirror that is spoken to.
    ///
    /// # Errors
    /// Exit code 1 for what is no whole address; it is not told, since its query may be a signature.
    pub(super) fn here(&self, link: &str, what: &str) -> Result<String, StageError> {
        if !is_whole(link) {
            return Err(StageError::failed(format!(
                "{what}: the hub names an address that is no whole http or https one"
            )));
        }
        let path = link.strip_prefix(OFFICIAL);
        Ok(match path.filter(|path| path.starts_with('/')) {
            Some(path) => format!("{}{path}", self.endpoint),
            None => link.to_owned(),
        })
    }

    /// Asks once. The token goes to the hub alone, never to where files are stored.
    pub(super) fn once(&self, ask: &Ask<'_>, payload: Payload<'_>) -> Result<Answer, StageError> {
        self.send(ask, payload).map_err(|e| e.of(ask))
    }

    /// Asks again where that may help, a little later each time.
    ///
    /// # Errors
    /// No connection, a file that cannot be read, or an answer from elsewhere; any other status is an answer.
    pub(super) fn again(&self, ask: &Ask<'_>, payload: Payload<'_>) -> Result<Answer, StageError> {
        let (mut wait, longest) = self.patience.wait;
        for _ in 0..RETRIES {
            match self.send(ask, payload) {
                Ok(answer) if !AGAIN.contains(&answer.status) && !answer.is_conflict() => {
                    return Ok(answer);
                }
                Err(failure @ (Failure::File(_) | Failure::Moved(..))) => {
                    return Err(failure.of(ask));
                }
                Ok(_) | Err(Failure::Hub(_)) => {}
            }
            std::thread::sleep(wait);
            wait = longest.min(2 * wait);
        }
        self.once(ask, payload)
    }

    fn send(&self, ask: &Ask<'_>, payload: Payload<'_>) -> Result<Answer, Failure> {
        let mut request = ureq::http::Request::builder()
            .method(ask.method)
            .uri(ask.url);
        let own = ask.url.strip_prefix(&self.endpoint);
        let own = own.is_some_and(|path| path.starts_with('/'));
        if own {
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
        let status = answer.status().as_u16();
        if answer.status().is_redirection() {
            return Err(Failure::Moved(status, own));
        }
        let header = |name: &str| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let (etag, link) = (header("etag"), header("link"));
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES);
        Ok(Answer {
            status,
            etag,
            link,
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
    /// A status that leads elsewhere, and whether it is the hub's.
    Moved(u16, bool),
}

impl Failure {
    fn of(&self, ask: &Ask<'_>) -> StageError {
        StageError::failed(format!("{}: {self}", ask.what))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(why) => write!(f, "cannot read {why}"),
            Self::Hub(why) => write!(f, "{why}; check the network and --hub-url"),
            Self::Moved(status, true) => write!(
                f,
                "the hub answered {status}: it has moved: give the repository's present name (or check --hub-url)"
            ),
            Self::Moved(status, false) => write!(
                f,
                "the store of files answered {status}, which leads elsewhere and is not followed: try again later"
            ),
        }
    }
}

/// Whether it is an http or https address with a host.
fn is_whole(address: &str) -> bool {
    let uri = address.parse::<Uri>().ok();
    uri.is_some_and(|uri| {
        let scheme = uri.scheme_str();
        scheme.is_some_and(|s| s == "http" || s == "https")
            && uri.host().is_some_and(|host| !host.is_empty())
    })
}

#[cfg(test)]
mod tests;

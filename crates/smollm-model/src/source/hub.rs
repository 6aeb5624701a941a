//! Models on the Hugging Face hub, through hf-hub's blocking API and its cache.
//!
//! hf-hub 0.5 reads neither `HF_TOKEN` nor `HF_HUB_OFFLINE`, sets no time limit on connecting, and
//! reports a missing optional file, a wrong name and a dead network alike. This module adds the
//! first three and tells the cases apart.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use crate::ModelError;
use crate::checkpoint::{INDEX, SINGLE, index_files};

const ENDPOINT: &str = "https://huggingface.co";
/// Long enough for any working network, short enough for a person to wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a model cannot do without, beside its weights.
const REQUIRED: [&str; 3] = ["config.json", "tokenizer.json", "tokenizer_config.json"];
/// What it may have.
const OPTIONAL: [&str; 3] = [
    "generation_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];

/// How to reach the hub and where to keep what it gives.
#[derive(Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// The cache's `hub` folder; `None` where no home folder is known.
    pub cache: Option<PathBuf>,
    /// The hub's address, without a final slash.
    pub endpoint: String,
    /// Access token for gated or private models.
    pub token: Option<String>,
    /// Use only what is in the cache.
    pub offline: bool,
    /// Show a progress bar on standard error while downloading, if that is a terminal.
    pub progress: bool,
}

impl HubOptions {
    /// Reads `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` (else the token file that `hf auth login`
    /// leaves in `HF_HOME`) and `HF_HUB_OFFLINE` (`1`, `true`, `yes`, `on`); no progress bar.
    pub fn from_env() -> Self {
        let set = |key: &str| {
            std::env::var(key)
                .ok()
                .filter(|value| !value.trim().is_empty())
        };
        let home = set("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache").join("huggingface")));
        let cache = home.map(|home| home.join("hub"));
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Self {
            token: set("HF_TOKEN")
                .map(|token| token.trim().to_owned())
                .or_else(|| cache.clone().and_then(|cache| Cache::new(cache).token())),
            cache,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            offline: set("HF_HUB_OFFLINE").is_some_and(|value| {
                matches!(
                    value.trim().to_ascii_lowercase().as_str(),
                    "1" | "true" | "yes" | "on"
                )
            }),
            progress: false,
        }
    }
}

impl std::fmt::Debug for HubOptions {
    /// Keeps the token out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubOptions")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("offline", &self.offline)
            .field("progress", &self.progress)
            .finish()
    }
}

/// Finds the model in the cache, or downloads what is missing; returns its snapshot folder.
///
/// A complete snapshot is used without asking the network. Weights come last, so a snapshot that
/// has them has had its chance at the optional files too.
pub(super) fn fetch(id: &str, revision: &str, options: &HubOptions) -> Result<PathBuf, ModelError> {
    let model = Model {
        id,
        revision,
        options,
    };
    let Some(cache) = options.cache.clone() else {
        let remedy = "set HF_HOME to a folder for downloads".to_owned();
        return Err(model.error("no home folder is known to keep it in".to_owned(), remedy));
    };
    let repo = Repo::with_revision(id.to_owned(), RepoType::Model, revision.to_owned());
    let cached = Cache::new(cache.clone()).repo(repo.clone());
    if let Some(dir) = complete_snapshot(&cached) {
        return Ok(dir);
    }
    if options.offline {
        return Err(model.error(
            format!(
                "HF_HUB_OFFLINE is set and {} does not hold all of it",
                cache.display()
            ),
            "unset HF_HUB_OFFLINE, or give a folder or .gguf file".to_owned(),
        ));
    }
    reach(&options.endpoint).map_err(|reason| model.error(reason, NO_NETWORK.to_owned()))?;
    let api = ApiBuilder::from_cache(Cache::new(cache))
        .with_endpoint(options.endpoint.clone())
        .with_token(options.token.clone())
        .with_progress(options.progress)
        .with_retries(1)
        .build()
        .map_err(|e| model.api_error("the client", &e))?;
    model.download(&api.repo(repo))
}

const NO_NETWORK: &str =
    "check the network and HF_ENDPOINT, or give a folder or a .gguf file instead";

/// The snapshot's folder, if every file that loading needs is in it.
fn complete_snapshot(cached: &CacheRepo) -> Option<PathBuf> {
    let paths: Option<Vec<PathBuf>> = REQUIRED.iter().map(|name| cached.get(name)).collect();
    let dir = paths?.first()?.parent()?.to_path_buf();
    if cached.get(SINGLE).is_some() {
        return Some(dir);
    }
    let files = index_files(&cached.get(INDEX)?).ok()?;
    files
        .iter()
        .all(|name| dir.join(name).exists())
        .then_some(dir)
}

/// A model's name and how it is to be had, for messages.
struct Model<'a> {
    id: &'a str,
    revision: &'a str,
    options: &'a HubOptions,
}

impl Model<'_> {
    fn download(&self, repo: &ApiRepo) -> Result<PathBuf, ModelError> {
        let mut folder = PathBuf::new();
        for name in REQUIRED {
            let path = repo.get(name).map_err(|e| self.api_error(name, &e))?;
            folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        }
        for name in OPTIONAL {
            self.optional(repo, name)?;
        }
        if self.optional(repo, SINGLE)?.is_none() {
            let index = repo.get(INDEX).map_err(|e| self.api_error(INDEX, &e))?;
            for name in index_files(&index)? {
                repo.get(&name).map_err(|e| self.api_error(&name, &e))?;
            }
        }
        Ok(folder)
    }

    /// A file that the model may lack.
    fn optional(&self, repo: &ApiRepo, name: &str) -> Result<Option<PathBuf>, ModelError> {
        match repo.get(name) {
            Ok(path) => Ok(Some(path)),
            Err(e) if status(&e) == Some(404) => Ok(None),
            Err(e) => Err(self.api_error(name, &e)),
        }
    }

    fn api_error(&self, file: &str, error: &ApiError) -> ModelError {
        let remedy = match (status(error), &self.options.token) {
            (Some(401 | 403), None) => {
                "check the name; if it is gated or private, set HF_TOKEN".to_owned()
            }
            (Some(401 | 403), Some(_)) => {
                "check the name and that your HF_TOKEN may read it".to_owned()
            }
            (Some(404), _) => {
                format!(
                    "check name and revision at {}/{}",
                    self.options.endpoint, self.id
                )
            }
            (Some(_), _) => "try again later".to_owned(),
            (None, _) => match error {
                ApiError::IoError(_) => {
                    "check free space and rights of the cache folder".to_owned()
                }
                ApiError::LockAcquisition(_) => {
                    "another download of it is running: wait for that".to_owned()
                }
                _ => NO_NETWORK.to_owned(),
            },
        };
        self.error(format!("{file}: {error}"), remedy)
    }

    fn error(&self, reason: String, remedy: String) -> ModelError {
        ModelError::Hub {
            id: self.id.to_owned(),
            revision: self.revision.to_owned(),
            reason,
            remedy,
        }
    }
}

/// The HTTP status that an error reports, if it does.
fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(request) => match **request {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        ApiError::TooManyRetries(inner) => status(inner),
        _ => None,
    }
}

/// Whether something answers at the endpoint: without this a network that swallows packets would
/// hang for minutes. A proxy is not looked behind.
fn reach(endpoint: &str) -> Result<(), String> {
    let proxied = [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ]
    .iter()
    .any(|key| std::env::var_os(key).is_some_and(|value| !value.is_empty()));
    if proxied {
        return Ok(());
    }
    let (host, port) = host_and_port(endpoint)
        .ok_or_else(|| format!("HF_ENDPOINT `{endpoint}` is no http or https address"))?;
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|e| format!("{host} is not known to the name service: {e}"))?;
    let mut failure = format!("{host} has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(e) => failure = format!("{host} ({address}) does not answer: {e}"),
        }
    }
    Err(failure)
}

fn host_and_port(endpoint: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = rest.split('/').next()?.rsplit('@').next()?;
    match authority.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((host, number)) if !number.ends_with(']') => {
            Some((host.trim_matches(['[', ']']), number.parse().ok()?))
        }
        _ => Some((authority.trim_matches(['[', ']']), port)),
    }
}

#[cfg(test)]
mod tests;

//! Data files of a Hugging Face data set.
//!
//! hf-hub 0.5 keeps the cache layout that every Hugging Face tool shares. What it leaves to us:
//! `HF_TOKEN` and `HF_HUB_OFFLINE`, which it does not read; choosing the data file; and patience:
//! it sets no time limit, so an unreachable host could hold a program for minutes. The transfer
//! therefore runs on a thread of its own, and a silence longer than
//! [`patience`](HubSettings::patience) ends the wait with an error.

mod choose;
mod transfer;

use std::path::PathBuf;
use std::time::Duration;

use hf_hub::{Cache, Repo, RepoType};

use crate::error::DataError;

/// A data set of the hub: `OWNER/NAME`, optionally `@REVISION`, optionally `:FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubDataset {
    /// `OWNER/NAME`.
    pub id: String,
    /// Branch, tag or commit; `main` unless given.
    pub revision: String,
    /// The file wanted, where the data set has several.
    pub file: Option<String>,
}

impl HubDataset {
    /// Parses `OWNER/NAME[@REVISION][:FILE]`; `None` when the text has not that form.
    ///
    /// ```
    /// let set = dolly_data::hub::HubDataset::parse("databricks/databricks-dolly-15k").unwrap();
    /// assert_eq!((set.revision.as_str(), set.file), ("main", None));
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, file) = match text.split_once(':') {
            Some((rest, file)) => (rest, Some(file.to_owned())),
            None => (text, None),
        };
        let (id, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let (owner, name) = id.split_once('/')?;
        let ok = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let whole = ok(owner) && ok(name) && !revision.is_empty();
        (whole && file.as_deref() != Some("")).then(|| Self {
            id: id.to_owned(),
            revision: revision.to_owned(),
            file,
        })
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Dataset, self.revision.clone())
    }

    fn error(&self, problem: impl Into<String>) -> DataError {
        DataError::Hub {
            id: self.id.clone(),
            problem: problem.into(),
        }
    }
}

/// Where to look and for how long.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The cache: `$HF_HOME/hub`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// The server: `$HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: String,
    /// `$HF_TOKEN`, else the token that `hf auth login` saved.
    pub token: Option<String>,
    /// `$HF_HUB_OFFLINE`: use the cache alone.
    pub offline: bool,
    /// The longest silence of the server to bear.
    pub patience: Duration,
}

impl HubSettings {
    /// From the environment variables named at each field; patience 20 seconds.
    pub fn from_env() -> Self {
        let var = |name| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
        let cache = Cache::from_env();
        let offline = var("HF_HUB_OFFLINE").unwrap_or_default().to_lowercase();
        Self {
            token: var("HF_TOKEN").or_else(|| cache.token()),
            cache: cache.path().clone(),
            endpoint: var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            offline: matches!(offline.as_str(), "1" | "true" | "yes" | "on"),
            patience: Duration::from_secs(20),
        }
    }

    /// The cached snapshot of a data set's revision: its commit and the folder.
    fn snapshot(&self, set: &HubDataset) -> Option<(String, PathBuf)> {
        let folder = self.cache.join(set.repo().folder_name());
        let commit = std::fs::read_to_string(folder.join("refs").join(&set.revision))
            .map_or_else(|_| set.revision.clone(), |text| text.trim().to_owned());
        let files = folder.join("snapshots").join(&commit);
        files.is_dir().then_some((commit, files))
    }
}

/// A data set's rows, now on this machine: one file, or its shards in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFiles {
    /// Where they lie in the cache.
    pub paths: Vec<PathBuf>,
    /// Their paths within the data set.
    pub files: Vec<String>,
    /// The commit that they belong to.
    pub commit: String,
}

/// Finds the data files of a set, in the cache or, failing that, on the hub.
///
/// # Errors
/// When the set, revision or file does not exist, needs a token, holds no data file or several
/// that could be meant; when the hub does not answer in time; when offline and not cached.
pub fn fetch(set: &HubDataset, settings: &HubSettings) -> Result<HubFiles, DataError> {
    if let Some((commit, folder)) = settings.snapshot(set) {
        let names = choose::files_in(&folder);
        // A snapshot holds what was asked for so far, not all there is: no match is no error.
        if let Ok(files) = choose::data_files(set, &names) {
            let paths = files.iter().map(|file| folder.join(file)).collect();
            return Ok(HubFiles {
                paths,
                files,
                commit,
            });
        }
    }
    if settings.offline {
        return Err(set.error(format!(
            "not in the cache {}, and HF_HUB_OFFLINE forbids to fetch it; unset it, or give a local file",
            settings.cache.display()
        )));
    }
    transfer::download(set, settings)
}

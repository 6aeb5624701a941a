//! Puts an export on the hub, as `huggingface_hub` 2.4 does: the repository is made, the hub is asked
//! how it wants each file, large ones go to where it says, and one commit has them all.
//!
//! Nothing here runs without `--push-to-hub`. The token comes from `HF_TOKEN` or the hub's own file and
//! goes to the hub's address alone; no message has it.

mod answer;
mod client;
mod lfs;
mod repository;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use stage::{OrExit, StageError};

use client::{Ask, Client, JSON, Payload};

/// Bytes of a file's beginning from which the hub tells text from data.
const SAMPLE: u64 = 512;
/// The branch that every repository has.
const MAIN: &str = "main";

/// Where to, on the command line.
#[allow(
    clippy::doc_markdown,
    rustdoc::bare_urls,
    reason = "these comments are the help text"
)]
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PushArgs {
    /// Put what was written on the Hugging Face hub, too, into this repository, which is made if need be; the token is HF_TOKEN's or that of `hf auth login`
    #[arg(long, value_name = "USER/NAME", value_parser = repo_id, alias = "push_to_hub")]
    pub push_to_hub: Option<String>,
    /// Make the repository a private one, if it is new
    #[arg(long, requires = "push_to_hub")]
    pub private: bool,
    /// Branch to commit to, made if need be [default: main]
    #[arg(
        long,
        value_name = "BRANCH",
        requires = "push_to_hub",
        alias = "hub_revision"
    )]
    pub hub_revision: Option<String>,
    /// The hub's address [default: HF_ENDPOINT, else https://huggingface.co]
    #[arg(long, value_name = "URL", requires = "push_to_hub", alias = "hub_url")]
    pub hub_url: Option<String>,
}

/// A repository and a branch of it.
struct Place<'a> {
    repo: &'a str,
    revision: &'a str,
}

/// A file to upload.
struct Upload {
    /// Its name in the repository.
    name: String,
    path: PathBuf,
    bytes: u64,
    sha256: String,
}

/// How the hub wants a file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preuploaded {
    path: String,
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
}

/// What a push did.
pub(crate) struct Pushed {
    /// The commit's address.
    pub(crate) commit: String,
    /// Files of earlier exports that it took out of the repository.
    pub(crate) deleted: Vec<String>,
}

/// A push that is wanted, and can be made as far as one sees from here.
pub(crate) struct Push<'a> {
    client: Client,
    place: Place<'a>,
    private: bool,
}

impl<'a> Push<'a> {
    /// What the command line asks for, if it does. Nothing is sent.
    ///
    /// # Errors
    /// Exit code 2 without a token, or for an address that is none.
    pub(crate) fn wanted(args: &'a PushArgs) -> Result<Option<Self>, StageError> {
        let Some(repo) = &args.push_to_hub else {
            return Ok(None);
        };
        let revision = args.hub_revision.as_deref().unwrap_or(MAIN);
        Ok(Some(Self {
            client: Client::new(args.hub_url.as_deref())?,
            place: Place { repo, revision },
            private: args.private,
        }))
    }

    /// Uploads `names` from a folder in one commit, which deletes the weights of earlier exports.
    ///
    /// # Errors
    /// Exit code 1 where the hub cannot be reached or says no, 2 where the repository is not as private as
    /// was asked, 130 after Ctrl-C.
    pub(crate) fn files(&self, folder: &Path, names: &[String]) -> Result<Pushed, StageError> {
        let files = names.iter().map(|name| Upload::new(folder, name));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        self.make_repository()?;
        self.make_branch()?;
        let modes = self.modes(&files)?;
        let mode = |file: &Upload| modes.iter().find(|mode| mode.path == file.name);
        let mut large = Vec::new();
        for file in &files {
            let mode = mode(file).ok_or_else(|| {
                StageError::failed(format!("the hub did not say how it wants {}", file.name))
            })?;
            // The store takes no empty file.
            if mode.upload_mode == "lfs" && file.bytes > 0 && !mode.should_ignore {
                large.push(file);
            }
        }
        let ignored = |file: &Upload| mode(file).is_some_and(|mode| mode.should_ignore);
        let kept: Vec<&Upload> = files.iter().filter(|file| !ignored(file)).collect();
        let deleted = self.stale(&kept)?;
        if !large.is_empty() {
            lfs::upload(&self.client, &self.place, &large)?;
        }
        let commit = self.commit(&kept, &large, &deleted)?;
        Ok(Pushed { commit, deleted })
    }

    /// How the hub wants each file: in the commit, or as a large one.
    fn modes(&self, files: &[Upload]) -> Result<Vec<Preuploaded>, StageError> {
        let what = "asking how to send the files";
        let mut asked = Vec::new();
        for file in files {
            let sample = STANDARD.encode(file.beginning()?);
            asked.push(json!({"path": file.name, "sample": sample, "size": file.bytes}));
        }
        let url = self.below("preupload");
        let ask = Ask::post(&url, what);
        let asked = json!({"files": asked}).to_string();
        let answer = self.client.again(&ask, Payload::Text(&asked, JSON))?;
        let files = answer.json(what)?["files"].take();
        serde_json::from_value(files)
            .map_err(|e| StageError::failed(format!("{what}: the hub's answer is wrong: {e}")))
    }

    /// One commit with all files, and without the `deleted` ones. It is asked for once: whether a lost answer was a commit cannot be known.
    fn commit(
        &self,
        files: &[&Upload],
        large: &[&Upload],
        deleted: &[String],
    ) -> Result<String, StageError> {
        let what = format!("committing to {}", self.place.repo);
        let header = json!({"summary": "Upload with smoltune", "description": ""});
        let mut lines = vec![json!({"key": "header", "value": header})];
        for file in files {
            let is_large = large.iter().any(|large| large.name == file.name);
            lines.push(if is_large {
                let (path, oid, size) = (&file.name, &file.sha256, file.bytes);
                json!({"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": size}})
            } else {
                let content = STANDARD.encode(fs::read(&file.path).or_failed()?);
                json!({"key": "file", "value": {"content": content, "path": file.name, "encoding": "base64"}})
            });
        }
        let gone = deleted.iter();
        lines.extend(gone.map(|path| json!({"key": "deletedFile", "value": {"path": path}})));
        let mut body = String::new();
        for line in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(body, "{line}");
        }
        let url = self.below("commit");
        let ask = Ask::post(&url, &what);
        let answer = self
            .client
            .once(&ask, Payload::Text(&body, "application/x-ndjson"))?;
        let found = answer.json(&what)?;
        let address = found.get("commitUrl").and_then(Value::as_str);
        Ok(address.map_or_else(|| self.client.at(self.place.repo), str::to_owned))
    }

    /// `api/models/REPO/WHAT/REVISION`.
    fn below(&self, what: &str) -> String {
        let Place { repo, revision } = self.place;
        self.client
            .at(&format!("api/models/{repo}/{what}/{}", quoted(revision)))
    }
}

impl Upload {
    fn new(folder: &Path, name: &str) -> Result<Self, StageError> {
        let path = folder.join(name);
        Ok(Self {
            name: name.to_owned(),
            bytes: fs::metadata(&path).or_failed()?.len(),
            sha256: stage::sha256_file(&path).or_failed()?,
            path,
        })
    }

    fn beginning(&self) -> Result<Vec<u8>, StageError> {
        let mut bytes = Vec::new();
        let file = File::open(&self.path).or_failed()?;
        file.take(SAMPLE).read_to_end(&mut bytes).or_failed()?;
        Ok(bytes)
    }
}

/// A revision as one part of a path.
fn quoted(revision: &str) -> String {
    let mut out = String::new();
    for byte in revision.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `USER/NAME`, as the hub's rules have it.
fn repo_id(text: &str) -> Result<String, String> {
    let plain = |part: &str| {
        let ends = |c: char| "-.".contains(c);
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !part.starts_with(ends)
            && !part.ends_with(ends)
            && !part.contains("--")
            && !part.contains("..")
    };
    match text.split_once('/') {
        Some((owner, name)) if plain(owner) && plain(name) && text.len() <= 96 => {
            Ok(text.to_owned())
        }
        _ => Err("expected USER/NAME of letters, digits, `-`, `_` and `.`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{quoted, repo_id};

    #[test]
    fn names_and_revisions_are_the_hubs() {
        assert_eq!(quoted("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(quoted("v1.0-a_b"), "v1.0-a_b");
        assert_eq!(
            repo_id("me/SmolLM2-135M_x.1").unwrap(),
            "me/SmolLM2-135M_x.1"
        );
        for wrong in [
            "", "me", "me/", "/x", "me/a/b", "me/a b", "me/-a", "me/a..b", "me/a--b", "../x",
        ] {
            assert!(repo_id(wrong).is_err(), "{wrong}");
        }
    }
}

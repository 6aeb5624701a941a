//! The repository: made if need be, as private as was asked, and what lies in it from earlier.

use serde::Deserialize;
use serde_json::{Value, json};
use stage::StageError;

use super::client::{Ask, JSON, Payload};
use super::{MAIN, Place, Push, Upload, quoted};
use crate::room;

/// Most pages of a listing that are read; the hub's have a thousand entries each.
const PAGES: usize = 1000;

/// An entry of a repository's listing.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

impl Push<'_> {
    /// Makes the repository; one that is there already will do, unless it is public and a private one is wanted.
    pub(super) fn make_repository(&self) -> Result<(), StageError> {
        let what = format!("creating {}", self.place.repo);
        let (owner, name) = split(self.place.repo);
        let mut asked = json!({"name": name, "organization": owner});
        if self.private {
            asked["visibility"] = "private".into();
        }
        let url = self.client.at("api/repos/create");
        let ask = Ask::post(&url, &what);
        let answer = self
            .client
            .again(&ask, Payload::Text(&asked.to_string(), JSON))?;
        let there = answer.status == 409 && !answer.is_conflict();
        // A token that may write there alone may not create: then it must be there.
        let refused = [401, 402, 403].contains(&answer.status);
        if (there && !self.private) || answer.ok() {
            return Ok(());
        }
        if there || refused {
            match self.found()? {
                Some(found) if self.private => return is_private(&found),
                Some(_) => return Ok(()),
                None => {}
            }
        }
        answer.yes(&what)
    }

    /// What the hub says of the repository, if there is one that the token may see.
    fn found(&self) -> Result<Option<Value>, StageError> {
        let what = "looking for the repository";
        let url = self.client.at(&format!("api/models/{}", self.place.repo));
        let ask = Ask::get(&url, what);
        let answer = self.client.again(&ask, Payload::Nothing)?;
        answer.ok().then(|| answer.json(what)).transpose()
    }

    pub(super) fn make_branch(&self) -> Result<(), StageError> {
        let Place { repo, revision } = self.place;
        if revision == MAIN || revision.starts_with("refs/") {
            return Ok(());
        }
        let what = format!("creating the branch {revision}");
        let url = self
            .client
            .at(&format!("api/models/{repo}/branch/{}", quoted(revision)));
        let ask = Ask::post(&url, &what);
        let answer = self.client.again(&ask, Payload::Text("{}", JSON))?;
        if answer.status == 409 && !answer.is_conflict() {
            return Ok(());
        }
        answer.yes(&what)
    }

    /// Weights and adapters under names that readers look for, which are there and not among `files`: they
    /// would be read beside the new ones, or instead of them.
    pub(super) fn stale(&self, files: &[&Upload]) -> Result<Vec<String>, StageError> {
        let what = "listing the repository";
        let mut url = self.below("tree");
        let mut stale = Vec::new();
        for _ in 0..PAGES {
            let ask = Ask::get(&url, what);
            let answer = self.client.again(&ask, Payload::Nothing)?;
            let page: Vec<Entry> = serde_json::from_value(answer.json(what)?).map_err(|e| {
                StageError::failed(format!("{what}: the hub's answer is no listing: {e}"))
            })?;
            let there = page.into_iter().filter(|entry| entry.kind == "file");
            let old = there.map(|entry| entry.path).filter(|path| {
                room::is_looked_for(path) && files.iter().all(|file| file.name != *path)
            });
            stale.extend(old);
            match answer.next() {
                Some(next) => url = self.client.here(next, what)?,
                None => return Ok(stale),
            }
        }
        Err(StageError::failed(format!("{what}: it has no end")))
    }
}

/// Nothing, if nobody else sees it.
fn is_private(found: &Value) -> Result<(), StageError> {
    match found.get("private").and_then(Value::as_bool) {
        Some(true) => Ok(()),
        Some(false) => Err(StageError::usage(
            "the repository is there and public; --private does not change it: make it private in its settings, \
             take another name, or leave --private out",
        )),
        None => Err(StageError::failed(
            "the repository is there, and the hub does not say whether it is private; nothing is uploaded",
        )),
    }
}

fn split(repo: &str) -> (&str, &str) {
    repo.split_once('/').unwrap_or(("", repo))
}

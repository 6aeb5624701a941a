//! What comes back from the hub, and what it means.

use stage::StageError;

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) etag: Option<String>,
    pub(super) link: Option<String>,
}

impl Answer {
    /// Whether it is a yes.
    pub(super) fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether it says that something else is going on there, which passes; other 409s stay.
    pub(super) fn is_conflict(&self) -> bool {
        self.status == 409 && self.body.contains("conflicting operation")
    }

    /// The address of what follows (RFC 8288's `rel="next"`), if it is a page of several.
    pub(super) fn next(&self) -> Option<&str> {
        let is_next = |rest: &str| rest.split(';').any(|p| p.trim() == "rel=\"next\"");
        let mut links = self.link.as_deref()?.split(", <");
        links.find_map(|link| {
            let (address, rest) = link.trim_start_matches('<').split_once('>')?;
            is_next(rest).then_some(address)
        })
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

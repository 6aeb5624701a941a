//! Large files: git's LFS protocol, as the hub speaks it (`basic` and `multipart`).

use serde::Deserialize;
use serde_json::{Map, Value, json};
use stage::StageError;

use super::client::{Ask, Client, JSON, LFS, Payload};
use super::{Place, Upload};

/// What the hub wants to have done with a file.
#[derive(Deserialize)]
struct Object {
    oid: String,
    actions: Option<Actions>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Actions {
    upload: Action,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: Map<String, Value>,
}

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Object>,
}

/// Sends the content of files that the hub does not have yet.
///
/// # Errors
/// The hub said no, or something that is no answer.
pub(super) fn upload(
    client: &Client,
    place: &Place<'_>,
    files: &[&Upload],
) -> Result<(), StageError> {
    let objects: Vec<Value> = files
        .iter()
        .map(|file| json!({"oid": file.sha256, "size": file.bytes}))
        .collect();
    let asked = json!({
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "objects": objects,
        "hash_algo": "sha256",
        "ref": {"name": place.revision},
    });
    let what = "asking how to upload the large files";
    let url = client.at(&format!("{}.git/info/lfs/objects/batch", place.repo));
    let ask = Ask::post(&url, what);
    let answer = client.again(&ask, Payload::Text(&asked.to_string(), LFS))?;
    let batch: Batch = serde_json::from_value(answer.json(what)?)
        .map_err(|e| StageError::failed(format!("{what}: the answer is not LFS's: {e}")))?;
    for file in files {
        let found = batch
            .objects
            .iter()
            .find(|object| object.oid == file.sha256);
        let found = found.ok_or_else(|| {
            StageError::failed(format!("{what}: nothing is said of {}", file.name))
        })?;
        if let Some(error) = &found.error {
            let why = error["message"].as_str().unwrap_or("no reason is given");
            return Err(StageError::failed(format!(
                "{}: the hub refused: {why}",
                file.name
            )));
        }
        // Without an action the hub has the content already.
        if let Some(actions) = &found.actions {
            send(client, file, actions)?;
        }
    }
    Ok(())
}

fn send(client: &Client, file: &Upload, actions: &Actions) -> Result<(), StageError> {
    let what = format!("uploading {}", file.name);
    let url = client.here(&actions.upload.href, &what)?;
    match actions.upload.header.get("chunk_size") {
        None => {
            part(client, &what, &url, file, (0, file.bytes))?;
        }
        Some(size) => in_parts(client, &what, &url, file, size, &actions.upload.header)?,
    }
    if let Some(verify) = &actions.verify {
        let what = format!("verifying {}", file.name);
        let url = client.here(&verify.href, &what)?;
        let ask = Ask::post(&url, &what);
        let said = json!({"oid": file.sha256, "size": file.bytes}).to_string();
        client.again(&ask, Payload::Text(&said, JSON))?.yes(&what)?;
    }
    Ok(())
}

/// Bytes `from` on, `bytes` of them; what the store calls them.
fn part(
    client: &Client,
    what: &str,
    url: &str,
    file: &Upload,
    (from, bytes): (u64, u64),
) -> Result<Option<String>, StageError> {
    let path = &file.path;
    let ask = Ask::put(url, what);
    let answer = client.again(&ask, Payload::Part { path, from, bytes })?;
    answer.yes(what)?;
    Ok(answer.etag)
}

/// One part for each numbered address of the header; then the list of what the store calls them.
fn in_parts(
    client: &Client,
    what: &str,
    complete: &str,
    file: &Upload,
    size: &Value,
    header: &Map<String, Value>,
) -> Result<(), StageError> {
    let wrong = |why: &str| StageError::failed(format!("{what}: the hub's answer {why}"));
    let size = size.as_u64().or_else(|| size.as_str()?.parse().ok());
    let size = size.filter(|size| *size > 0);
    let size = size.ok_or_else(|| wrong("has a chunk size that is no number"))?;
    let mut urls: Vec<(u64, &str)> = header
        .iter()
        .filter_map(|(number, url)| Some((number.parse().ok()?, url.as_str()?)))
        .collect();
    urls.sort_unstable();
    if urls.len() as u64 != file.bytes.div_ceil(size) {
        return Err(wrong("has another number of parts than the file"));
    }
    let mut parts = Vec::new();
    for (at, (_, url)) in urls.iter().enumerate() {
        let from = at as u64 * size;
        let place = (from, size.min(file.bytes - from));
        let etag = part(client, what, &client.here(url, what)?, file, place)?;
        let etag = etag.ok_or_else(|| wrong("to a part has no etag"))?;
        parts.push(json!({"partNumber": at + 1, "etag": etag}));
    }
    let said = json!({"oid": file.sha256, "parts": parts}).to_string();
    let ask = Ask::post(complete, what);
    client.again(&ask, Payload::Text(&said, LFS))?.yes(what)
}

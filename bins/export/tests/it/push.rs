//! `--push-to-hub` against a hub that is a thread of the test: what is asked in which order, what is sent where, and what
//! becomes of every no.

use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fixture;

mod refused;
mod server;

use server::*;

/// Exports PEFT's adapter of the fixtures.
fn export(hub: &str, out: &Path, words: &[&str], token: bool) -> Output {
    let adapter = fixture("goldens/lora_trace/final_adapter");
    let usual = ["--format", "peft", "--adapter-dir", &adapter];
    export_of(hub, out, &[&usual[..], words].concat(), token)
}

/// Exports with these words, the tiny model as the base.
fn export_of(hub: &str, out: &Path, words: &[&str], token: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_export"));
    command
        .args(["--model-name", &fixture("tiny-model")])
        .arg("--output-dir")
        .arg(out)
        .args(words)
        .env("HF_ENDPOINT", hub)
        .env("HF_HOME", out.parent().unwrap().join("hf-home"))
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_TOKEN");
    if token {
        command.env("HF_TOKEN", TOKEN);
    }
    let output = command.output().unwrap();
    // Whatever happens, nobody reads the token.
    for text in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(text).contains(TOKEN));
    }
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn hash(bytes: &[u8]) -> String {
    stage::sha256_bytes(bytes)
}

const PUSH: [&str; 2] = ["--push-to-hub", "me/mine"];

#[test]
fn repository_modes_large_files_and_one_commit_in_this_order_with_these_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let store = store();
    let hub = hub(&store, None, |_, _| None);
    let done = export(
        &hub.address,
        &out,
        &[&PUSH[..], &["--private", "--json"]].concat(),
        true,
    );
    assert!(done.status.success(), "{}", said(&done));
    let summary: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        summary["commit"],
        format!("{}/me/mine/commit/0123", hub.address)
    );
    let lines = hub.lines();
    let expected = [
        "POST /api/repos/create",
        "POST /api/models/me/mine/preupload/main",
        "GET /api/models/me/mine/tree/main",
        "POST /me/mine.git/info/lfs/objects/batch",
        "POST /verify",
        "POST /api/models/me/mine/commit/main",
    ];
    assert_eq!(lines, expected);
    let asked = hub.asked();
    for request in &asked {
        assert_eq!(request.headers["authorization"], format!("Bearer {TOKEN}"));
    }
    let created = json!({"name": "mine", "organization": "me", "visibility": "private"});
    assert_eq!(asked[0].json(), created);

    let file = |name: &str| std::fs::read(out.join(name)).unwrap();
    let large = "adapter_model.safetensors";
    for sampled in asked[1].json()["files"].as_array().unwrap() {
        let bytes = file(sampled["path"].as_str().unwrap());
        assert_eq!(sampled["size"], bytes.len());
        let sample = STANDARD.encode(&bytes[..bytes.len().min(512)]);
        assert_eq!(sampled["sample"], sample);
    }
    let oid = hash(&file(large));
    assert_eq!(
        asked[3].json()["objects"],
        json!([{"oid": oid, "size": file(large).len()}])
    );
    assert_eq!(
        asked[4].json(),
        json!({"oid": oid, "size": file(large).len()})
    );

    // The store gets the bytes, and no token.
    let stored = store.asked();
    assert_eq!(store.lines(), [format!("PUT /{oid}?signature=s")]);
    assert_eq!(hash(&stored[0].body), oid);
    assert!(!stored[0].headers.contains_key("authorization"));

    let commit = String::from_utf8(asked[5].body.clone()).unwrap();
    assert_eq!(asked[5].headers["content-type"], "application/x-ndjson");
    let mut commit = commit
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(commit.next().unwrap()["key"], "header");
    let mut names = Vec::new();
    for line in commit {
        let value = &line["value"];
        let name = value["path"].as_str().unwrap();
        if name == large {
            let pointer =
                json!({"path": large, "algo": "sha256", "oid": oid, "size": file(large).len()});
            assert_eq!(line, json!({"key": "lfsFile", "value": pointer}));
        } else {
            assert_eq!(
                (&line["key"], &value["encoding"]),
                (&json!("file"), &json!("base64"))
            );
            let content = STANDARD.decode(value["content"].as_str().unwrap()).unwrap();
            assert_eq!(content, file(name), "{name}");
        }
        names.push(name.to_owned());
    }
    names.sort();
    // The record of the export names folders of this machine and stays here.
    assert_eq!(names, ["README.md", "adapter_config.json", large]);
}

#[test]
fn a_large_file_goes_in_parts_where_the_hub_wants_it_so_and_to_a_branch() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let store = store();
    let hub = hub(&store, Some(1000), |_, _| None);
    let words = [&PUSH[..], &["--hub-revision", "v1/x"]].concat();
    let done = export(&hub.address, &out, &words, true);
    assert!(done.status.success(), "{}", said(&done));
    let whole = std::fs::read(out.join("adapter_model.safetensors")).unwrap();
    let parts = store.asked();
    assert_eq!(parts.len(), whole.len().div_ceil(1000));
    let joined: Vec<u8> = parts.iter().flat_map(|part| part.body.clone()).collect();
    assert_eq!(joined, whole);
    let asked = hub.asked();
    let complete = asked
        .iter()
        .find(|asked| asked.path == "/complete")
        .unwrap()
        .json();
    assert_eq!(complete["oid"], hash(&whole));
    let tags = complete["parts"].as_array().unwrap();
    for (at, (tag, part)) in tags.iter().zip(&parts).enumerate() {
        assert_eq!(
            tag,
            &json!({"partNumber": at + 1, "etag": format!("\"{}\"", part.path)})
        );
    }
    let lines = hub.lines();
    assert_eq!(lines[1], "POST /api/models/me/mine/branch/v1%2Fx");
    assert_eq!(
        lines.last().unwrap(),
        "POST /api/models/me/mine/commit/v1%2Fx"
    );
}

/// Pushes to a hub that says something else to a path; how it went, and what was asked.
fn answered(path: &'static str, status: u16, times: usize) -> (Output, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let store = store();
    let hub = hub(&store, None, move |asked, before| {
        let seen = before
            .iter()
            .filter(|asked| asked.path.starts_with(path))
            .count();
        let matches = asked.path.starts_with(path) && seen < times;
        matches.then(|| no(status, "for a reason"))
    });
    let out = dir.path().join("out");
    let done = export(&hub.address, &out, &PUSH, true);
    assert!(
        out.join("adapter_config.json").is_file(),
        "the export is there in any case"
    );
    (done, hub.lines())
}

#[test]
fn a_repository_that_is_there_will_do_and_a_passing_problem_passes() {
    let (done, lines) = answered("/api/repos/create", 409, usize::MAX);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(lines.len(), 6);
    // A token for this repository alone may not create any.
    let (done, lines) = answered("/api/repos/create", 403, usize::MAX);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(lines[1], "GET /api/models/me/mine");
    let (done, lines) = answered("/api/models/me/mine/preupload", 503, 1);
    assert!(done.status.success(), "{}", said(&done));
    let asked = lines.iter().filter(|line| line.contains("/preupload/"));
    assert_eq!(asked.count(), 2);
}

/// The lines of the commit that was asked for.
fn committed(asked: &[Asked]) -> Vec<Value> {
    let mut commits = asked.iter().filter(|asked| asked.path.contains("/commit/"));
    let commit = commits.next().unwrap();
    let lines = std::str::from_utf8(&commit.body).unwrap().lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn weights_of_earlier_exports_go_in_the_same_commit_and_nothing_else_goes() {
    let (old, others) = (
        [
            "model.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "adapters.safetensors",
        ],
        [
            "model-q8_0.gguf",
            "adapter-f32.gguf",
            ".gitattributes",
            "README.md",
            "NOTES.md",
            "config.json",
            "tokenizer.json",
            "Modelfile",
            "adapter_config.json",
            "adapter_model.safetensors",
            "other.safetensors",
            "model-1-of-2.safetensors",
            "runs/model.safetensors",
        ],
    );
    let dir = tempfile::tempdir().unwrap();
    let store = store();
    // Two pages, and a folder with the name of a file.
    let says = move |asked: &Asked, _: &[Asked]| {
        let here = &asked.headers["host"];
        let (path, next) = asked.path.split_once("/tree/main")?;
        if next.is_empty() {
            let mut page: Vec<Value> = others.iter().map(|name| entry("file", name)).collect();
            page.push(entry("directory", "model-00001-of-00009.safetensors"));
            let next = format!("link: <http://{here}{path}/tree/main?cursor=2>; rel=\"next\"\r\n");
            return Some((200, next, json!(page).to_string()));
        }
        assert_eq!(next, "?cursor=2");
        Some(yes(&old.iter().map(|name| entry("file", name)).collect()))
    };
    let hub = hub(&store, None, says);
    let out = dir.path().join("out");
    let done = export(&hub.address, &out, &[&PUSH[..], &["--json"]].concat(), true);
    assert!(done.status.success(), "{}", said(&done));
    let lines = committed(&hub.asked());
    let of = |key: &str| {
        let of = lines.iter().filter(|line| line["key"] == key);
        let paths = of.map(|line| line["value"]["path"].as_str().unwrap().to_owned());
        paths.collect::<Vec<_>>()
    };
    assert_eq!(of("deletedFile"), old);
    assert_eq!(of("file").len() + of("lfsFile").len(), 3);
    assert!(of("file").contains(&"README.md".to_owned()));
    assert_eq!(
        lines.len(),
        1 + 3 + old.len(),
        "and nothing of another kind"
    );
    let summary: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(summary["deleted"], json!(old), "it is told");
}

#[test]
fn a_conflict_that_passes_is_asked_again_and_not_taken_for_a_repository() {
    let dir = tempfile::tempdir().unwrap();
    let store = store();
    let hub = hub(&store, None, |asked, before| {
        let why = "Cannot create repo: another conflicting operation is in progress";
        (before.is_empty() && asked.path == "/api/repos/create").then(|| no(409, why))
    });
    let done = export(&hub.address, &dir.path().join("out"), &PUSH, true);
    assert!(done.status.success(), "{}", said(&done));
    let lines = hub.lines();
    assert_eq!(lines[..2], ["POST /api/repos/create"; 2], "{lines:?}");
    assert_eq!(lines.len(), 7);
}

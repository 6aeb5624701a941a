//! `--push-to-hub` against a hub that is a thread of the test: what is asked in which order, what is sent where, and what
//! becomes of every no.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fixture;

const TOKEN: &str = "hf_the_secret_of_this_test";

/// What came to a hub.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Asked {
    fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A status, more headers, a body.
type Reply = (u16, String, String);

/// What a server says to the n-th request, given those before it.
type Says = Box<dyn Fn(&Asked, &[Asked]) -> Reply + Send>;

struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn new(says: impl FnOnce(&str) -> Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let says = says(&address);
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let heard = asked.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&stream) else {
                    continue;
                };
                let mut heard = heard.lock().unwrap();
                let (status, headers, body) = says(&request, &heard);
                heard.push(request);
                let length = body.len();
                let reply = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
                );
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |n| n.parse().unwrap());
    assert!(!headers.contains_key("transfer-encoding"), "sizes are told");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        path,
        headers,
        body,
    })
}

fn yes(body: &Value) -> Reply {
    (200, String::new(), body.to_string())
}

fn no(status: u16, why: &str) -> Reply {
    (status, String::new(), json!({"error": why}).to_string())
}

/// A hub that says yes to everything, large files going to `store`; `chunk`: in parts of so many bytes.
fn kind(hub: String, store: String, chunk: Option<u64>) -> impl Fn(&Asked) -> Reply + Send {
    move |asked: &Asked| {
        let path = asked.path.as_str();
        if path == "/api/repos/create" || path.contains("/branch/") {
            return yes(&json!({"url": format!("{hub}/me/mine")}));
        }
        if path.contains("/preupload/") {
            let mode = |file: &Value| {
                let large = file["path"].as_str().unwrap().ends_with(".safetensors");
                let mode = if large { "lfs" } else { "regular" };
                json!({"path": file["path"], "uploadMode": mode, "shouldIgnore": false})
            };
            let asked = asked.json();
            let files: Vec<Value> = asked["files"]
                .as_array()
                .unwrap()
                .iter()
                .map(mode)
                .collect();
            return yes(&json!({"files": files}));
        }
        if path.ends_with("/info/lfs/objects/batch") {
            let action = |object: &Value| {
                let (oid, size) = (
                    object["oid"].as_str().unwrap(),
                    object["size"].as_u64().unwrap(),
                );
                let upload = match chunk {
                    None => json!({"href": format!("{store}/{oid}?signature=s")}),
                    Some(chunk) => {
                        let mut header = json!({"chunk_size": chunk.to_string()});
                        for part in 1..=size.div_ceil(chunk) {
                            header[part.to_string()] = format!("{store}/{oid}/{part}").into();
                        }
                        json!({"href": format!("{hub}/complete"), "header": header})
                    }
                };
                let verify = json!({"href": format!("{hub}/verify")});
                json!({"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}})
            };
            let asked = asked.json();
            let objects = asked["objects"].as_array().unwrap().iter().map(action);
            return yes(&json!({"objects": objects.collect::<Vec<Value>>()}));
        }
        if path.contains("/commit/") {
            let url = format!("{hub}/me/mine/commit/0123");
            return yes(&json!({"commitUrl": url, "commitOid": "0123"}));
        }
        yes(&json!({}))
    }
}

fn store() -> Server {
    Server::new(|_| {
        Box::new(|asked: &Asked, _: &[Asked]| {
            let etag = format!("etag: \"{}\"\r\n", asked.path);
            (200, etag, String::new())
        })
    })
}

/// A hub that is kind but for what `first` says.
fn hub(
    store: &Server,
    chunk: Option<u64>,
    first: impl Fn(&Asked, &[Asked]) -> Option<Reply> + Send + 'static,
) -> Server {
    let store = store.address.clone();
    Server::new(move |address| {
        let kind = kind(address.to_owned(), store, chunk);
        Box::new(move |asked, before| first(asked, before).unwrap_or_else(|| kind(asked)))
    })
}

/// Exports PEFT's adapter of the fixtures.
fn export(hub: &str, out: &Path, words: &[&str], token: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_export"));
    command
        .args(["--format", "peft", "--model-name", &fixture("tiny-model")])
        .args([
            "--adapter-dir",
            &fixture("goldens/lora_trace/final_adapter"),
        ])
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
        asked[2].json()["objects"],
        json!([{"oid": oid, "size": file(large).len()}])
    );
    assert_eq!(
        asked[3].json(),
        json!({"oid": oid, "size": file(large).len()})
    );

    // The store gets the bytes, and no token.
    let stored = store.asked();
    assert_eq!(store.lines(), [format!("PUT /{oid}?signature=s")]);
    assert_eq!(hash(&stored[0].body), oid);
    assert!(!stored[0].headers.contains_key("authorization"));

    let commit = String::from_utf8(asked[4].body.clone()).unwrap();
    assert_eq!(asked[4].headers["content-type"], "application/x-ndjson");
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

#[test]
fn without_the_flag_or_a_token_nothing_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let store = store();
    let hub = hub(&store, None, |_, _| None);
    let out = dir.path().join("out");
    assert!(export(&hub.address, &out, &[], true).status.success());
    let out = dir.path().join("none");
    let done = export(&hub.address, &out, &PUSH, false);
    assert_eq!(done.status.code(), Some(2));
    assert!(said(&done).contains("HF_TOKEN"), "{}", said(&done));
    assert!(!out.exists(), "it is told before anything is written");
    for words in [
        &["--private"][..],
        &["--push-to-hub", "mine"],
        &["--hub-url", "x"],
    ] {
        assert_eq!(
            export(&hub.address, &out, words, true).status.code(),
            Some(2)
        );
    }
    assert_eq!(hub.lines().len() + store.lines().len(), 0);
    // The file that `hf auth login` leaves is as good, and so is a hub that is named.
    let home = dir.path().join("hf-home");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("token"), TOKEN).unwrap();
    let words = [&PUSH[..], &["--hub-url", &hub.address]].concat();
    let done = export("http://127.0.0.1:9", &out, &words, false);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(
        hub.asked()[0].headers["authorization"],
        format!("Bearer {TOKEN}")
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
fn every_no_is_told_with_its_reason_and_what_to_do() {
    for (path, status, told) in [
        ("/api/", 401, "HF_TOKEN"),
        ("/api/", 403, "may not write"),
        ("/api/models/me/mine/preupload", 404, "no such repository"),
        ("/me/mine.git", 403, "may not write"),
        ("/verify", 400, "verifying adapter_model.safetensors"),
        ("/api/models/me/mine/commit", 409, "somebody else"),
        ("/api/models/me/mine/commit", 503, "the hub has a problem"),
    ] {
        let (done, lines) = answered(path, status, usize::MAX);
        let text = said(&done);
        assert_eq!(done.status.code(), Some(1), "{path}: {text}");
        for part in [
            told,
            "for a reason",
            &status.to_string(),
            "is not on the hub",
        ] {
            assert!(text.contains(part), "{path}: {part}: {text}");
        }
        let commits = lines
            .iter()
            .filter(|line| line.contains("/commit/"))
            .count();
        assert!(commits <= 1, "a commit is never asked for twice: {lines:?}");
        assert_eq!(commits == 1, path.ends_with("commit"), "{lines:?}");
    }
}

#[test]
fn a_repository_that_is_there_will_do_and_a_passing_problem_passes() {
    let (done, lines) = answered("/api/repos/create", 409, usize::MAX);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(lines.len(), 5);
    // A token for this repository alone may not create any.
    let (done, lines) = answered("/api/repos/create", 403, usize::MAX);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(lines[1], "GET /api/models/me/mine");
    let (done, lines) = answered("/api/models/me/mine/preupload", 503, 1);
    assert!(done.status.success(), "{}", said(&done));
    let asked = lines.iter().filter(|line| line.contains("/preupload/"));
    assert_eq!(asked.count(), 2);
}

//! `--push-to-hub` against a hub that is a thread of the test: what is asked in which order, what is sent where, and what
//! becomes of every no.

use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fixture;

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
        ("/api/models/me/mine/tree", 404, "no such repository"),
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
fn private_is_refused_before_an_upload_where_the_repository_is_public() {
    for (create, status) in [("exists", 409), ("may not create", 403)] {
        for (private, code) in [(json!(true), 0), (json!(false), 2), (Value::Null, 1)] {
            let dir = tempfile::tempdir().unwrap();
            let store = store();
            let seen = private.clone();
            let hub = hub(&store, None, move |asked, _| match asked.line().as_str() {
                "POST /api/repos/create" => Some(no(status, create)),
                "GET /api/models/me/mine" => Some(yes(&json!({"private": seen}))),
                _ => None,
            });
            let out = dir.path().join("out");
            let words = [&PUSH[..], &["--private"]].concat();
            let done = export(&hub.address, &out, &words, true);
            let text = said(&done);
            assert_eq!(done.status.code(), Some(code), "{private}: {text}");
            if code == 0 {
                continue;
            }
            assert_eq!(hub.lines().len(), 2, "nothing is sent: {:?}", hub.lines());
            let told = ["--private does not change it", "does not say"][usize::from(code == 1)];
            assert!(text.contains(told), "{text}");
            assert_eq!(store.lines().len(), 0);
        }
    }
}

#[test]
fn an_adapter_that_names_a_place_on_this_machine_is_not_published() {
    let dir = tempfile::tempdir().unwrap();
    let store = store();
    let hub = hub(&store, None, |_, _| None);
    let adapter = dir.path().join("adapter");
    std::fs::create_dir(&adapter).unwrap();
    let from = fixture("goldens/lora_trace/final_adapter");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(format!("{from}/{name}"), adapter.join(name)).unwrap();
    }
    let name_base = |base: &str| {
        let path = adapter.join("adapter_config.json");
        let text = std::fs::read(&path).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        config["base_model_name_or_path"] = base.into();
        std::fs::write(&path, config.to_string()).unwrap();
    };
    let own = adapter.display().to_string();
    for base in [
        fixture("tiny-model").as_str(),
        "/home/me/models/gone",
        "./models/tiny",
        "base.gguf",
    ] {
        name_base(base);
        for format in ["peft", "mlx"] {
            let out = dir.path().join(format);
            let words = ["--adapter-dir", &own, "--format", format];
            let done = export_of(&hub.address, &out, &[&words[..], &PUSH].concat(), true);
            let text = said(&done);
            assert_eq!(done.status.code(), Some(2), "{base}: {text}");
            assert!(text.contains("--base-model OWNER/NAME"), "{text}");
            assert!(!out.join("adapter_config.json").exists());
        }
    }
    name_base("someone/their-model");
    let out = dir.path().join("good");
    let words = [&["--adapter-dir", &own, "--format", "peft"][..], &PUSH].concat();
    assert!(hub.lines().is_empty(), "nothing was sent until now");
    let done = export_of(&hub.address, &out, &words, true);
    assert!(done.status.success(), "{}", said(&done));

    let out = dir.path().join("modelfile");
    let words = [
        "--adapter-dir",
        &own,
        "--format",
        "gguf-adapter",
        "--modelfile",
    ];
    let before = hub.lines().len();
    let done = export_of(&hub.address, &out, &[&words[..], &PUSH].concat(), true);
    assert_eq!(done.status.code(), Some(2), "{}", said(&done));
    assert!(said(&done).contains("leave --modelfile out"));
    assert_eq!(hub.lines().len(), before);
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

#[test]
fn a_repository_that_has_moved_is_told_and_nobody_follows() {
    let other = store();
    for path in [
        "/api/repos/create",
        "/api/models/me/mine/preupload",
        "/api/models/me/mine/tree",
        "/verify",
        "/api/models/me/mine/commit",
    ] {
        for status in [301, 302, 307, 308] {
            let dir = tempfile::tempdir().unwrap();
            let store = store();
            let to = format!("location: {}/api/elsewhere?signature=s\r\n", other.address);
            let hub = hub(&store, None, move |asked, _| {
                let matches = asked.path.starts_with(path);
                matches.then(|| (status, to.clone(), "{}".to_owned()))
            });
            let done = export(&hub.address, &dir.path().join("out"), &PUSH, true);
            let text = said(&done);
            assert_eq!(done.status.code(), Some(1), "{path} {status}: {text}");
            let told = text.contains("it has moved: give the repository's present name");
            assert!(told && !text.contains("signature"), "{text}");
            let lines = hub.lines();
            let asked = lines.iter().filter(|line| line.contains(path));
            assert_eq!(asked.count(), 1, "{lines:?}");
        }
    }
    // A store that leads elsewhere has not stored anything.
    let to = format!("location: {}/x?signature=s\r\n", other.address);
    let leads =
        Server::new(|_| Box::new(move |_: &Asked, _: &[Asked]| (307, to.clone(), String::new())));
    let hub = hub(&leads, None, |_, _| None);
    let dir = tempfile::tempdir().unwrap();
    let done = export(&hub.address, &dir.path().join("out"), &PUSH, true);
    assert_eq!(done.status.code(), Some(1), "{}", said(&done));
    assert!(said(&done).contains("is not followed"), "{}", said(&done));
    assert_eq!((leads.lines().len(), other.lines().len()), (1, 0));
}

#[test]
fn an_address_that_is_none_is_refused_once_and_its_query_is_not_told() {
    for href in [
        "/upload/x?signature=s",
        "x?signature=s",
        "ftp://127.0.0.1/x?signature=s",
        "http:///x?signature=s",
        "http://127.0.0.1/a b?signature=s",
        "?signature=s",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = store();
        let hub = hub(&store, None, move |asked, _| {
            if !asked.path.ends_with("/objects/batch") {
                return None;
            }
            let object = asked.json()["objects"][0].take();
            let actions = json!({"upload": {"href": href}});
            let object = json!({"oid": object["oid"], "actions": actions});
            Some(yes(&json!({"objects": [object]})))
        });
        let begun = std::time::Instant::now();
        let done = export(&hub.address, &dir.path().join("out"), &PUSH, true);
        let text = said(&done);
        assert_eq!(done.status.code(), Some(1), "{href}: {text}");
        assert!(
            text.contains("no whole http or https one"),
            "{href}: {text}"
        );
        assert!(!text.contains("signature"), "{text}");
        // Five more tries would last 23 seconds.
        assert!(begun.elapsed().as_secs() < 15, "{href}");
        assert!(!hub.lines().iter().any(|line| line.contains("/commit/")));
    }
}

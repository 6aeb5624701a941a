//! The program itself.

use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use chat_prompt::Message;
use loader::{Adapter, InferenceArgs, ModelSpec, Opened};
use serde_json::json;
use smollm_model::{GenerationConfig, generate};

use crate::answers::ask;
use crate::client::{Events, chat, get, raw, written};

struct Program {
    child: Child,
    address: std::net::SocketAddr,
}

fn fixture(name: &str) -> String {
    format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serve"));
    command.args(["--model-id", "tiny", "--model-name", &fixture("tiny-model")]);
    command.args(arguments).env_remove("SMOLTUNE_API_KEY");
    command
}

fn start(command: &mut Command) -> Program {
    let mut child = command
        .args(["--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line
        .trim()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    Program { child, address }
}

#[cfg(unix)]
#[test]
fn it_says_where_it_is_and_ends_at_a_signal() {
    for signal in ["-INT", "-TERM"] {
        let mut program = start(&mut command(&[]));
        assert!(program.address.ip().is_loopback());
        assert_eq!(chat(program.address, &ask("Name a bird.", 3)).status, 200);
        let mut stream = Events::chat(program.address, &ask("Name a bird.", 400));
        stream.next();
        let pid = program.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        stream.all();
        assert!(program.child.wait().unwrap().success());
    }
}

#[test]
fn keys_come_from_a_file_or_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.txt");
    std::fs::write(&file, "in-the-file\n").unwrap();
    let mut from_file = command(&["--api-key-file", file.to_str().unwrap()]);
    let mut from_environment = command(&[]);
    from_environment.env("SMOLTUNE_API_KEY", "in-the-environment");
    for (command, key) in [
        (&mut from_file, "in-the-file"),
        (&mut from_environment, "in-the-environment"),
    ] {
        let mut program = start(command);
        let status =
            |headers: &str| raw(program.address, &written("GET", "/v1/models", headers, "")).status;
        assert_eq!(status(""), 401);
        assert_eq!(status(&format!("Authorization: Bearer {key}\r\n")), 200);
        program.child.kill().unwrap();
        program.child.wait().unwrap();
    }
}

#[test]
fn what_cannot_be_done_is_told_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("keys.txt");
    std::fs::write(&empty, "\n").unwrap();
    for (arguments, code, word) in [
        (vec!["--port", &port], 1, "cannot listen"),
        (vec!["--batch-size", "0"], 2, "--batch-size is 0"),
        (
            vec!["--api-key-file", empty.to_str().unwrap()],
            3,
            "holds no key",
        ),
        (vec!["--api-key-file", "none"], 3, "cannot read none"),
    ] {
        let out = command(&[]).args(&arguments).output().unwrap();
        let told = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(word), "{arguments:?}: {told}");
    }
}

/// Tokens until base and adapter have said different things.
const LENGTH: usize = 100;

/// What the packed model answers, with or without its adapter.
fn packed(opened: &[&Opened], adapter: Option<usize>) -> String {
    let mut model = loader::pack(opened, &InferenceArgs::default()).unwrap();
    let prompter = opened[0].prompter();
    let prompt = prompter
        .encode_chat(&[Message::user("Name a bird.")], true)
        .unwrap();
    let config = GenerationConfig {
        max_new_tokens: LENGTH,
        stop_ids: loader::stop_ids(prompter, opened[0].config(), false),
        adapter,
        ..GenerationConfig::default()
    };
    let answers = generate(&mut model, &[prompt], &config, &mut |_| {
        ControlFlow::Continue(())
    });
    prompter.decode(&answers.unwrap()[0].ids, true).unwrap()
}

#[test]
fn the_base_and_each_adapter_are_models_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("r8");
    let mut adapter = Adapter::load(Path::new(&fixture("goldens/lora_step"))).unwrap();
    adapter.set_base_model(None, None);
    adapter.save(&folder).unwrap();
    let mut spec = ModelSpec::new(&fixture("tiny-model"));
    let base = loader::open(&spec).unwrap();
    spec.adapter_dir = Some(folder.clone());
    let tuned = loader::open(&spec).unwrap();

    let mut program = start(&mut command(&["--adapter", folder.to_str().unwrap()]));
    let list = get(program.address, "/v1/models").json();
    assert_eq!(
        (&list["data"][0]["id"], &list["data"][0]["parent"]),
        (&json!("tiny"), &json!(null))
    );
    assert_eq!(
        (&list["data"][1]["id"], &list["data"][1]["parent"]),
        (&json!("r8"), &json!("tiny"))
    );
    let address = program.address;
    let say = |model: &str| {
        let mut body = ask("Name a bird.", LENGTH);
        body["model"] = json!(model);
        thread::spawn(move || chat(address, &body).content())
    };
    let said = [say("tiny"), say("r8"), say("tiny"), say("r8")].map(|one| one.join().unwrap());
    let expected = [
        packed(&[&base, &tuned], None),
        packed(&[&base, &tuned], Some(0)),
    ];
    assert_ne!(expected[0], expected[1]);
    assert_eq!(said[..2], expected);
    assert_eq!(said[2..], expected);
    program.child.kill().unwrap();
    program.child.wait().unwrap();
}

//! Turns from a pipe: standard output holds the answers alone.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{adapter, chat, new_adapter};

fn talk(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn said(dir: &Path, more: &[&str], input: &str) -> (String, String) {
    let output = talk(chat(dir).args(more), input);
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{err}");
    (out, err)
}

#[test]
fn each_line_is_a_turn_and_a_conversation_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (out, err) = said(
        dir.path(),
        &[],
        "Name a bird.\nAnother one.\n/reset\nName a bird.\n",
    );
    let answers: Vec<&str> = out.split_terminator('\n').collect();
    assert!(answers.len() >= 3, "{out}");
    assert_eq!(err, "(forgotten)\n");
    let (first, _) = said(dir.path(), &[], "Name a bird.");
    assert!(out.starts_with(&first) && out.ends_with(&first), "{out}");
    let joined = "\"\"\"\nName\na bird.\n\"\"\"\n";
    assert_eq!(
        said(dir.path(), &[], joined),
        said(dir.path(), &[], "Name\\\na bird.\n")
    );
}

#[test]
fn adapters_take_turns_and_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    adapter(&dir.path().join("r8"));
    new_adapter(&dir.path().join("idle"));
    let both = ["--adapter", "r8", "--adapter", "idle"];
    let (base, _) = said(dir.path(), &[], "Name a bird.\n");
    let (tuned, _) = said(dir.path(), &["--adapter", "r8"], "Name a bird.\n");
    assert_ne!(base, tuned);
    let (out, err) = said(
        dir.path(),
        &both,
        "/adapter r8\nName a bird.\n/adapter\n/adapter none\n",
    );
    assert_eq!(out, tuned);
    assert!(
        err.contains("* r8\n") && err.contains("no adapter \"none\""),
        "{err}"
    );
    let (out, _) = said(dir.path(), &both, "/base\nName a bird.\n");
    assert_eq!(out, base);
    let (out, _) = said(dir.path(), &["--adapter", "r8"], "/compare Name a bird.\n");
    assert_eq!(out, format!("base:\n{base}\nr8:\n{tuned}"));
    let (out, _) = said(dir.path(), &["--adapter", "r8"], "Name a bird.\n/compare\n");
    assert_eq!(out, format!("{tuned}base:\n{base}\nr8:\n{tuned}"));
    let (_, err) = said(dir.path(), &[], "/compare Name a bird.\n");
    assert!(err.contains("no adapter is loaded"), "{err}");
}

#[test]
fn settings_are_shown_and_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let input =
        "/temperature\n/temperature 0.5\n/temperature -1\n/temperature hot\n/nonsense\n/help\n";
    let (out, err) = said(dir.path(), &[], input);
    assert_eq!(out, "");
    for words in [
        "(temperature 0)",
        "(temperature 0.5)",
        "-1",
        "\"hot\"",
        "/nonsense",
        "/compare [TEXT]",
    ] {
        assert!(err.contains(words), "{words}: {err}");
    }
}

#[test]
fn a_conversation_is_saved_as_a_training_row() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine"), "kept").unwrap();
    let input = "/save a.jsonl\n/system Be brief.\nName a bird.\n/save a.jsonl\n/save a.jsonl\n/save mine\n/save\n";
    let (out, err) = said(dir.path(), &[], input);
    let text = std::fs::read_to_string(dir.path().join("a.jsonl")).unwrap();
    let row: serde_json::Value = serde_json::from_str(&text).unwrap();
    let turns: Vec<(&str, &str)> = row["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|turn| {
            (
                turn["role"].as_str().unwrap(),
                turn["content"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        turns[..2],
        [("system", "Be brief."), ("user", "Name a bird.")]
    );
    assert_eq!(turns[2], ("assistant", out.trim_end()));
    assert!(
        err.contains("nothing was said") && err.contains("mine is there already"),
        "{err}"
    );
    assert_eq!(
        std::fs::read_to_string(dir.path().join("mine")).unwrap(),
        "kept"
    );
}

#[test]
fn wrong_input_and_adapters_end_with_their_codes() {
    let dir = tempfile::tempdir().unwrap();
    let output = talk(&mut chat(dir.path()), "");
    assert!(output.status.success() && output.stdout.is_empty());
    let output = talk(chat(dir.path()).args(["--adapter", "none"]), "");
    assert_eq!(output.status.code(), Some(3));
    let output = talk(chat(dir.path()).args(["--top_p", "0"]), "");
    assert_eq!(output.status.code(), Some(2));
}

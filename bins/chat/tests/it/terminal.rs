//! A person at a terminal.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rexpect::reader::{Options, ReadUntil};
use rexpect::session::{PtySession, spawn_with_options};

use crate::{adapter, chat, chat_at_length};

/// Generous: the machine may be busy.
const PATIENCE_MS: u64 = 60_000;

fn start(mut command: Command) -> PtySession {
    command.env("TERM", "xterm");
    let options = Options::new()
        .timeout_ms(Some(PATIENCE_MS))
        .strip_ansi_escape_codes(true);
    spawn_with_options(command, options).unwrap()
}

fn at_prompt(dir: &Path) -> PtySession {
    let mut session = start(chat(dir));
    session.exp_string("/help for commands").unwrap();
    session.exp_string("> ").unwrap();
    session
}

/// Sends keys as they are typed: Enter is a carriage return.
fn keys(session: &mut PtySession, keys: &str) {
    session.send(keys).unwrap();
    session.flush().unwrap();
}

/// Types a line, and waits until the cursor has left it: the editor draws a line more than once.
fn enter(session: &mut PtySession, line: &str) {
    keys(session, &format!("{line}\r"));
    let last = line.rsplit(' ').next().unwrap().replace(['.', '\\'], ".");
    session.exp_regex(&format!("{last}\\s*\n")).unwrap();
}

#[test]
fn lines_are_edited_remembered_and_put_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut session = at_prompt(dir.path());
    // Typed wrongly, with the last letter taken back.
    keys(&mut session, "/temperature 0.5x\u{7f}\r");
    session.exp_string("(temperature 0.5)").unwrap();
    keys(&mut session, "/temperature 0.25\r");
    session.exp_string("(temperature 0.25)").unwrap();
    // Two lines up in the history.
    keys(&mut session, "\u{1b}[A\u{1b}[A\r");
    session.exp_string("(temperature 0.5)").unwrap();
    keys(&mut session, "/save \\\r");
    session.exp_string("... ").unwrap();
    keys(&mut session, "a.jsonl\r");
    session.exp_string("nothing was said").unwrap();
    keys(&mut session, "/exit\r");
    session.exp_eof().unwrap();
}

#[test]
fn an_answer_streams_and_ctrl_d_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut session = at_prompt(dir.path());
    enter(&mut session, "Name a bird.");
    let answer = session.exp_string("> ").unwrap();
    assert!(!answer.trim().is_empty(), "{answer:?}");
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn ctrl_c_stops_an_answer_and_keeps_what_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = chat_at_length(dir.path(), "250");
    // So hot that it hardly ends by itself.
    command.args(["--top_p", "1"]);
    let mut session = start(command);
    session.exp_string("> ").unwrap();
    keys(&mut session, "/temperature 9\r");
    session.exp_string("(temperature 9)").unwrap();
    session.exp_string("> ").unwrap();
    // Sooner or later one is stopped between its first word and its last.
    let stopped = (1..40).any(|attempt| {
        keys(&mut session, "Tell me everything.\r");
        std::thread::sleep(Duration::from_millis(attempt * 7 % 100));
        session.send_control('c').unwrap();
        let either = ["(stopped)", "(Ctrl-D or"].map(|text| ReadUntil::String(text.to_owned()));
        let (before, seen) = session.exp_any(either.into()).unwrap();
        session.exp_string("> ").unwrap();
        let answer = before.rsplit("everything.").next().unwrap();
        seen == "(stopped)" && answer.contains(char::is_alphabetic)
    });
    assert!(stopped, "no answer was stopped");
    keys(&mut session, "/save a.jsonl\r");
    session.exp_string("(saved in a.jsonl)").unwrap();
    let text = std::fs::read_to_string(dir.path().join("a.jsonl")).unwrap();
    let row: serde_json::Value = serde_json::from_str(&text).unwrap();
    let last = row["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["role"], "assistant");
    assert!(!last["content"].as_str().unwrap().is_empty(), "{text}");
    // At the prompt the first throws the line away, the second in a row ends.
    keys(&mut session, "unfinished");
    session.send_control('c').unwrap();
    session.exp_string("(Ctrl-D or /exit ends)").unwrap();
    session.send_control('c').unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn a_wide_terminal_shows_both_answers_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    adapter(&dir.path().join("r8"));
    // The size of a new pseudo-terminal is 0 by 0; stty gives it one.
    let mut shell = Command::new("sh");
    let program = chat(dir.path());
    shell.current_dir(dir.path());
    shell.args(["-c", "stty cols 100 rows 30 && exec \"$@\"", "sh"]);
    shell.arg(program.get_program()).args(program.get_args());
    shell.args(["--adapter", "r8"]);
    let mut session = start(shell);
    session.exp_string("r8> ").unwrap();
    enter(&mut session, "/compare Name a bird.");
    // The reader takes bytes for characters, so a line that is drawn is several of them.
    session.exp_regex("base +\\S+ r8\\s+\\S+\\s+").unwrap();
    session.exp_regex("[a-z] +\\S+ [A-Z]").unwrap();
    session.exp_string("r8> ").unwrap();
    keys(&mut session, "/base\r");
    session.exp_string("(base answers)").unwrap();
    session.exp_string("base> ").unwrap();
    keys(&mut session, "/exit\r");
    session.exp_eof().unwrap();
}

//! Any template on any conversation: text or an error, never a panic, and an end in any case.
//! `cargo +nightly fuzz run template` in `crates/chat-prompt`.
#![no_main]

use chat_prompt::{ChatTemplate, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, Vec<&str>, bool)| {
    let (source, contents, generate) = input;
    let Ok(template) = ChatTemplate::new(source.to_owned(), "a fuzz target", vec![]) else {
        return;
    };
    let turns = contents.iter().enumerate().map(|(at, &text)| match at % 2 {
        0 => Message::user(text),
        _ => Message::assistant(text),
    });
    let turns: Vec<Message> = turns.collect();
    let _ = template.render(&turns, generate);
});

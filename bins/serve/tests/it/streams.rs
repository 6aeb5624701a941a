//! Answers as they come, and clients that stop listening.

use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use serve::Settings;
use smollm_model::EngineLimits;

use crate::answers::ask;
use crate::client::{Events, chat, get, post, text_of};
use crate::rig::Rig;

#[test]
fn a_stream_is_the_whole_answer_in_pieces() {
    let rig = Rig::new();
    let mut body = ask("Name a bird.", 20);
    body["n"] = json!(2);
    body["temperature"] = json!(0.9);
    body["seed"] = json!(5);
    body["stop"] = json!("e");
    body["logprobs"] = json!(true);
    let whole = chat(rig.address, &body).json();
    body["stream_options"] = json!({"include_usage": true});
    let mut chunks = Events::chat(rig.address, &body).all();
    let usage = chunks.pop().unwrap();
    assert_eq!(
        (&usage["choices"], &usage["usage"]),
        (&json!([]), &whole["usage"])
    );
    for index in 0..2 {
        let choice = &whole["choices"][index];
        assert_eq!(text_of(&chunks, index), choice["message"]["content"]);
        let own = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0])
            .filter(|c| c["index"] == index);
        let own: Vec<&Value> = own.collect();
        let delta = json!({"role": "assistant", "content": "", "refusal": null});
        assert_eq!(own[0]["delta"], delta);
        let last = own.last().unwrap();
        assert_eq!(
            (&last["delta"], &last["finish_reason"]),
            (&json!({}), &choice["finish_reason"])
        );
        let logprobs = own
            .iter()
            .filter_map(|c| c["logprobs"]["content"].as_array())
            .flatten();
        let logprobs: Vec<Value> = logprobs.cloned().collect();
        assert_eq!(json!(logprobs), choice["logprobs"]["content"]);
    }
    assert!(chunks.iter().all(|chunk| {
        chunk["object"] == "chat.completion.chunk"
            && chunk["id"] == usage["id"]
            && chunk["usage"].is_null()
    }));
}

#[test]
fn completions_stream_too() {
    let rig = Rig::new();
    let body = json!({"model": "tiny", "prompt": ["Once", "Twice upon"], "temperature": 0, "max_tokens": 9});
    let whole = post(rig.address, "/v1/completions", &body).json();
    let chunks = Events::open(rig.address, "/v1/completions", &body).all();
    for index in 0..2 {
        assert_eq!(text_of(&chunks, index), whole["choices"][index]["text"]);
    }
    let ends = chunks
        .iter()
        .filter(|chunk| chunk["choices"][0]["finish_reason"].is_string());
    assert_eq!(ends.count(), 2);
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[test]
fn sixty_four_streams_at_once_are_each_as_alone() {
    let rig = Rig::new();
    let question = |i: usize| ask(&format!("Name {i} birds."), 30 + i % 7);
    let address = rig.address;
    let streams: Vec<_> = (0..64)
        .map(|i| thread::spawn(move || Events::chat(address, &question(i)).all()))
        .collect();
    let together: Vec<String> = streams
        .into_iter()
        .map(|s| text_of(&s.join().unwrap(), 0))
        .collect();
    for (i, text) in together.iter().enumerate() {
        assert_eq!(*text, chat(rig.address, &question(i)).content());
    }
}

fn one_slot() -> Settings {
    Settings {
        engine: EngineLimits {
            batch_size: 1,
            ..EngineLimits::default()
        },
        queue: 0,
        ..Settings::default()
    }
}

#[test]
fn a_client_that_goes_away_frees_its_slot() {
    let rig = Rig::start(one_slot());
    rig.gate.close();
    let stream = Events::chat(rig.address, &ask("Name a bird.", 400));
    let refused = chat(rig.address, &ask("Name a bird.", 2));
    assert_eq!(refused.status, 429);
    drop(stream);
    rig.until("smoltune_answers_total{ended=\"cancelled\"}", 1.0);
    rig.gate.open();
    assert_eq!(chat(rig.address, &ask("Name a bird.", 2)).status, 200);
    // It was not answered to its end.
    assert!(rig.metric("smoltune_generated_tokens_total") < 10.0);
}

#[test]
fn a_client_that_goes_away_before_its_whole_answer_frees_its_slot() {
    let rig = Rig::start(one_slot());
    rig.gate.close();
    let address = rig.address;
    let stream = crate::client::connect(address);
    let text = crate::client::written(
        "POST",
        "/v1/chat/completions",
        "",
        &ask("Name a bird.", 400).to_string(),
    );
    std::io::Write::write_all(&mut &stream, text.as_bytes()).unwrap();
    rig.handed(1);
    stream.shutdown(Shutdown::Both).unwrap();
    rig.until("smoltune_answers_total{ended=\"cancelled\"}", 1.0);
    rig.gate.open();
    assert_eq!(chat(rig.address, &ask("Name a bird.", 2)).status, 200);
}

#[test]
fn a_client_that_reads_nothing_is_let_go_and_holds_nobody_up() {
    let rig = Rig::start(Settings {
        patience: Duration::from_secs(1),
        ..Settings::default()
    });
    // Some megabytes: more than the system keeps for a connection.
    let mut body = ask("Name a bird.", 400);
    body["n"] = json!(16);
    body["temperature"] = json!(1.5);
    body["logprobs"] = json!(true);
    body["top_logprobs"] = json!(20);
    let lazy = Events::chat(rig.address, &body);
    assert_eq!(chat(rig.address, &ask("Name a bird.", 20)).status, 200);
    let connections = || rig.metric("smoltune_connections");
    // What asks for the metrics is a connection too.
    rig.until("smoltune_connections", 1.0);
    assert_eq!(
        (connections(), rig.metric("smoltune_answers_running")),
        (1.0, 0.0)
    );
    assert_eq!(get(rig.address, "/health").status, 200);
    lazy.connection().shutdown(Shutdown::Both).unwrap();
}

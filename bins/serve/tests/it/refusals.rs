//! Bad requests get the right codes, in the OpenAI API's form.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use serve::{Keys, Settings};
use smollm_model::EngineLimits;

use crate::answers::ask;
use crate::client::{Events, chat, connect, get, post, raw, written};
use crate::rig::Rig;

/// Field by field: what is wrong, the status, the field that is named, and a word of the message.
const CHAT: [(&str, &str, u16, &str); 33] = [
    ("model", "null", 400, "missing"),
    ("model", "7", 400, "a model's id"),
    ("model", r#""gpt-4o""#, 404, "`tiny`, `hub/terse`"),
    ("messages", "null", 400, "missing"),
    ("messages", "[]", 400, "empty"),
    ("messages", r#""Hello""#, 400, "a list of messages"),
    ("messages[0]", "[7]", 400, "an object"),
    (
        "messages[0].role",
        r#"[{"role": "tool", "content": "x"}]"#,
        400,
        "`tool`",
    ),
    ("messages[0].role", r#"[{"content": "x"}]"#, 400, "missing"),
    ("messages[0].content", r#"[{"role": "user"}]"#, 400, "null"),
    (
        "messages[0].content[0]",
        r#"[{"role": "user", "content": [{"type": "image_url"}]}]"#,
        400,
        "text alone",
    ),
    (
        "messages[0].tool_calls",
        r#"[{"role": "assistant", "content": "", "tool_calls": []}]"#,
        400,
        "no tools",
    ),
    ("temperature", r#""hot""#, 400, "a number"),
    ("temperature", "-1", 400, "temperature"),
    ("top_p", "0", 400, "top_p"),
    ("top_p", "1.5", 400, "top_p"),
    ("min_p", "2", 400, "min_p"),
    ("repetition_penalty", "0", 400, "repetition_penalty"),
    ("seed", "1.5", 400, "a whole number"),
    ("max_tokens", "0", 400, "1 to 300"),
    ("max_tokens", "301", 400, "1 to 300"),
    ("max_completion_tokens", "-3", 400, "a whole number"),
    ("n", "0", 400, "1 to 128"),
    ("n", "81", 400, "at most 80"),
    ("stop", "[1]", 400, "a list of strings"),
    ("stop", r#""""#, 400, "empty"),
    (
        "stream_options",
        r#"{"include_usage": true}"#,
        400,
        "stream: true",
    ),
    ("top_logprobs", "2", 400, "logprobs: true"),
    ("logprobs", "3", 400, "true or false"),
    ("tools", r#"[{"type": "function"}]"#, 400, "no tools"),
    (
        "response_format",
        r#"{"type": "json_object"}"#,
        400,
        "free text",
    ),
    ("logit_bias", r#"{"50256": -100}"#, 400, "not supported"),
    ("max_token", "3", 400, "does not know"),
];

fn limited() -> Rig {
    Rig::start(Settings {
        max_tokens: 300,
        ..Settings::default()
    })
}

#[test]
fn every_wrong_field_is_named() {
    let rig = limited();
    for (name, value, status, word) in CHAT {
        let mut body = ask("Name a bird.", 2);
        let field = name.split(['[', '.']).next().unwrap();
        body[field] = serde_json::from_str(value).unwrap();
        let response = chat(rig.address, &body);
        assert_eq!(response.status, status, "{name}: {value}: {response:?}");
        let error = response.json()["error"].clone();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(word), "{name}: {value}: {message}");
        assert_eq!(error["type"], "invalid_request_error");
        // A setting's range is the engine's to know; its message names it.
        assert!(
            error["param"] == field || error["param"] == name || message.contains(field),
            "{error}"
        );
    }
    // What asks for nothing is fine.
    let mut body = ask("Name a bird.", 2);
    for (name, value) in [
        ("tools", json!([])),
        ("tool_choice", json!("none")),
        ("frequency_penalty", json!(0)),
        ("response_format", json!({"type": "text"})),
        ("user", json!("me")),
        ("max_token", Value::Null),
    ] {
        body[name] = value;
    }
    assert_eq!(chat(rig.address, &body).status, 200);
}

#[test]
fn prompts_that_do_not_fit_are_refused() {
    let rig = limited();
    let long = "word ".repeat(600);
    let response = chat(rig.address, &ask(&long, 2));
    assert_eq!(
        (response.status, &response.json()["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    let response = chat(rig.address, &ask(&"word ".repeat(250), 300));
    assert_eq!(
        (response.status, &response.json()["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    for (prompt, word) in [
        (json!(""), "empty prompt"),
        (json!([]), "empty list"),
        (json!(["a", 3]), "a list of token ids"),
        (json!([1, "a"]), "a list of token ids"),
        (json!([[1], []]), "empty prompt"),
        (json!([99_999]), "99999"),
        (json!([-1]), "a list of token ids"),
        (json!({"text": "a"}), "a string"),
    ] {
        let response = post(
            rig.address,
            "/v1/completions",
            &json!({"model": "tiny", "prompt": prompt}),
        );
        let message = response.json()["error"]["message"].to_string();
        assert!(
            response.status == 400 && message.contains(word),
            "{prompt}: {response:?}"
        );
    }
    for (name, value) in [
        ("echo", json!(true)),
        ("suffix", json!("x")),
        ("best_of", json!(3)),
        ("logprobs", json!(6)),
    ] {
        let mut body = json!({"model": "tiny", "prompt": "a"});
        body[name] = value;
        let response = post(rig.address, "/v1/completions", &body);
        assert_eq!(
            (response.status, &response.json()["error"]["param"]),
            (400, &json!(name))
        );
    }
}

#[test]
fn what_is_no_request_is_refused() {
    let rig = Rig::new();
    let path = "/v1/chat/completions";
    let deep = "[".repeat(5000);
    for body in [
        "",
        "{",
        "[]",
        "7",
        "{\"model\": \"tiny\"} more",
        "\u{0}",
        &deep,
    ] {
        let response = raw(rig.address, &written("POST", path, "", body));
        assert_eq!(response.status, 400, "{body}");
        assert_eq!(response.json()["error"]["type"], "invalid_request_error");
    }
    let response = raw(
        rig.address,
        &written("POST", path, "Content-Type: text/plain\r\n", "{}"),
    );
    assert_eq!(response.status, 415);
    let response = get(rig.address, path);
    assert_eq!(
        (response.status, response.header("allow")),
        (405, Some("POST"))
    );
    assert!(
        response.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("GET")
    );
    assert_eq!(post(rig.address, "/health", &json!({})).status, 405);
    for path in ["/", "/v1", "/v1/embeddings", "/v1/models/none"] {
        let response = get(rig.address, path);
        assert_eq!(response.status, 404, "{path}");
        assert!(response.json()["error"]["message"].is_string());
    }
    let response = raw(rig.address, "NONSENSE\r\n\r\n");
    assert_eq!(response.status, 400);
    assert_eq!(
        rig.metric("smoltune_requests_total{route=\"other\",code=\"404\"}"),
        3.0
    );
}

#[test]
fn large_and_slow_bodies_are_refused() {
    let rig = Rig::start(Settings {
        max_body: 1000,
        patience: Duration::from_secs(1),
        ..Settings::default()
    });
    let response = chat(rig.address, &ask(&"a".repeat(1 << 20), 2));
    assert_eq!(
        (response.status, &response.json()["error"]["code"]),
        (413, &json!("request_too_large"))
    );
    // As large as it says, without being sent.
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n";
    let response = raw(
        rig.address,
        &format!("{head}Content-Length: 99999999999\r\n\r\n"),
    );
    assert_eq!(response.status, 413);
    // A body that never comes to its end, and a head that does not.
    let response = raw(rig.address, &format!("{head}Content-Length: 500\r\n\r\n{{"));
    assert_eq!(response.status, 408);
    let mut stream = connect(rig.address);
    stream.write_all(head.as_bytes()).unwrap();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut rest).unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
    // A connection that asks nothing does not stay for ever either.
    let mut stream = connect(rig.address);
    std::io::Read::read_to_end(&mut stream, &mut rest).unwrap();
}

#[test]
fn more_than_the_queue_holds_is_refused_and_the_rest_is_answered() {
    let rig = Rig::start(Settings {
        engine: EngineLimits {
            batch_size: 2,
            ..EngineLimits::default()
        },
        queue: 3,
        ..Settings::default()
    });
    rig.gate.close();
    let streams: Vec<Events> = (0..5)
        .map(|i| Events::chat(rig.address, &ask(&format!("{i}"), 4)))
        .collect();
    let refused = chat(rig.address, &ask("Name a bird.", 4));
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, Some("1"))
    );
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    rig.gate.open();
    for stream in streams {
        stream.all();
    }
    assert_eq!(chat(rig.address, &ask("Name a bird.", 4)).status, 200);
}

#[test]
fn what_takes_too_long_is_ended() {
    let rig = Rig::start(Settings {
        timeout: Duration::from_millis(300),
        ..Settings::default()
    });
    rig.gate.close();
    let mut stream = Events::chat(rig.address, &ask("Name a bird.", 4));
    let response = chat(rig.address, &ask("Name a bird.", 4));
    assert_eq!(
        (response.status, &response.json()["error"]["code"]),
        (504, &json!("timeout"))
    );
    let events: Vec<String> = stream.by_ref().collect();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "timeout");
    rig.gate.open();
    rig.until("smoltune_answers_running", 0.0);
}

#[test]
fn keys_open_all_but_health() {
    let rig = Rig::start(Settings {
        keys: Keys::from_lines("one\ntwo"),
        ..Settings::default()
    });
    let status =
        |path: &str, headers: &str| raw(rig.address, &written("GET", path, headers, "")).status;
    for path in ["/v1/models", "/metrics"] {
        assert_eq!(status(path, ""), 401);
        assert_eq!(status(path, "Authorization: Bearer three\r\n"), 401);
        assert_eq!(status(path, "Authorization: Bearer two\r\n"), 200);
    }
    assert_eq!(status("/health", ""), 200);
    let response = chat(rig.address, &ask("Name a bird.", 2));
    assert_eq!(
        (response.status, response.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    assert_eq!(response.json()["error"]["code"], "invalid_api_key");
}

#[test]
fn an_engine_that_breaks_is_told_and_ends_the_server() {
    let rig = Rig::new();
    rig.gate.close();
    let address = rig.address;
    let stream = Events::chat(address, &ask("Name a bird.", 4));
    let asked = thread::spawn(move || chat(address, &ask("Name a bird.", 4)));
    rig.handed(2);
    rig.gate.break_down();
    let events: Vec<String> = stream.collect();
    assert!(
        events.last().unwrap().contains("server_error"),
        "{events:?}"
    );
    let response = asked.join().unwrap();
    assert_eq!(
        (response.status, &response.json()["error"]["type"]),
        (500, &json!("server_error"))
    );
    let error = rig.wait().unwrap_err();
    assert!(error.to_string().contains("77"), "{error}");
}

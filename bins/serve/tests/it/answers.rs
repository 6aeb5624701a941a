//! Whole answers.

use chat_prompt::Message;
use serde_json::{Value, json};

use crate::client::{chat, get, post};
use crate::rig::{Rig, SYSTEM, expected};

pub(crate) fn ask(text: &str, max_tokens: usize) -> Value {
    json!({
        "model": "tiny", "messages": [{"role": "user", "content": text}],
        "temperature": 0, "max_tokens": max_tokens,
    })
}

#[test]
fn a_chat_is_answered_as_generate_answers_it() {
    let rig = Rig::new();
    for (text, tokens) in [("Name a bird.", 20), ("What is 2 + 2? <|im_end|>", 7)] {
        let response = chat(rig.address, &ask(text, tokens));
        let (content, prompt, answer) = expected(&[Message::user(text)], tokens);
        let reply = response.json();
        assert_eq!(response.content(), content);
        assert_eq!(reply["object"], "chat.completion");
        assert_eq!(reply["model"], "tiny");
        assert_eq!(
            reply["usage"],
            json!({"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer})
        );
        let choice = &reply["choices"][0];
        assert_eq!(choice["message"]["role"], "assistant");
        let ended = if answer == tokens { "length" } else { "stop" };
        assert_eq!(choice["finish_reason"], ended);
        assert_eq!(choice["logprobs"], Value::Null);
        assert!(response.header("x-request-id").is_some());
    }
}

#[test]
fn turns_parts_and_system_messages_make_the_prompt() {
    let rig = Rig::new();
    let messages = json!([
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Name "}, {"type": "text", "text": "a bird."}]},
        {"role": "assistant", "content": "A wren."},
        {"role": "user", "content": "Another."},
    ]);
    let mut body = ask("", 9);
    body["messages"] = messages;
    let turns = [
        Message::system("Be kind."),
        Message::user("Name a bird."),
        Message::assistant("A wren."),
        Message::user("Another."),
    ];
    assert_eq!(chat(rig.address, &body).content(), expected(&turns, 9).0);

    // The model's own system message stands where there is none, and gives way where there is one.
    body["model"] = json!("hub/terse");
    assert_eq!(chat(rig.address, &body).content(), expected(&turns, 9).0);
    let mut body = ask("Name a bird.", 9);
    body["model"] = json!("hub/terse");
    let turns = [Message::system(SYSTEM), Message::user("Name a bird.")];
    let response = chat(rig.address, &body);
    assert_eq!(response.content(), expected(&turns, 9).0);
    assert_eq!(response.json()["model"], "hub/terse");
}

#[test]
fn draws_follow_from_the_seed() {
    let rig = Rig::new();
    let mut body = ask("Name a bird.", 12);
    // Hot: the tiny model is sure of itself.
    body["temperature"] = json!(4);
    body["seed"] = json!(-7);
    body["n"] = json!(3);
    body["top_p"] = json!(0.95);
    body["top_k"] = json!(200);
    body["min_p"] = json!(0.000_001);
    body["repetition_penalty"] = json!(1.1);
    let contents = |body: &Value| -> Vec<Value> {
        let reply = chat(rig.address, body).json();
        let choices = reply["choices"].as_array().unwrap().clone();
        choices
            .iter()
            .map(|choice| choice["message"]["content"].clone())
            .collect()
    };
    let first = contents(&body);
    assert_eq!(first.len(), 3);
    assert!(first[0] != first[1] && first[1] != first[2]);
    assert_eq!(contents(&body), first);
    body["seed"] = json!(8);
    assert_ne!(contents(&body), first);
    // Without a seed every request draws anew.
    body.as_object_mut().unwrap().remove("seed");
    assert_ne!(contents(&body), contents(&body));
}

#[test]
fn stop_strings_end_an_answer_and_are_not_in_it() {
    let rig = Rig::new();
    let (whole, ..) = expected(&[Message::user("Name a bird.")], 24);
    let chars: Vec<char> = whole.chars().collect();
    let stop: String = chars[9..13].iter().collect();
    let until = &whole[..whole.find(&stop).unwrap()];
    for stops in [json!(stop), json!(["never said", stop])] {
        let mut body = ask("Name a bird.", 24);
        body["stop"] = stops;
        let response = chat(rig.address, &body);
        assert_eq!(response.content(), until);
        assert_eq!(response.json()["choices"][0]["finish_reason"], "stop");
        let told = response.json()["usage"]["completion_tokens"]
            .as_u64()
            .unwrap();
        assert!(told < 24, "{told}");
    }
    // One that never comes changes nothing.
    let mut body = ask("Name a bird.", 24);
    let end: String = chars[chars.len() - 3..].iter().collect();
    body["stop"] = json!(format!("{end}never said"));
    assert_eq!(chat(rig.address, &body).content(), whole);
}

#[test]
fn log_probabilities_are_those_of_the_tokens() {
    let rig = Rig::new();
    let mut body = ask("Name a bird.", 16);
    body["logprobs"] = json!(true);
    body["top_logprobs"] = json!(3);
    let response = chat(rig.address, &body);
    let reply = response.json();
    let tokens = reply["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(
        tokens.len() as u64,
        reply["usage"]["completion_tokens"].as_u64().unwrap()
    );
    let mut bytes: Vec<u8> = Vec::new();
    for token in &tokens {
        let own = token["bytes"].as_array().unwrap();
        bytes.extend(own.iter().map(|byte| byte.as_u64().unwrap() as u8));
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        // Greedy: the chosen token is the most likely one.
        assert_eq!(
            (&top[0]["bytes"], &top[0]["logprob"]),
            (&token["bytes"], &token["logprob"])
        );
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
    }
    assert_eq!(String::from_utf8_lossy(&bytes), response.content());
}

#[test]
fn completions_go_on_from_text_and_from_ids() {
    let rig = Rig::new();
    let loaded = crate::rig::load();
    let text = "<|im_start|>user\nName a bird.<|im_end|>\n";
    let other = "Once upon";
    let ids = |text| loaded.prompter.encode_rendered(text).unwrap();
    let complete = |prompt: Value| {
        let body = json!({"model": "tiny", "prompt": prompt, "temperature": 0, "logprobs": 2});
        let response = post(rig.address, "/v1/completions", &body);
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    };
    let one = complete(json!(text));
    assert_eq!(one["object"], "text_completion");
    assert_eq!(one["choices"], complete(json!(ids(text)))["choices"]);
    let two = complete(json!([text, other]));
    assert_eq!(
        two["choices"],
        complete(json!([ids(text), ids(other)]))["choices"]
    );
    assert_eq!(two["choices"][0], one["choices"][0]);
    assert_eq!(two["choices"][1]["index"], 1);
    assert_eq!(
        two["usage"]["prompt_tokens"],
        ids(text).len() + ids(other).len()
    );

    // 16 tokens, as the OpenAI API has it; each stands where its offset says.
    let choice = &one["choices"][0];
    let tokens = choice["logprobs"]["tokens"].as_array().unwrap();
    assert_eq!(
        (tokens.len(), &choice["finish_reason"]),
        (16, &json!("length"))
    );
    let said = choice["text"].as_str().unwrap();
    for (token, offset) in tokens
        .iter()
        .zip(choice["logprobs"]["text_offset"].as_array().unwrap())
    {
        let token = token.as_str().unwrap();
        let from: String = said
            .chars()
            .skip(offset.as_u64().unwrap() as usize)
            .collect();
        // Halves of characters and control tokens have no text of their own.
        let silent = token.starts_with("bytes:") || token.starts_with("<|");
        assert!(silent || from.starts_with(token), "{token:?} in {said:?}");
    }
}

#[test]
fn models_health_and_metrics_are_told() {
    let rig = Rig::new();
    let list = get(rig.address, "/v1/models").json();
    let ids: Vec<&Value> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["id"])
        .collect();
    assert_eq!(ids, ["tiny", "hub/terse"]);
    assert_eq!(list["data"][0]["object"], "model");
    for path in ["/v1/models/hub/terse", "/v1/models/hub%2Fterse"] {
        assert_eq!(get(rig.address, path).json()["id"], "hub/terse");
    }
    assert_eq!(get(rig.address, "/health").json(), json!({"status": "ok"}));

    let used = chat(rig.address, &ask("Name a bird.", 5)).json()["usage"].clone();
    let number = |name: &str| used[name].as_f64().unwrap();
    rig.until("smoltune_answers_running", 0.0);
    for (name, value) in [
        ("smoltune_requests_total{route=\"chat\",code=\"200\"}", 1.0),
        ("smoltune_prompt_tokens_total", number("prompt_tokens")),
        (
            "smoltune_generated_tokens_total",
            number("completion_tokens"),
        ),
        ("smoltune_time_to_first_token_seconds_count", 1.0),
        (
            "smoltune_time_per_token_seconds_count",
            number("completion_tokens") - 1.0,
        ),
        ("smoltune_answers_waiting", 0.0),
    ] {
        assert_eq!(rig.metric(name), value, "{name}");
    }
}

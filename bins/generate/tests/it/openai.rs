//! OpenAI's batch format, in and out.

use std::path::{Path, PathBuf};

use generate::{Format, Summary};
use serde_json::{Value, json};
use stage::Exit;

use crate::args;

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(lines: &[String]) -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        bench.write(lines);
        bench
    }

    fn write(&self, lines: &[String]) {
        std::fs::write(self.path("in.jsonl"), lines.join("\n")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, more: &[&str]) -> Summary {
        self.try_run(more).unwrap()
    }

    fn try_run(&self, more: &[&str]) -> Result<Summary, stage::StageError> {
        let mut args = args(&self.path("out.jsonl"), more);
        args.test_csv = self.path("in.jsonl");
        args.format = Format::Openai;
        crate::answer(&args)
    }

    fn replies(&self) -> Vec<Value> {
        read(&self.path("out.jsonl"))
    }
}

fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A request for `text` with more fields in its body.
#[allow(clippy::needless_pass_by_value, reason = "calls read better")]
fn request(id: &str, text: &str, more: Value) -> String {
    let mut body = json!({
        "model": "tiny-model",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 6,
    });
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
    json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body})
        .to_string()
}

fn content(reply: &Value) -> &str {
    reply["response"]["body"]["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
}

#[test]
fn requests_are_answered_in_order_with_usage() {
    let parts = json!({"messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Name a "}, {"type": "text", "text": "bird."}]},
    ]});
    let drawn = json!({"n": 3, "temperature": 1.3, "seed": 4, "logprobs": true, "top_logprobs": 2});
    let bench = Bench::new(&[
        request("a", "Name a bird.", json!({})),
        request("b", "Name a bird.", drawn),
        request("c", "", parts),
    ]);
    let summary = bench.run(&[]);
    assert_eq!((summary.rows, summary.errors), (3, 0));
    let replies = bench.replies();
    let ids: Vec<&Value> = replies.iter().map(|reply| &reply["custom_id"]).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    for reply in &replies {
        assert_eq!(
            (&reply["error"], &reply["response"]["status_code"]),
            (&Value::Null, &json!(200))
        );
        let body = &reply["response"]["body"];
        assert_eq!(
            (&body["object"], &body["model"]),
            (&json!("chat.completion"), &json!("tiny-model"))
        );
        let usage = |field: &str| body["usage"][field].as_u64().unwrap();
        assert_eq!(
            usage("total_tokens"),
            usage("prompt_tokens") + usage("completion_tokens")
        );
        assert!(usage("completion_tokens") > 0);
    }
    let choices = replies[1]["response"]["body"]["choices"]
        .as_array()
        .unwrap();
    assert_eq!(choices.len(), 3);
    assert!(
        choices
            .iter()
            .any(|choice| choice["message"] != choices[0]["message"])
    );
    let token = &choices[2]["logprobs"]["content"][0];
    assert!(token["logprob"].as_f64().unwrap() <= 0.0);
    assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
    // The same whatever the batch.
    let bytes = std::fs::read(bench.path("out.jsonl")).unwrap();
    bench.run(&["--batch_size", "1", "--overwrite", "--check_batch", "3"]);
    assert_eq!(std::fs::read(bench.path("out.jsonl")).unwrap(), bytes);
}

#[test]
fn what_is_wrong_with_a_line_is_its_answer() {
    let long = "why ".repeat(600);
    let cases = [
        ("{\"custom_id\": ".to_owned(), 400, "JSON"),
        (
            json!({"custom_id": "x", "method": "GET"}).to_string(),
            400,
            "POST",
        ),
        (
            request("1", "?", json!({"model": "gpt-4o"})),
            404,
            "tiny-model",
        ),
        (request("2", &long, json!({})), 400, "tokens"),
        (request("3", "?", json!({"messages": []})), 400, "empty"),
        (
            request("4", "?", json!({"temperature": -1})),
            400,
            "temperature",
        ),
        (request("5", "?", json!({"stream": true})), 400, "stream"),
        (request("6", "?", json!({"colour": 1})), 400, "colour"),
        (request("7", "?", json!({"n": 0})), 400, "from 1"),
        (request("8", "?", json!({"stop": [""]})), 400, "stop"),
        (request("1", "?", json!({})), 400, "earlier"),
        (
            request(
                "9",
                "?",
                json!({"messages": [{"role": "user", "content": 3}]}),
            ),
            400,
            "content",
        ),
    ];
    let mut lines: Vec<String> = cases.iter().map(|(line, ..)| line.clone()).collect();
    lines.push(request("good", "Name a bird.", json!({})));
    let bench = Bench::new(&lines);
    let summary = bench.run(&[]);
    assert_eq!(
        (summary.rows, summary.errors),
        (cases.len() + 1, cases.len())
    );
    let replies = bench.replies();
    for ((line, status, hint), reply) in cases.iter().zip(&replies) {
        assert_eq!(reply["response"]["status_code"], *status, "{line}");
        let message = reply["response"]["body"]["error"]["message"]
            .as_str()
            .unwrap();
        assert!(message.contains(hint), "{line}: {message}");
        assert_eq!(reply["error"]["message"], message);
    }
    content(&replies[cases.len()]);
    assert_eq!(bench.run(&[]).resumed, cases.len() + 1);
}

#[test]
fn a_changed_request_is_answered_anew_and_the_rest_is_kept() {
    let lines = [
        request("a", "Name a bird.", json!({})),
        request("b", "Name a fish.", json!({"nonsense": 1})),
        "no json".to_owned(),
    ];
    let bench = Bench::new(&lines);
    assert_eq!(bench.run(&[]).errors, 2);
    let before = bench.replies();
    bench.write(&[
        request("a", "Name a bird.", json!({})),
        request("b", "Name a fish.", json!({})),
        request("c", "Name a tree.", json!({})),
    ]);
    let summary = bench.run(&[]);
    assert_eq!((summary.rows, summary.resumed, summary.errors), (3, 1, 0));
    assert_eq!(bench.replies()[0], before[0]);
    // Other settings are other work; a request that is gone would be lost.
    assert_eq!(
        bench.try_run(&["--temperature", "1"]).unwrap_err().exit(),
        Exit::Usage
    );
    bench.write(&lines[..1]);
    assert_eq!(bench.try_run(&[]).unwrap_err().exit(), Exit::BadData);
}

#[test]
fn a_stop_string_ends_a_choice() {
    let bench = Bench::new(&[request("a", "Name a bird.", json!({"max_tokens": 16}))]);
    bench.run(&[]);
    let free = content(&bench.replies()[0]).to_owned();
    let chars: Vec<char> = free.chars().collect();
    let stop: String = chars[chars.len() / 2..][..1].iter().collect();
    bench.write(&[request(
        "a",
        "Name a bird.",
        json!({"max_tokens": 16, "stop": stop}),
    )]);
    bench.run(&[]);
    let reply = &bench.replies()[0];
    assert_eq!(content(reply), free.split(&stop).next().unwrap());
    assert_eq!(
        reply["response"]["body"]["choices"][0]["finish_reason"],
        "stop"
    );
}

//! Templates: rendered as transformers renders them (`tests/golden/make_templates.py`), and found
//! where models keep them.

use std::fs;
use std::path::Path;

use chat_prompt::{ChatTemplate, Message, Prompter};
use serde_json::{Value, json};

use crate::fixtures;

#[test]
fn rendered_as_by_transformers() {
    let golden: Value = serde_json::from_str(include_str!("../golden/templates.json")).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let source = case["template"].as_str().unwrap();
        let special = [("bos_token", "<s>"), ("eos_token", "</s>")];
        let special = special.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        let template = ChatTemplate::new(source.to_owned(), "a test", special).unwrap();
        let turns: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        match (template.render(&turns, true), case["error"].as_str()) {
            (Ok(text), None) => assert_eq!(text, case["text"], "{name} {turns:?}"),
            (Err(error), Some(wanted)) => {
                let error = error.to_string();
                assert!(error.contains(wanted), "{name}: {error}");
                assert!(error.contains("(roles: "), "{name}: {error}");
            }
            (found, wanted) => panic!("{name}: {found:?}, transformers: {wanted:?}"),
        }
    }
}

/// A model folder with the tiny tokenizer and this configuration.
fn folder(config: Option<Value>, jinja: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = fixtures().join("tiny-model/tokenizer.json");
    fs::copy(tokenizer, dir.path().join("tokenizer.json")).unwrap();
    if let Some(config) = config {
        fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    }
    if let Some(source) = jinja {
        fs::write(dir.path().join("chat_template.jinja"), source).unwrap();
    }
    dir
}

fn rendered(dir: &Path) -> String {
    Prompter::from_dir(dir)
        .unwrap()
        .render(&[Message::user("x")], false)
        .unwrap()
}

fn error(dir: &Path) -> String {
    Prompter::from_dir(dir).unwrap_err().to_string()
}

#[test]
fn found_in_each_place() {
    let dir = folder(
        Some(json!({"chat_template": "C{{ eos_token }}", "eos_token": "E"})),
        None,
    );
    assert_eq!(rendered(dir.path()), "CE");
    let list = json!([{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]);
    let config = json!({"chat_template": list, "bos_token": {"content": "B"}});
    assert_eq!(rendered(folder(Some(config.clone()), None).path()), "D");
    assert_eq!(
        rendered(folder(Some(config), Some("J{{ bos_token }}\n")).path()),
        "JB"
    );
    assert_eq!(rendered(folder(None, Some("J{{ bos_token }}")).path()), "J");
}

#[test]
fn missing_or_wrong() {
    for config in [None, Some(json!({})), Some(json!({"chat_template": null}))] {
        let text = error(folder(config, None).path());
        assert!(text.contains("has no chat template"), "{text}");
        assert!(
            text.contains("take an instruction-tuned model such as SmolLM2"),
            "{text}"
        );
    }
    let list = json!([{"name": "rag", "template": "R"}]);
    let text = error(folder(Some(json!({"chat_template": list})), None).path());
    assert!(
        text.contains("tokenizer_config.json") && text.contains("only: rag"),
        "{text}"
    );
    let text = error(folder(Some(json!({"chat_template": 7})), None).path());
    assert!(text.contains("neither a text nor a list"), "{text}");
    let text = error(folder(None, Some("{% for m in %}")).path());
    assert!(
        text.contains("chat_template.jinja does not parse") && text.contains("line 1"),
        "{text}"
    );
}

#[test]
fn a_template_without_end_of_turn_cannot_train() {
    let source = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
                  {% if add_generation_prompt %}assistant: {% endif %}";
    let prompter = Prompter::from_dir(folder(None, Some(source)).path()).unwrap();
    let text = prompter.end_of_turn().unwrap_err().to_string();
    assert!(
        text.contains("does not end an assistant's turn") && text.contains("\"\\n\""),
        "{text}"
    );
}

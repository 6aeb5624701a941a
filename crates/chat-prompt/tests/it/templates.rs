//! Templates: rendered as transformers renders them (`tests/golden/make_templates.py`), and found
//! where models keep them.

use std::fs;
use std::path::Path;

use chat_prompt::{ChatTemplate, Date, Message, Prompter};
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

/// Templates of well-known models as TRL publishes them, on 20 conversations each
/// (`tests/golden/make_published.py`).
#[test]
fn published_templates_rendered_as_by_transformers() {
    let golden: Value = serde_json::from_str(include_str!("../golden/published.json")).unwrap();
    let special = golden["special_tokens"].as_object().unwrap().iter();
    let special: Vec<(String, String)> = special
        .map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned()))
        .collect();
    let date: Date = golden["date"].as_str().unwrap().parse().unwrap();
    let conversations = golden["conversations"].as_array().unwrap();
    let templates = golden["templates"].as_object().unwrap();
    assert!(templates.len() >= 12 && conversations.len() == 20);
    let mut wrong = Vec::new();
    for (name, case) in templates {
        let source = case["source"].as_str().unwrap().to_owned();
        let template = ChatTemplate::new(source, name, special.clone()).unwrap();
        let template = template.with_date(date);
        for (at, conversation) in conversations.iter().enumerate() {
            let turns: Vec<Message> =
                serde_json::from_value(conversation["messages"].clone()).unwrap();
            let generate = conversation["add_generation_prompt"].as_bool().unwrap();
            let found = template.render(&turns, generate);
            let wanted = case["rendered"][at].as_str();
            if found.as_deref().ok() != wanted {
                wrong.push(format!(
                    "{name}, conversation {at}:\n found {found:?}\n wanted {wanted:?}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn in_words(source: &str) -> String {
    ChatTemplate::new(source.to_owned(), "a test", vec![])
        .and_then(|template| template.render(&[Message::user("x")], true))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    for source in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% set c = a %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{{ 'x' * 100000 }}{% endfor %}",
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    ] {
        let said = in_words(source);
        assert!(said.contains("refuses these messages"), "{said}");
    }
}

#[test]
fn a_tag_that_opens_where_it_closes_is_an_error() {
    for source in ["{{%}", "{%}", "{%", "{%-%}generation%}"] {
        let new = ChatTemplate::new(source.to_owned(), "a test", vec![]);
        assert!(new.is_err(), "{source} was taken");
    }
}

#[test]
fn dates_are_set() {
    let source = "{{ strftime_now('%d %B %Y, %A %y-%m') }}".to_owned();
    let template = ChatTemplate::new(source, "a test", vec![]).unwrap();
    let date = "2026-11-24".parse().unwrap();
    let text = template.with_date(date).render(&[], false).unwrap();
    assert_eq!(text, "24 November 2026, Tuesday 26-11");
    let bad = "24.11.2026".parse::<Date>().unwrap_err().to_string();
    assert!(bad.contains("expected YYYY-MM-DD"), "{bad}");
    assert!("2026-02-30".parse::<Date>().is_err());
}

#[test]
fn json_as_python_writes_it() {
    let source = "{{ {'b': 'é\"', 'a': [1, none, true, 1.0]} | tojson(OPTIONS) }}";
    for (options, wanted) in [
        ("", r#"{"b": "é\"", "a": [1, null, true, 1.0]}"#),
        (
            "sort_keys=true",
            r#"{"a": [1, null, true, 1.0], "b": "é\""}"#,
        ),
        (
            "separators=(',', ':')",
            r#"{"b":"é\"","a":[1,null,true,1.0]}"#,
        ),
        (
            "ensure_ascii=true",
            r#"{"b": "\u00e9\"", "a": [1, null, true, 1.0]}"#,
        ),
        (
            "indent=1",
            "{\n \"b\": \"é\\\"\",\n \"a\": [\n  1,\n  null,\n  true,\n  1.0\n ]\n}",
        ),
    ] {
        let source = source.replace("OPTIONS", options);
        let template = ChatTemplate::new(source, "a test", vec![]).unwrap();
        assert_eq!(template.render(&[], false).unwrap(), wanted, "{options}");
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

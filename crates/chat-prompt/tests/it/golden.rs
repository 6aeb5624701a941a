//! Against transformers on the tiny tokenizer: `fixtures/goldens/tokens.json`.

use chat_prompt::{Message, OverflowPolicy, Prompter, RowOutcome};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{count_controls, fixtures, tiny, tiny_gguf};

fn golden() -> Value {
    let text = std::fs::read(fixtures().join("goldens/tokens.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn both() -> [&'static Prompter; 2] {
    [tiny(), tiny_gguf()]
}

#[test]
fn chats() {
    let golden = golden();
    for p in both() {
        for case in golden["chats"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let turns: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
            let generation = case["add_generation_prompt"].as_bool().unwrap();
            let text = p.render(&turns, generation).unwrap();
            assert_eq!(text, case["text"].as_str().unwrap(), "{name}");
            assert_eq!(
                p.encode_rendered(&text).unwrap(),
                ids(&case["ids"]),
                "{name}"
            );
            let chat = case.get("ids_encode_chat").unwrap_or(&case["ids"]);
            assert_eq!(
                p.encode_chat(&turns, generation).unwrap(),
                ids(chat),
                "{name}"
            );
        }
    }
}

#[test]
fn strings() {
    let golden = golden();
    for p in both() {
        for case in golden["strings"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let want = ids(&case["ids"]);
            assert_eq!(p.encode_rendered(text).unwrap(), want, "{text:?}");
            assert_eq!(p.decode(&want, false).unwrap(), case["decoded"], "{text:?}");
            assert_eq!(
                p.decode(&want, true).unwrap(),
                case["decoded_skip_special"],
                "{text:?}"
            );
            assert_eq!(
                count_controls(p, &p.encode_plain(text).unwrap()),
                0,
                "{text:?}"
            );
        }
    }
}

#[test]
fn training_rows() {
    let golden = golden();
    let data = std::fs::read_to_string(fixtures().join("dolly-mini.jsonl")).unwrap();
    let rows: Vec<Value> = data
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let shape = golden["rows_shape"].as_array().unwrap();
    assert_eq!(rows.len(), shape.len());
    for p in both() {
        let mut sha = Sha256::new();
        for (row, shape) in rows.iter().zip(shape) {
            let field = |name: &str| row[name].as_str().unwrap_or_default();
            let (instruction, context, response) =
                (field("instruction"), field("context"), field("response"));
            let outcome = p
                .training_row(
                    instruction,
                    Some(context),
                    response,
                    4096,
                    OverflowPolicy::Error,
                )
                .unwrap();
            let RowOutcome::Kept(kept) = outcome else {
                panic!("dropped")
            };
            let found = [kept.ids.len(), kept.prompt_len(), kept.supervised[0].end];
            assert_eq!(serde_json::json!(found), *shape, "{instruction}");
            sha.update(
                kept.ids
                    .iter()
                    .flat_map(|id| id.to_le_bytes())
                    .collect::<Vec<u8>>(),
            );
        }
        assert_eq!(
            format!("{:x}", sha.finalize()),
            golden["rows_sha256"].as_str().unwrap()
        );
        for row in golden["rows"].as_array().unwrap() {
            let want = ids(&row["ids"]);
            assert!(
                count_controls(p, &want) >= 6,
                "two closed turns and an answer"
            );
        }
    }
}

#[test]
fn folder_and_gguf_agree() {
    let [dir, file] = both();
    assert_eq!(dir.vocab_size(), file.vocab_size());
    assert_eq!(dir.template_source(), file.template_source());
    assert_eq!(dir.template_hash(), file.template_hash());
    assert_eq!(dir.template_hash().len(), 64);
    assert_eq!(dir.tokenizer().controls(), file.tokenizer().controls());
    assert_eq!(dir.token_id("<|im_end|>"), Some(2));
    assert_eq!(dir.end_of_turn().unwrap(), 2);
    assert_eq!(dir.token_id("no such token"), None);
}

/// Bytes without a token vanish, as in every implementation of this tokenizer.
#[test]
fn characters_without_a_token_are_dropped() {
    let p = tiny();
    let ids = p.encode_plain("a\u{4}b").unwrap();
    assert_eq!(p.decode(&ids, false).unwrap(), "ab");
}

//! Against transformers, on the real SmolLM2 tokenizer.
//!
//! Needs `SMOLTUNE_REFERENCE` (a folder with `golden/` and `data/`) and `SMOLTUNE_GGUF` (the path of
//! `SmolLM2-135M-Instruct.Q4_1.gguf`).
#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

use std::path::PathBuf;
use std::sync::OnceLock;

use chat_prompt::{Message, OverflowPolicy, Prompter, RowOutcome, user_turn};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn variable(name: &str) -> PathBuf {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("set {name} (see the top of this file)"))
        .into()
}

fn prompter() -> &'static Prompter {
    static PROMPTER: OnceLock<Prompter> = OnceLock::new();
    PROMPTER.get_or_init(|| {
        let file = gguf::GgufFile::open(variable("SMOLTUNE_GGUF")).unwrap();
        Prompter::from_gguf(&file).unwrap()
    })
}

fn golden() -> Value {
    let path = variable("SMOLTUNE_REFERENCE").join("golden/tokenizer.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn messages(value: &Value) -> Vec<Message> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn chat_rows() {
    let (p, golden) = (prompter(), golden());
    for row in golden["chat_rows"].as_array().unwrap() {
        let turns = messages(&row["messages"]);
        let prompt = p.render(&turns, true).unwrap();
        assert_eq!(prompt, row["prompt_text"].as_str().unwrap());
        assert_eq!(p.encode_rendered(&prompt).unwrap(), ids(&row["prompt_ids"]));
        assert_eq!(
            p.encode_chat(&turns, true).unwrap(),
            ids(&row["prompt_ids"])
        );

        let response = row["response"].as_str().unwrap();
        let full = [turns, vec![Message::assistant(response)]].concat();
        assert_eq!(
            p.render(&full, false).unwrap(),
            row["full_text"].as_str().unwrap()
        );
        assert_eq!(p.encode_chat(&full, false).unwrap(), ids(&row["full_ids"]));
        assert_eq!(
            p.encode_rendered(row["full_text"].as_str().unwrap())
                .unwrap(),
            ids(&row["full_ids"])
        );
        assert_eq!(p.encode_plain(response).unwrap(), ids(&row["response_ids"]));
        assert_eq!(
            p.encode_plain(&full[0].content).unwrap(),
            ids(&row["content_ids"])
        );
    }
}

#[test]
fn chat_extra() {
    let (p, golden) = (prompter(), golden());
    for case in golden["chat_extra"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let turns = messages(&case["messages"]);
        let generation = case["add_generation_prompt"].as_bool().unwrap();
        let text = p.render(&turns, generation).unwrap();
        assert_eq!(text, case["text"].as_str().unwrap(), "{name}");
        assert_eq!(
            p.encode_rendered(&text).unwrap(),
            ids(&case["ids"]),
            "{name}"
        );
        let chat = p.encode_chat(&turns, generation).unwrap();
        if name == "special-in-user" {
            assert_ne!(chat, ids(&case["ids"]));
            // The template alone makes control tokens: as many as without the user's words.
            let empty = p.encode_chat(&[Message::user("")], generation).unwrap();
            let controls = |ids: &[u32]| {
                ids.iter()
                    .filter(|id| p.tokenizer().is_control(**id))
                    .count()
            };
            assert_eq!(controls(&chat), controls(&empty));
            assert_eq!(p.decode(&chat, false).unwrap(), text);
        } else {
            assert_eq!(chat, ids(&case["ids"]), "{name}");
        }
    }
}

#[test]
fn strings() {
    let (p, golden) = (prompter(), golden());
    let cases = golden["strings"].as_array().unwrap();
    assert!(cases.len() >= 77);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let want = ids(&case["ids"]);
        assert_eq!(p.encode_rendered(text).unwrap(), want, "{text:?}");
        assert_eq!(
            p.decode(&want, false).unwrap(),
            case["decoded"].as_str().unwrap(),
            "{text:?}"
        );
        let skipped = p.decode(&want, true).unwrap();
        assert_eq!(
            skipped,
            case["decoded_skip_special"].as_str().unwrap(),
            "{text:?}"
        );

        let mut stream = p.stream();
        let mut pieces: Vec<String> = want.iter().map(|&id| stream.push(id).unwrap()).collect();
        pieces.push(stream.finish().unwrap());
        assert_eq!(pieces.concat(), skipped, "{text:?}");
    }
}

struct CsvRow {
    instruction: String,
    context: String,
    response: String,
}

fn training_rows() -> Vec<CsvRow> {
    let path = variable("SMOLTUNE_REFERENCE").join("data/dolly-train-1000.csv");
    let bytes = std::fs::read(path).unwrap();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|h| h == name).unwrap();
    let columns = [
        "original-instruction",
        "original-context",
        "original-response",
    ]
    .map(column);
    let rows = reader.records().map(|record| {
        let record = record.unwrap();
        let [instruction, context, response] = columns.map(|c| record[c].to_owned());
        CsvRow {
            instruction,
            context,
            response,
        }
    });
    rows.collect()
}

fn sha256_of_rows(encode: impl Fn(&[Message]) -> Vec<u32>) -> (String, Vec<usize>) {
    let mut sha = Sha256::new();
    let mut lens = Vec::new();
    for row in training_rows() {
        let user = Message::user(user_turn(&row.instruction, Some(&row.context)));
        let ids = encode(&[user, Message::assistant(row.response)]);
        lens.push(ids.len());
        sha.update(
            ids.iter()
                .flat_map(|id| id.to_le_bytes())
                .collect::<Vec<u8>>(),
        );
    }
    (format!("{:x}", sha.finalize()), lens)
}

#[test]
fn all_training_rows() {
    let (p, golden) = (prompter(), golden());
    let golden = &golden["train_full_text_ids"];
    let lens: Vec<usize> = serde_json::from_value(golden["lens"].clone()).unwrap();
    let rendered = sha256_of_rows(|m| p.encode_rendered(&p.render(m, false).unwrap()).unwrap());
    assert!(rendered.1 == lens, "lengths differ");
    assert_eq!(rendered.0, golden["sha256"].as_str().unwrap());
    let chat = sha256_of_rows(|m| p.encode_chat(m, false).unwrap());
    assert!(chat == rendered, "encode_chat differs from encode_rendered");
}

/// The prefix property holds on every row, under every policy, and limits are kept.
#[test]
fn training_rows_fit_and_are_prefixes() {
    let p = prompter();
    let rows = training_rows();
    for policy in [
        OverflowPolicy::Context,
        OverflowPolicy::KeepStart,
        OverflowPolicy::Drop,
    ] {
        let mut dropped = 0;
        for row in &rows {
            let context = Some(row.context.as_str());
            match p
                .training_row(&row.instruction, context, &row.response, 768, policy)
                .unwrap()
            {
                RowOutcome::Kept(kept) => {
                    assert!(kept.ids.len() <= 768);
                    if kept.truncated.is_none() {
                        // The slow way: the whole conversation as text, read by transformers' rules.
                        let user = Message::user(user_turn(&row.instruction, context));
                        let turns = [user, Message::assistant(row.response.as_str())];
                        let text = p.render(&turns, false).unwrap();
                        let rendered = p.encode_rendered(&text).unwrap();
                        assert!(rendered.starts_with(&kept.ids), "{text}");
                    }
                    assert_eq!(kept.supervised[0].end, kept.ids.len());
                    let label = p
                        .decode(&kept.ids[kept.supervised[0].clone()], false)
                        .unwrap();
                    if policy != OverflowPolicy::KeepStart {
                        assert_eq!(label, format!("{}<|im_end|>", row.response));
                    }
                }
                RowOutcome::Dropped { .. } => dropped += 1,
            }
        }
        assert!(dropped < 30, "{policy:?} drops {dropped}");
    }
}

/// Prompts of any length limit above the bare question keep question and template.
#[test]
fn prompts_keep_the_question() {
    let p = prompter();
    for row in training_rows()
        .iter()
        .filter(|r| r.context.len() > 2000)
        .take(20)
    {
        let bare = p
            .generation_prompt(&row.instruction, None, None)
            .unwrap()
            .ids
            .len();
        for limit in [bare, bare + 5, bare + 50, bare + 300] {
            let context = Some(row.context.as_str());
            let prompt = p
                .generation_prompt(&row.instruction, context, Some(limit))
                .unwrap();
            assert!(prompt.ids.len() <= limit);
            let text = p.decode(&prompt.ids, false).unwrap();
            assert!(text.contains(&row.instruction), "{text}");
            assert!(text.ends_with("<|im_end|>\n<|im_start|>assistant\n"));
            let cut = prompt.truncated.unwrap();
            assert!(row.context.ends_with(&cut.removed) && !cut.removed.is_empty());
        }
    }
}

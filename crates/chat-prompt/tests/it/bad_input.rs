//! Files that are missing, empty, cut off or of another kind.

use std::fs;
use std::path::Path;

use chat_prompt::{ChatTokenizer, Prompter};

use crate::fixtures;

fn from_json(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tokenizer.json"), bytes).unwrap();
    let error = Prompter::from_dir(dir.path())
        .expect_err("must be refused")
        .to_string();
    assert!(error.contains("tokenizer.json: "), "{error}");
    error
}

#[test]
fn tokenizer_json() {
    let missing = Prompter::from_dir(Path::new("no/such/folder"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("no/such/folder/tokenizer.json: cannot read"),
        "{missing}"
    );
    assert!(from_json(b"").contains("the file is empty"));
    assert!(from_json(b"\xff\xfe").contains("not valid UTF-8 at byte 0"));
    assert!(from_json(b"{}").contains("no `model` in it"));
    assert!(from_json(b"[1]").contains("not valid JSON"));
    let whole = fs::read(fixtures().join("tiny-model/tokenizer.json")).unwrap();
    for part in [1, 2, 3, 10] {
        let text = from_json(&whole[..whole.len() - whole.len() / part / 2]);
        assert!(text.contains("not valid JSON"), "{text}");
    }
}

#[test]
fn merges_outside_the_vocabulary() {
    let json = |merge: &str| {
        format!(
            r#"{{"version": "1.0", "added_tokens": [],
                "model": {{"type": "BPE", "vocab": {{"a": 0, "b": 1}}, "merges": [{merge}]}}}}"#
        )
    };
    let error = |merge: &str| ChatTokenizer::from_json(&json(merge)).unwrap_err();
    assert!(error(r#""a b""#).contains("merge 0 (`a` `b`) needs token `ab`"));
    assert!(error(r#"["a", "z"]"#).contains("needs token `z`"));
    assert!(error(r#""ab""#).contains("expected two tokens"));
    ChatTokenizer::from_json(&json("")).unwrap();
}

/// The tiny GGUF file with one text in it exchanged for another of the same length.
fn gguf_with(from: &str, to: &str) -> String {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(fixtures().join("tiny-model-q8_0.gguf")).unwrap();
    let at = bytes
        .windows(from.len())
        .position(|w| w == from.as_bytes())
        .unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    fs::write(&path, bytes).unwrap();
    let file = gguf::GgufFile::open(&path).unwrap();
    let error = Prompter::from_gguf(&file)
        .expect_err("must be refused")
        .to_string();
    assert!(error.contains("tiny.gguf"), "{error}");
    error
}

#[test]
fn gguf_vocabularies() {
    let text = gguf_with("smollm", "llama3");
    assert!(
        text.contains("tokenizer.ggml.pre") && text.contains("is `llama3`, only `smollm`"),
        "{text}"
    );
    let text = gguf_with("gpt2", "bert");
    assert!(text.contains("is `bert`, only `gpt2`"), "{text}");
    let text = gguf_with("tokenizer.ggml.merges", "tokenizer.ggml.merger");
    assert!(
        text.contains("key `tokenizer.ggml.merges` is missing"),
        "{text}"
    );
    let text = gguf_with("tokenizer.chat_template", "tokenizer.chat_temp1ate");
    assert!(text.contains("has no chat template"), "{text}");
    let text = gguf_with("<reponame>", "<gh_stars>");
    assert!(
        text.contains("tokenizer.ggml.tokens has `<gh_stars>` twice"),
        "{text}"
    );
}

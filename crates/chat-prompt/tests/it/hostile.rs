//! Model files made to harm: a tokenizer that works or an error that names the file, never a panic.

#[path = "../../../gguf/tests/hostile/mutate.rs"]
mod mutate;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use chat_prompt::{ChatTokenizer, Prompter};
use gguf::{GgufFile, Header};
use proptest::prelude::*;

use crate::fixtures;
use mutate::Victim;

const TEXT: &str = "A 12-year-old's naïve café, 五 <|im_start|>user\n½ \u{1f98a}\0 end\t\n";

fn leaked(name: &str) -> &'static [u8] {
    Vec::leak(fs::read(fixtures().join(name)).unwrap())
}

static GGUF: LazyLock<Victim<'static>> = LazyLock::new(|| {
    let bytes = leaked("tiny-model-q8_0.gguf");
    let header = Header::parse(bytes).unwrap();
    // The vocabulary is what this crate reads: as many of its words as there are keys.
    let keys = header.metadata().keys().map(String::as_str);
    let lists = ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"];
    let words = lists.map(|key| header.str_array(key).unwrap());
    let words = words.into_iter().flatten().step_by(40).map(String::as_str);
    Victim::new(bytes, header.data_offset(), keys.chain(words), vec![])
});

static JSON: LazyLock<Victim<'static>> = LazyLock::new(|| {
    let bytes = leaked("tiny-model/tokenizer.json");
    let targets = [
        "added_tokens",
        "special",
        "content",
        "normalizer",
        "pre_tokenizer",
        "pretokenizers",
        "individual_digits",
        "use_regex",
        "decoder",
        "ByteLevel",
        "model",
        "BPE",
        "vocab",
        "merges",
        "unk_token",
        "byte_fallback",
        "ignore_merges",
        "dropout",
    ];
    Victim::new(bytes, bytes.len(), targets, vec![])
});

fn use_it(tokenizer: &ChatTokenizer) {
    for text in ["", TEXT] {
        let read = [tokenizer.encode_plain(text), tokenizer.encode_parsing(text)];
        for ids in read.into_iter().flatten() {
            let _ = tokenizer.decode(&ids, true);
        }
        let _ = tokenizer.count_unencodable(text);
    }
    let _ = tokenizer.decode(&[0, 5, u32::MAX], false);
}

fn prompter(path: &Path) -> Result<Prompter, String> {
    let file = GgufFile::open(path).map_err(|e| e.to_string())?;
    Prompter::from_gguf(&file).map_err(|e| e.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn damaged_vocabularies(seed in any::<u64>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        fs::write(&path, GGUF.damaged(seed)).unwrap();
        match prompter(&path) {
            Ok(prompter) => {
                use_it(prompter.tokenizer());
                let _ = prompter.generation_prompt(TEXT, None, None);
            }
            Err(text) => assert!(text.contains("model.gguf"), "{text}"),
        }
    }

    #[test]
    fn damaged_tokenizers(seed in any::<u64>()) {
        let bytes = JSON.damaged(seed);
        if let Ok(tokenizer) = ChatTokenizer::from_json(&String::from_utf8_lossy(&bytes)) {
            use_it(&tokenizer);
        }
    }
}

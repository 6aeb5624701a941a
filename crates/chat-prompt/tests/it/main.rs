//! Integration tests, on the tiny model in `fixtures/`.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod audit;
mod bad_input;
mod batching;
mod conversations;
mod golden;
mod hostile;
mod mask_properties;
mod mask_views;
mod properties;
mod rows;
mod templates;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use chat_prompt::Prompter;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// The tiny model's prompter, from its folder.
fn tiny() -> &'static Prompter {
    static TINY: OnceLock<Prompter> = OnceLock::new();
    TINY.get_or_init(|| Prompter::from_dir(&fixtures().join("tiny-model")).unwrap())
}

/// The same from its GGUF file.
fn tiny_gguf() -> &'static Prompter {
    static TINY: OnceLock<Prompter> = OnceLock::new();
    TINY.get_or_init(|| {
        let file = gguf::GgufFile::open(fixtures().join("tiny-model-q8_0.gguf")).unwrap();
        Prompter::from_gguf(&file).unwrap()
    })
}

fn count_controls(prompter: &Prompter, ids: &[u32]) -> usize {
    ids.iter()
        .filter(|id| prompter.tokenizer().is_control(**id))
        .count()
}

#[test]
fn a_prompter_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Prompter>();
}

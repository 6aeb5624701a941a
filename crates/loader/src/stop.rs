//! The tokens that end an answer.

use chat_prompt::Prompter;
use smollm_model::ModelConfig;

/// Ends a turn in SmolLM2's template.
pub const END_OF_TURN: &str = "<|im_end|>";
/// Ends a document; a model that chooses it has nothing more to say either.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Ids that end an answer: `<|im_end|>` and `<|endoftext|>` where the vocabulary has them, and the
/// model's own end tokens. With `end_of_turn_alone`, `<|im_end|>` only, as the original program
/// does (the model's end tokens where there is none). Sorted, each once.
pub fn stop_ids(prompter: &Prompter, config: &ModelConfig, end_of_turn_alone: bool) -> Vec<u32> {
    let turn = prompter.token_id(END_OF_TURN);
    let mut ids: Vec<u32> = match turn {
        Some(turn) if end_of_turn_alone => vec![turn],
        _ => {
            let text = prompter
                .token_id(END_OF_TEXT)
                .filter(|_| !end_of_turn_alone);
            turn.into_iter()
                .chain(text)
                .chain(config.eos_token_ids.iter().copied())
                .collect()
        }
    };
    ids.sort_unstable();
    ids.dedup();
    ids
}

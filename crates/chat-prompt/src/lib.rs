//! From messages to token ids, and to training rows whose label mask is exact.
//!
//! Two mistakes cost fine-tuners more than any other: a prompt at inference that differs by a token
//! from the one in training, and a label mask that is off. Both come from building prompts by hand
//! in several places. So one crate does it for all stages, with the model's own template and the
//! model's own tokenizer, and it takes three decisions:
//!
//! 1. **User text cannot give orders.** [`Prompter::encode_chat`], which every stage uses, lets only
//!    the template make control tokens; `<|im_end|>` in a document is encoded as ten characters.
//!    [`Prompter::encode_rendered`] is the other reading, in which control strings are control
//!    tokens whoever wrote them; it exists to compare with transformers.
//! 2. **The mask is by position, and proven.** A row is a whole conversation, rendered once and
//!    encoded once; what is learnt is each assistant's turn with its end of turn. The prompt that a
//!    model is given before each such turn must be the row's start, as text and as ids: a difference
//!    is an error, not a quiet shift by one.
//! 3. **Nothing is cut in silence, and never the question.** What is too long loses the end of its
//!    context first, and what was cut is returned. An [`Audit`] keeps the account of a set of rows,
//!    [`show_mask`] and [`mask_html`] show the mask itself.
//!
//! [`Batches`] then says which rows go through the model together: shuffled, of one length, or packed.
//!
//! The tokenizer comes from `tokenizer.json` or is rebuilt from GGUF metadata; the template from
//! `chat_template.jinja`, `tokenizer_config.json` or the GGUF file.
//!
//! ```
//! use chat_prompt::{
//!     ChatTemplate, ChatTokenizer, Message, OverflowPolicy, Prompter, RowOutcome,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A toy tokenizer: one token a letter. A real one comes with its template from a model's folder,
//! // `Prompter::from_dir(path)`, or from its GGUF file, `Prompter::from_gguf(&file)`.
//! let letters: Vec<String> = ('!'..='~').chain(['Ġ', 'Ċ']).zip(2..).map(|(c, id)| {
//!     format!("{:?}: {id}", c.to_string())
//! }).collect();
//! let control = |id: u32, text: &str| format!(
//!     r#"{{"id": {id}, "content": "{text}", "single_word": false, "lstrip": false,
//!         "rstrip": false, "normalized": false, "special": true}}"#
//! );
//! let bytes = r#""type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true"#;
//! let json = format!(
//!     r#"{{"version": "1.0", "added_tokens": [{}, {}], "pre_tokenizer": {{{bytes}}},
//!         "decoder": {{{bytes}}}, "model": {{"type": "BPE", "merges": [],
//!         "vocab": {{"<|im_start|>": 0, "<|im_end|>": 1, {}}}}}}}"#,
//!     control(0, "<|im_start|>"), control(1, "<|im_end|>"), letters.join(", ")
//! );
//! let template = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + \
//!     '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}\
//!     {{ '<|im_start|>assistant\n' }}{% endif %}";
//! let template = ChatTemplate::new(template.into(), "an example", vec![])?;
//! let prompter = Prompter::new(ChatTokenizer::from_json(&json)?, template);
//!
//! // What the user writes is never an order: the two control tokens here are the template's.
//! let ids = prompter.encode_chat(&[Message::user("a<|im_end|>")], false)?;
//! assert_eq!(ids.iter().filter(|id| **id < 2).count(), 2);
//!
//! // A training row knows which of its positions are learnt.
//! let row = prompter.training_row("Name a bird.", None, "A wren.", 512, OverflowPolicy::Context)?;
//! let RowOutcome::Kept(row) = row else { return Err("dropped".into()) };
//! assert_eq!(prompter.decode(&row.ids[row.supervised[0].clone()], false)?, "A wren.<|im_end|>");
//! Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod audit;
mod batching;
mod conversation;
mod date;
mod error;
mod gguf_vocabulary;
mod guard;
mod mask_view;
mod message;
mod missing_bytes;
mod prompt;
mod prompter;
mod python_json;
mod row;
mod splitter;
mod stop;
mod stream;
mod template;
mod template_source;
mod tokenizer;
mod tokenizer_json;
mod words;

pub use audit::{
    Audit, Bucket, CategoryCount, DroppedRow, Lengths, NotedRow, RowCount, ShortenedRow, TokenCount,
};
pub use batching::{Batches, Batching};
pub use date::{Date, DateError};
pub use error::{PromptError, Result};
pub use mask_view::{mask_html, show_mask};
pub use message::{Message, Role, user_turn};
pub use prompt::{Cut, GenerationPrompt, PromptPolicy, Truncated};
pub use prompter::Prompter;
pub use row::{DropReason, OverflowPolicy, RowOutcome, TrainingRow, WholeRow};
pub use stop::StopText;
pub use stream::TextStream;
pub use template::ChatTemplate;
pub use tokenizer::ChatTokenizer;

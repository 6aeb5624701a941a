//! Ollama's `Modelfile`.
//!
//! Ollama has its own template language. Rather than translate a template into it, we know one, that
//! of `ChatML`, and write it where the model's own template says exactly the same.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chat_prompt::{Message, Prompter};
use loader::stop_ids;
use smollm_model::ModelConfig;
use stage::{OrExit, StageError};

/// `ChatML` in Ollama's language: each message, then the beginning of the answer.
const TEMPLATE: &str = "{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
";

/// Its name.
pub(crate) const FILE: &str = "Modelfile";

/// What Ollama reads.
pub(crate) struct Source<'a> {
    /// `FROM`: a GGUF file or a folder.
    pub(crate) from: String,
    /// `ADAPTER`: a GGUF adapter.
    pub(crate) adapter: Option<String>,
    pub(crate) prompter: &'a Prompter,
    pub(crate) config: &'a ModelConfig,
    /// The system prompt that the adapter was trained with.
    pub(crate) system: Option<&'a str>,
}

/// Writes `Modelfile` into `out`.
pub(crate) fn write(out: &Path, text: &str) -> Result<PathBuf, StageError> {
    let path = out.join(FILE);
    stage::write_text(&path, text)?;
    Ok(path)
}

/// What the file says.
///
/// # Errors
/// Exit code 3 where it cannot be said in Ollama's words.
pub(crate) fn text(source: &Source<'_>) -> Result<String, StageError> {
    let prompter = source.prompter;
    let own = default_system(prompter)?;
    let system = source.system.map(str::to_owned).or(own);
    let mut text = format!("FROM {}\n", source.from);
    if let Some(adapter) = &source.adapter {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "ADAPTER {adapter}");
    }
    let _ = writeln!(text, "TEMPLATE \"\"\"{TEMPLATE}\"\"\"");
    if let Some(system) = system {
        if system.contains("\"\"\"") {
            return Err(StageError::bad_data(
                "the system prompt holds three quotation marks, which a Modelfile cannot",
            ));
        }
        let _ = writeln!(text, "SYSTEM \"\"\"{system}\"\"\"");
    }
    for id in stop_ids(prompter, source.config, false) {
        if let Some(token) = prompter.tokenizer().token(id) {
            let _ = writeln!(text, "PARAMETER stop {}", serde_json::json!(token));
        }
    }
    Ok(text)
}

/// The system prompt that the model's template puts in front where a conversation has none.
///
/// # Errors
/// The template is not `ChatML`.
fn default_system(prompter: &Prompter) -> Result<Option<String>, StageError> {
    let turns = [
        Message::user("Marco"),
        Message::assistant("Polo"),
        Message::user("Again?"),
    ];
    let rendered = |messages: &[Message]| prompter.render(messages, true).or_bad_data();
    let with = [&[Message::system("Be brief.")], &turns[..]].concat();
    let chat_ml = |messages: &[Message]| {
        let turn = |m: &Message| format!("<|im_start|>{}\n{}<|im_end|>\n", m.role, m.content);
        let turns: String = messages.iter().map(turn).collect();
        format!("{turns}<|im_start|>assistant\n")
    };
    let not = || {
        StageError::bad_data(
            "the model's chat template is not ChatML, the only one that is written as an Ollama \
             template; leave --modelfile out and write the Modelfile by hand",
        )
    };
    if rendered(&with)? != chat_ml(&with) {
        return Err(not());
    }
    let bare = rendered(&turns)?;
    let front = bare.strip_suffix(&chat_ml(&turns)).ok_or_else(not)?;
    if front.is_empty() {
        return Ok(None);
    }
    let system = front.strip_prefix("<|im_start|>system\n");
    let system = system.and_then(|text| text.strip_suffix("<|im_end|>\n"));
    system.map(|text| Some(text.to_owned())).ok_or_else(not)
}

//! What can go wrong between messages and token ids.

use std::path::{Path, PathBuf};

/// Shorthand for this crate's results.
pub type Result<T, E = PromptError> = std::result::Result<T, E>;

/// Errors name the file or key, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// A file could not be read.
    #[error("{}: cannot read the file: {problem}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        problem: std::io::Error,
    },
    /// A file is there, but not what its name says.
    #[error("{}: {problem}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        problem: String,
    },
    /// The GGUF file is damaged or lacks a key.
    #[error(transparent)]
    Gguf(#[from] gguf::GgufError),
    /// The GGUF file's vocabulary cannot be rebuilt faithfully.
    #[error("{origin}: {problem}")]
    GgufVocabulary {
        /// The file.
        origin: String,
        /// Key, found and expected.
        problem: String,
    },
    /// The model brings no chat template.
    #[error(
        "{origin} has no chat template (looked for {looked_for}); take an instruction-tuned model \
         such as SmolLM2-135M-Instruct rather than a base model, or put the template of one into \
         a file chat_template.jinja beside tokenizer.json"
    )]
    MissingTemplate {
        /// The folder or file.
        origin: String,
        /// The places where a template may stand.
        looked_for: &'static str,
    },
    /// The chat template does not parse.
    #[error("the chat template of {origin} does not parse: {problem}")]
    TemplateSyntax {
        /// Where it came from.
        origin: String,
        /// The template engine's words, with the line.
        problem: String,
    },
    /// The chat template failed on these messages, or refused them by `raise_exception`.
    #[error("the chat template refuses these messages (roles: {roles}): {problem}")]
    Render {
        /// The roles, in order.
        roles: String,
        /// The template's or the engine's words.
        problem: String,
    },
    /// A role that holds a control string: a role is not user text and cannot be made harmless.
    #[error("role `{role}` contains the control string `{control}`; use a plain word")]
    Role {
        /// The role.
        role: String,
        /// The control string within it.
        control: String,
    },
    /// The tokenizer failed.
    #[error("the tokenizer failed on text that starts with {start:?}: {problem}")]
    Encode {
        /// The first characters of the text.
        start: String,
        /// The tokenizer's words.
        problem: String,
    },
    /// The tokenizer failed to turn ids into text.
    #[error("the tokenizer failed to decode {count} ids: {problem}")]
    Decode {
        /// How many ids.
        count: usize,
        /// The tokenizer's words.
        problem: String,
    },
    /// The tokenizer could not be written as a `tokenizer.json`.
    #[error("the tokenizer cannot be written as a tokenizer.json: {problem}")]
    Serialize {
        /// The tokenizer's words.
        problem: String,
    },
    /// Ordinary text came out as a control id, in spite of every guard.
    #[error(
        "text that starts with {start:?} would become the control token `{token}` (id {id}); \
         refused, because text may not give orders"
    )]
    ControlFromText {
        /// The first characters of the text.
        start: String,
        /// The control token.
        token: String,
        /// Its id.
        id: u32,
    },
    /// Every private-use character of Unicode occurs in the messages.
    #[error("the messages use up every private-use character of Unicode; none is left as a guard")]
    NoGuard,
    /// Instruction and template alone are over the limit.
    #[error(
        "the prompt is longer than {limit} tokens: instruction and template alone take {needed}; \
         raise the limit or shorten the instruction that starts with {start:?}"
    )]
    PromptTooLong {
        /// Tokens that instruction and template take.
        needed: usize,
        /// The limit.
        limit: usize,
        /// The first characters of the instruction.
        start: String,
    },
    /// A training row is over the limit, and the policy says that this is an error.
    #[error(
        "the training row is {needed} tokens long, the limit is {limit}; raise the limit or choose \
         another overflow policy (instruction starts with {start:?})"
    )]
    RowTooLong {
        /// Tokens of the row.
        needed: usize,
        /// The limit.
        limit: usize,
        /// The first characters of the instruction.
        start: String,
    },
    /// The prompt, or the answer after it, is not the start of the whole conversation's text.
    #[error(
        "prompt and answer do not stand in the whole conversation as they are: at character {at} \
         they go on with {row:?}, the conversation with {conversation:?} (the row starts with \
         {start:?}); the chat template changes what it is given, so the label mask would be wrong"
    )]
    NotAPrefix {
        /// The first character where they differ.
        at: usize,
        /// How prompt and answer go on there.
        row: String,
        /// How the conversation goes on there.
        conversation: String,
        /// The first characters of the row.
        start: String,
    },
    /// The prompt's ids are not the start of the row's ids: a token spans its end.
    #[error(
        "the prompt does not tokenise as it does with the answer after it: it has {prompt} where \
         the row has {row} (the row starts with {start:?}); remove white space from the start of \
         the answer, or leave the row out"
    )]
    PromptMerges {
        /// Id and token of the prompt where they differ.
        prompt: String,
        /// Id and token of the row there.
        row: String,
        /// The first characters of the row.
        start: String,
    },
    /// The token after an assistant's turn is not the one that ends turns.
    #[error(
        "an assistant's turn is followed by {found} instead of the token that ends turns, so a model \
         would not learn to stop (the row starts with {start:?})"
    )]
    EndOfTurn {
        /// Id and token found.
        found: String,
        /// The first characters of the row.
        start: String,
    },
    /// A conversation without an assistant's turn that could be learnt.
    #[error(
        "no supervised token: the conversation that starts with {start:?} has no assistant's turn, \
         or its template does not write one"
    )]
    NothingSupervised {
        /// The first characters of the row.
        start: String,
    },
    /// The template does not close an assistant's turn with a control token.
    #[error(
        "the chat template does not end an assistant's turn with a control token, so a model could \
         not learn to stop; found after the answer: {found:?}"
    )]
    NoEndOfTurn {
        /// The text after the answer.
        found: String,
    },
}

impl PromptError {
    pub(crate) fn bad_file(path: &Path, problem: impl Into<String>) -> Self {
        Self::BadFile {
            path: path.to_path_buf(),
            problem: problem.into(),
        }
    }
}

/// The first characters of a text, for messages.
pub(crate) fn start_of(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Reads a text file, with an error that names it.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let io = |problem| PromptError::Io {
        path: path.to_path_buf(),
        problem,
    };
    // The path may be a link to anything: a device has no end, a pipe waits.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(PromptError::bad_file(path, "it is not a regular file"));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        PromptError::bad_file(path, format!("not valid UTF-8 at byte {at}"))
    })
}

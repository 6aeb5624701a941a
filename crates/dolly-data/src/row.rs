//! Rows: what a source holds ([`Record`]) and what training and evaluation see of it ([`Row`]).

use std::fmt::{self, Write as _};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// One instruction with its answer: the standard view of a source's record.
///
/// `instruction` and `response` hold more than white space; `context` is `None` when it holds
/// nothing else. No text is trimmed or changed. Serialises as Dolly does: an absent context is the
/// empty string; `messages` and `leak` are left out where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// The source's id, or its zero-based index where the source has none.
    pub id: String,
    /// The kind of task, as Dolly names it (`open_qa`, `summarization`, …); may be empty.
    pub category: String,
    /// The question or task.
    pub instruction: String,
    /// Reference text that the instruction speaks of.
    pub context: Option<String>,
    /// The reference answer.
    pub response: String,
    /// The whole conversation, where it is more than one question with its answer: several turns,
    /// or a system turn. `instruction` and `response` are then its last user and its last assistant
    /// turn. Empty for every other row.
    pub messages: Vec<Turn>,
    /// For a test row: the gravest way in which training has seen it already, where a leakage audit
    /// found one.
    pub leak: Option<LeakKind>,
}

impl Row {
    /// What tells the row from every other: 16 hexadecimal digits of the SHA-256 of its texts. Rows
    /// of the same content have the same key, whatever their ids; every stage carries it along.
    pub fn key(&self) -> String {
        let context = self.context.as_deref().unwrap_or_default();
        let mut hasher = Sha256::new();
        // Lengths in front keep the fields apart whatever they hold.
        let mut add = |text: &str| {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        };
        for text in [self.instruction.as_str(), context, &self.response] {
            add(text);
        }
        for turn in &self.messages {
            add(&turn.role);
            add(&turn.content);
        }
        let digest = hasher.finalize();
        digest[..8]
            .iter()
            .fold(String::with_capacity(16), |mut key, byte| {
                // Writing to a String cannot fail.
                let _ = write!(key, "{byte:02x}");
                key
            })
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// How a test row overlaps with training rows, the gravest kind first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeakKind {
    /// The same instruction and context, byte for byte.
    Exact,
    /// The same words in instruction and context: case, punctuation and spacing aside.
    Normalised,
    /// Nearly the same words in instruction and context.
    Near,
    /// The answer stands in the context of a training row.
    AnswerInContext,
    /// Another instruction about the same context (its words, as above).
    SharedContext,
}

impl LeakKind {
    /// The word that stands for it in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Normalised => "normalised",
            Self::Near => "near",
            Self::AnswerInContext => "answer_in_context",
            Self::SharedContext => "shared_context",
        }
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = 6 + usize::from(!self.messages.is_empty()) + usize::from(self.leak.is_some());
        let mut row = serializer.serialize_struct("Row", fields)?;
        row.serialize_field("id", &self.id)?;
        row.serialize_field("category", &self.category)?;
        row.serialize_field("instruction", &self.instruction)?;
        row.serialize_field("context", self.context.as_deref().unwrap_or_default())?;
        row.serialize_field("response", &self.response)?;
        row.serialize_field("key", &self.key())?;
        if !self.messages.is_empty() {
            row.serialize_field("messages", &self.messages)?;
        }
        if let Some(leak) = &self.leak {
            row.serialize_field("leak", leak)?;
        }
        row.end()
    }
}

/// One annotator's version of a text, from a curated `new-*` column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Submission {
    /// The text; `None` where the annotator left none.
    pub value: Option<String>,
    /// Who wrote it, where known.
    pub user_id: Option<String>,
    /// `submitted`, `discarded`, …, where known.
    pub status: Option<String>,
}

/// A text of a record: the original, and what annotators made of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Field {
    /// From the column `x`, else `original-x`; empty where there is neither.
    pub original: String,
    /// From the column `new-x`, in the order of the source.
    pub curated: Vec<Submission>,
}

impl Field {
    /// The text that counts in a view; empty when there is none.
    pub fn text(&self, view: View) -> &str {
        let original = || Some(self.original.as_str()).filter(|text| !is_blank(text));
        let curated = |accepts: fn(&Submission) -> bool| {
            let accepted = self.curated.iter().filter(move |s| accepts(s));
            let mut texts = accepted.filter_map(|s| s.value.as_deref());
            texts.find(|text| !is_blank(text))
        };
        let found = match view {
            View::Original => original().or_else(|| curated(|_| true)),
            View::Curated => curated(Submission::is_submitted),
            View::PreferCurated => curated(Submission::is_submitted).or_else(original),
        };
        found.unwrap_or_default()
    }
}

impl Submission {
    /// Whether the annotator handed it in; a submission that does not say counts as handed in.
    fn is_submitted(&self) -> bool {
        self.status
            .as_deref()
            .is_none_or(|status| status == "submitted")
    }
}

/// Which texts of a curated source count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// The original; where it is blank, the first curated text that is not.
    #[default]
    Original,
    /// The first curated text that was submitted and is not blank, and nothing else.
    Curated,
    /// That text; where there is none, the original.
    PreferCurated,
}

impl View {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Original, "original"),
        (Self::Curated, "curated"),
        (Self::PreferCurated, "prefer-curated"),
    ];
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(view, _)| view == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for View {
    type Err = ViewError;

    fn from_str(text: &str) -> Result<Self, ViewError> {
        let found = Self::ALL
            .iter()
            .find(|(_, name)| *name == text.replace('_', "-"));
        found
            .map(|(view, _)| *view)
            .ok_or_else(|| ViewError(text.to_owned()))
    }
}

/// A word that names no [`View`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found `{0}`, expected original, curated or prefer-curated")]
pub struct ViewError(String);

/// A row as the source has it, before any view is taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The source's id, or the record's zero-based index where there is none.
    pub id: String,
    /// The category; may be empty.
    pub category: String,
    /// The instruction.
    pub instruction: Field,
    /// The context.
    pub context: Field,
    /// The response.
    pub response: Field,
    /// The conversation, where the source has one.
    pub messages: Vec<Turn>,
    /// What an earlier leakage audit wrote.
    pub leak: Option<LeakKind>,
    /// The line of the file on which the record starts, from one; of a Parquet file, the row.
    pub line: u64,
}

impl Record {
    /// The row that the record is in a view. A conversation's instruction and response are its last
    /// two turns; one of just these two is a plain row.
    ///
    /// # Errors
    /// The reason for which the record cannot be used.
    pub fn to_row(&self, view: View) -> Result<Row, DropReason> {
        let [instruction, context, response] = match self.messages.as_slice() {
            [.., user, assistant] => {
                let text = |turn: &'_ Turn| !is_blank(&turn.content);
                let [user, assistant] =
                    [user, assistant].map(|t| if text(t) { t.content.as_str() } else { "" });
                [user, "", assistant]
            }
            _ => [&self.instruction, &self.context, &self.response].map(|f| f.text(view)),
        };
        match (instruction.is_empty(), response.is_empty()) {
            (true, true) => Err(DropReason::Blank),
            (true, false) => Err(DropReason::NoInstruction),
            (false, true) => Err(DropReason::NoResponse),
            (false, false) => Ok(Row {
                id: self.id.clone(),
                category: self.category.clone(),
                instruction: instruction.to_owned(),
                context: (!context.is_empty()).then(|| context.to_owned()),
                response: response.to_owned(),
                messages: if self.messages.len() > 2 {
                    self.messages.clone()
                } else {
                    Vec::new()
                },
                leak: self.leak,
            }),
        }
    }
}

/// Why a record was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropReason {
    /// The instruction is blank in every version.
    NoInstruction,
    /// The response is blank in every version.
    NoResponse,
    /// Both are blank.
    Blank,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoInstruction => "no instruction",
            Self::NoResponse => "no response",
            Self::Blank => "neither instruction nor response",
        })
    }
}

/// A record that has no place among the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Zero-based index in the source.
    pub index: usize,
    /// The record's id.
    pub id: String,
    /// Why.
    pub reason: DropReason,
}

/// Rows, and the records that were dropped on the way to them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The usable rows, in order.
    pub rows: Vec<Row>,
    /// The others, in order.
    pub dropped: Vec<Dropped>,
}

/// Nothing but white space, by Python's notion of it (`str.strip`), which has four control
/// characters more than Unicode's property.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

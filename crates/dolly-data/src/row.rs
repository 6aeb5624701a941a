//! Rows: what a source holds ([`Record`]) and what training and evaluation see of it ([`Row`]).

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// One instruction with its answer: the standard view of a source's record.
///
/// `instruction` and `response` hold more than white space; `context` is `None` when it holds
/// nothing else. No text is trimmed or changed. Serialises as Dolly does: an absent context is the
/// empty string; `messages` and `leak` are left out where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Row {
    /// The source's id, or its zero-based index where the source has none.
    pub id: String,
    /// The kind of task, as Dolly names it (`open_qa`, `summarization`, …); may be empty.
    pub category: String,
    /// The question or task.
    pub instruction: String,
    /// Reference text that the instruction speaks of.
    #[serde(serialize_with = "empty_if_none")]
    pub context: Option<String>,
    /// The reference answer.
    pub response: String,
    /// The whole conversation, where it is more than one question with its answer: several turns,
    /// or a system turn. `instruction` and `response` are then its last user and its last assistant
    /// turn. Empty for every other row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Turn>,
    /// For a test row: the gravest way in which training has seen it already, where a leakage audit
    /// found one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leak: Option<LeakKind>,
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

#[expect(clippy::ref_option, reason = "serde prescribes the signature")]
fn empty_if_none<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.as_deref().unwrap_or_default())
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
    /// The original, or when that is blank the first curated text that is not; empty when all are.
    pub fn standard(&self) -> &str {
        let curated = self.curated.iter().filter_map(|s| s.value.as_deref());
        std::iter::once(self.original.as_str())
            .chain(curated)
            .find(|text| !is_blank(text))
            .unwrap_or_default()
    }
}

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
    /// The line of the file on which the record starts, from one.
    pub line: u64,
}

impl Record {
    /// The standard view: the original text of each field, its curated text where that is blank.
    ///
    /// # Errors
    /// The reason for which the record cannot be used.
    pub fn to_row(&self) -> Result<Row, DropReason> {
        let [instruction, context, response] =
            [&self.instruction, &self.context, &self.response].map(Field::standard);
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
                ..Row::default()
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

//! What a set of training rows is made of, and what became of those that did not fit.
//!
//! [`Prompter::training_row`] proves each row; an [`Audit`] keeps the account. It holds numbers and
//! the names of the rows that a person should look at, no texts. Rows may be audited in parallel:
//! each thread keeps an account of its own, and [`Audit::merge`] joins them in the rows' order.

mod lengths;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

pub use lengths::{Bucket, Lengths};

use crate::prompt::Cut;
use crate::prompter::Prompter;
use crate::row::{DropReason, OverflowPolicy, RowOutcome, TrainingRow, WholeRow};

/// The account of a set of rows. As JSON it is what stages write to `audit.json`; `lengths` there is
/// [`Audit::lengths`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    /// The longest row allowed, in tokens.
    pub max_seq_len: usize,
    /// What was done with longer ones.
    pub policy: OverflowPolicy,
    /// Rows by what became of them.
    pub rows: RowCount,
    /// Tokens of the rows kept.
    pub tokens: TokenCount,
    /// Tokens of each row kept, in the order of the rows.
    #[serde(serialize_with = "summary")]
    lengths: Vec<usize>,
    /// The same for each category.
    pub categories: BTreeMap<String, CategoryCount>,
    /// Every row that was shortened.
    pub shortened: Vec<ShortenedRow>,
    /// Every row that was left out.
    pub dropped: Vec<DroppedRow>,
    /// Rows, kept or not, whose messages hold control strings. These were encoded as text.
    pub control_strings: Vec<NotedRow>,
    /// Rows, kept or not, with characters that the vocabulary cannot encode. These are lost.
    pub unencodable: Vec<NotedRow>,
    #[serde(skip)]
    end_of_turn: Option<u32>,
}

/// Rows by what became of them; the last four add up to `read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RowCount {
    /// All.
    pub read: usize,
    /// Kept as they are.
    pub whole: usize,
    /// Kept with a shorter context.
    pub context_shortened: usize,
    /// Kept without their end.
    pub end_cut: usize,
    /// Left out.
    pub dropped: usize,
    /// Of those kept, rows that hold no end of turn at their end, so that nothing in them teaches to
    /// stop there.
    pub without_end_of_turn: usize,
}

impl RowCount {
    /// Rows to train on.
    pub fn kept(&self) -> usize {
        self.read - self.dropped
    }
}

/// Tokens of the rows kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TokenCount {
    /// All.
    pub all: usize,
    /// Those that are learnt.
    pub supervised: usize,
    /// The others: prompts and what the template writes.
    pub prompt: usize,
}

impl TokenCount {
    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.supervised += other.supervised;
        self.prompt += other.prompt;
    }
}

/// The rows of one category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CategoryCount {
    /// Rows kept.
    pub rows: usize,
    /// Rows left out.
    pub dropped: usize,
    /// Tokens of the rows kept.
    pub tokens: TokenCount,
}

/// A row that was shortened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShortenedRow {
    /// The row's id.
    pub id: String,
    /// The hash of its content.
    pub key: String,
    /// Which part was cut.
    pub cut: Cut,
    /// Tokens before.
    pub ids_before: usize,
    /// Tokens after.
    pub ids_after: usize,
}

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DroppedRow {
    /// The row's id.
    pub id: String,
    /// The hash of its content.
    pub key: String,
    /// Tokens of the whole row.
    pub ids_before: usize,
    /// Why, with the tokens that it still had after whatever the policy could cut.
    #[serde(flatten)]
    pub reason: DropReason,
}

/// A row in which something occurs so many times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotedRow {
    /// The row's id.
    pub id: String,
    /// The hash of its content.
    pub key: String,
    /// How many times.
    pub count: usize,
}

impl Audit {
    /// An account of no rows yet, for rows that this prompter encodes under this limit and policy.
    pub fn new(prompter: &Prompter, max_seq_len: usize, policy: OverflowPolicy) -> Self {
        Self {
            max_seq_len,
            policy,
            rows: RowCount::default(),
            tokens: TokenCount::default(),
            lengths: Vec::new(),
            categories: BTreeMap::new(),
            shortened: Vec::new(),
            dropped: Vec::new(),
            control_strings: Vec::new(),
            unencodable: Vec::new(),
            // Without one no row can be encoded, and that error says more.
            end_of_turn: prompter.end_of_turn().ok(),
        }
    }

    /// Enters a row. `key` is the hash of its content, by which later stages know it.
    pub fn add(&mut self, id: &str, key: &str, category: &str, outcome: &RowOutcome) {
        self.rows.read += 1;
        let category = self.categories.entry(category.to_owned()).or_default();
        let (id, key) = (id.to_owned(), key.to_owned());
        match outcome {
            RowOutcome::Kept(row) => {
                let tokens = count(row);
                category.rows += 1;
                category.tokens.add(tokens);
                self.tokens.add(tokens);
                self.lengths.push(row.ids.len());
                self.rows.without_end_of_turn +=
                    usize::from(row.ids.last().copied() != self.end_of_turn);
                self.note(&id, &key, row.whole);
                self.add_cut(id, key, row);
            }
            &RowOutcome::Dropped { reason, whole } => {
                category.dropped += 1;
                self.rows.dropped += 1;
                self.note(&id, &key, whole);
                let ids_before = whole.tokens;
                self.dropped.push(DroppedRow {
                    id,
                    key,
                    ids_before,
                    reason,
                });
            }
        }
    }

    fn add_cut(&mut self, id: String, key: String, row: &TrainingRow) {
        let Some(truncated) = &row.truncated else {
            self.rows.whole += 1;
            return;
        };
        match truncated.cut {
            Cut::Context => self.rows.context_shortened += 1,
            Cut::End | Cut::Turns => self.rows.end_cut += 1,
        }
        self.shortened.push(ShortenedRow {
            id,
            key,
            cut: truncated.cut,
            ids_before: truncated.ids_before,
            ids_after: truncated.ids_after,
        });
    }

    fn note(&mut self, id: &str, key: &str, whole: WholeRow) {
        let lists = [
            (&mut self.control_strings, whole.control_strings),
            (&mut self.unencodable, whole.unencodable),
        ];
        for (list, count) in lists {
            if count > 0 {
                let (id, key) = (id.to_owned(), key.to_owned());
                list.push(NotedRow { id, key, count });
            }
        }
    }

    /// Joins the account of the rows that follow, made with the same prompter, limit and policy.
    pub fn merge(&mut self, next: Self) {
        let RowCount {
            read,
            whole,
            context_shortened,
            end_cut,
            dropped,
            without_end_of_turn,
        } = next.rows;
        self.rows.read += read;
        self.rows.whole += whole;
        self.rows.context_shortened += context_shortened;
        self.rows.end_cut += end_cut;
        self.rows.dropped += dropped;
        self.rows.without_end_of_turn += without_end_of_turn;
        self.tokens.add(next.tokens);
        for (name, count) in next.categories {
            let category = self.categories.entry(name).or_default();
            category.rows += count.rows;
            category.dropped += count.dropped;
            category.tokens.add(count.tokens);
        }
        self.lengths.extend(next.lengths);
        self.shortened.extend(next.shortened);
        self.dropped.extend(next.dropped);
        self.control_strings.extend(next.control_strings);
        self.unencodable.extend(next.unencodable);
    }

    /// How long the rows kept are.
    pub fn lengths(&self) -> Lengths {
        Lengths::of(&self.lengths)
    }
}

fn count(row: &TrainingRow) -> TokenCount {
    let all = row.ids.len();
    let supervised = row.supervised.iter().map(ExactSizeIterator::len).sum();
    let prompt = all - supervised;
    TokenCount {
        all,
        supervised,
        prompt,
    }
}

fn summary<S: Serializer>(lengths: &[usize], serializer: S) -> Result<S::Ok, S::Error> {
    Lengths::of(lengths).serialize(serializer)
}

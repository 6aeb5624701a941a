//! What came of it, for scripts (as JSON) and for [`crate::text`].

use std::collections::BTreeMap;

use chat_prompt::Audit;
use dolly_data::{Dropped, LeakReport, Loaded, Row, Source};
use serde::Serialize;

use crate::origin::{HubOrigin, Origin};

/// The outcome of the stage.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The file that was read.
    pub source: String,
    /// Its place on the hub, if it came from there.
    pub hub: Option<HubOrigin>,
    /// `csv`, `jsonl`, `json` or `parquet`.
    pub format: String,
    /// Which texts of a curated source count.
    pub view: String,
    /// Records in the file, the unusable ones included.
    pub rows_read: usize,
    /// Records with an instruction and a response.
    pub rows_usable: usize,
    /// Why the others are not usable: how many for each reason.
    pub unusable: BTreeMap<String, usize>,
    /// Ids that more than one record has.
    pub repeated_ids: usize,
    /// Usable rows in each category.
    pub categories: BTreeMap<String, usize>,
    /// Usable rows with a context.
    pub with_context: usize,
    /// Usable rows of several turns, or with a system turn of their own.
    pub conversations: usize,
    /// The split, if one was written.
    #[serde(flatten)]
    pub split: Option<SplitSummary>,
    /// The folds, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub folds: Vec<SplitSummary>,
    /// What a person should know besides.
    pub notes: Vec<String>,
    /// The rows asked for with `--show`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<Row>,
    /// The rows asked for with `--show-mask`, as text for a terminal.
    #[serde(skip)]
    pub masks: Vec<String>,
}

impl Summary {
    pub(crate) fn new(origin: &Origin, source: &Source, all: &Loaded) -> Self {
        let mut unusable = BTreeMap::new();
        for dropped in &all.dropped {
            *unusable.entry(dropped.reason.to_string()).or_default() += 1;
        }
        let mut categories = BTreeMap::new();
        for row in &all.rows {
            *categories.entry(row.category.clone()).or_default() += 1;
        }
        let count = |is: fn(&Row) -> bool| all.rows.iter().filter(|row| is(row)).count();
        Self {
            source: source.path().display().to_string(),
            hub: origin.hub.clone(),
            format: format!("{:?}", source.format()).to_lowercase(),
            view: source.text_view().to_string(),
            rows_read: source.len(),
            rows_usable: all.rows.len(),
            unusable,
            repeated_ids: 0,
            categories,
            with_context: count(|row| row.context.is_some()),
            conversations: count(|row| !row.messages.is_empty()),
            split: None,
            folds: Vec::new(),
            notes: Vec::new(),
            shown: Vec::new(),
            masks: Vec::new(),
        }
    }

    /// The source in a line.
    pub(crate) fn origin(&self) -> String {
        self.hub.as_ref().map_or_else(
            || format!("{} ({})", self.source, self.format),
            |hub| {
                format!(
                    "{} {} at {} ({})",
                    hub.id, hub.file, hub.commit, self.format
                )
            },
        )
    }
}

/// A split that was written.
#[derive(Debug, Clone, Serialize)]
pub struct SplitSummary {
    /// The seed that gave it.
    pub seed: u64,
    /// How rows were drawn.
    pub rule: String,
    /// The test set.
    pub test: Part,
    /// The training set.
    pub train: Part,
    /// The validation set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val: Option<Part>,
    /// From which similarity on two texts are near duplicates.
    pub near_threshold: f64,
    /// What stands on both sides, and what a side has more than once.
    pub leaks: LeakReport,
    /// What the label masks gave, where a model was named.
    pub audit: Option<MaskAudit>,
    /// The files, the manifest last.
    pub files: Vec<String>,
}

/// One side of the split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Records drawn.
    pub asked: usize,
    /// Rows written.
    pub rows: usize,
    /// Records drawn but unusable.
    pub dropped: Vec<Dropped>,
    /// Ids of rows that were left out because a test or validation row stands in them.
    pub dropped_leaks: Vec<String>,
}

/// The audit of every part's rows.
#[derive(Debug, Clone, Serialize)]
pub struct MaskAudit {
    /// The model whose tokenizer and template made the rows.
    pub model: String,
    /// SHA-256 of the template.
    pub template: String,
    /// The system prompt, if one was given.
    pub system: Option<String>,
    /// The longest row allowed.
    pub max_seq_len: usize,
    /// What happened to longer ones.
    pub on_truncate: String,
    /// Each part's.
    pub parts: BTreeMap<String, Audit>,
}

impl SplitSummary {
    /// The parts by name.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, &Part)> {
        let val = self.val.as_ref().map(|val| ("val", val));
        [("train", &self.train), ("test", &self.test)]
            .into_iter()
            .chain(val)
    }
}

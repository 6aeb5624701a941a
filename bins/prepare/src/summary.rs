//! What came of it, for scripts (as JSON) and for [`crate::text`].

use std::collections::BTreeMap;

use dolly_data::{Dropped, LeakKind, Loaded, Overlap, Part, Row, Source, Split, SplitSpec};
use serde::Serialize;

use crate::origin::{HubOrigin, Origin};

/// The outcome of the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The file that was read.
    pub source: String,
    /// Its place on the hub, if it came from there.
    pub hub: Option<HubOrigin>,
    /// `csv`, `jsonl` or `json`.
    pub format: String,
    /// Records in the file, the unusable ones included.
    pub rows_read: usize,
    /// Records with an instruction and a response.
    pub rows_usable: usize,
    /// Why the others are not usable: how many for each reason.
    pub unusable: BTreeMap<String, usize>,
    /// Usable rows in each category.
    pub categories: BTreeMap<String, usize>,
    /// Usable rows with a context.
    pub with_context: usize,
    /// The split, if one was written.
    #[serde(flatten)]
    pub split: Option<SplitSummary>,
    /// What a person should know besides.
    pub notes: Vec<String>,
    /// The rows asked for with `--show`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<Row>,
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
        Self {
            source: source.path().display().to_string(),
            hub: origin.hub.clone(),
            format: format!("{:?}", source.format()).to_lowercase(),
            rows_read: source.len(),
            rows_usable: all.rows.len(),
            unusable,
            categories,
            with_context: all.rows.iter().filter(|r| r.context.is_some()).count(),
            split: None,
            notes: Vec::new(),
            shown: Vec::new(),
        }
    }
}

/// The split that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SplitSummary {
    /// The seed that gave it.
    pub seed: u64,
    /// The test set.
    pub test: PartSummary,
    /// The training set.
    pub train: PartSummary,
    /// Test rows that training has seen.
    pub overlaps: OverlapSummary,
    /// The files, the manifest last.
    pub files: Vec<String>,
}

/// One side of the split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartSummary {
    /// Records drawn.
    pub asked: usize,
    /// Rows written.
    pub rows: usize,
    /// Records drawn but unusable.
    pub dropped: Vec<Dropped>,
}

/// Test rows that overlap with training rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OverlapSummary {
    /// Test rows with the same instruction and context.
    pub exact: usize,
    /// Test rows with the same words in instruction and context.
    pub normalised: usize,
    /// Test rows about a context that training has too.
    pub shared_context: usize,
    /// Each of them. They were kept.
    pub rows: Vec<Overlap>,
}

impl SplitSummary {
    pub(crate) fn new(spec: &SplitSpec, split: &Split, leaks: Vec<Overlap>) -> Self {
        let part = |part: &Part| PartSummary {
            asked: part.asked,
            rows: part.rows.len(),
            dropped: part.dropped.clone(),
        };
        let count = |kind| leaks.iter().filter(|leak| leak.kind == kind).count();
        Self {
            seed: spec.seed,
            test: part(&split.test),
            train: part(&split.train),
            overlaps: OverlapSummary {
                exact: count(LeakKind::Exact),
                normalised: count(LeakKind::Normalised),
                shared_context: count(LeakKind::SharedContext),
                rows: leaks,
            },
            files: Vec::new(),
        }
    }
}

//! The parts of a split, and what is found in them.

use std::collections::BTreeMap;

use chat_prompt::{mask_html, show_mask};
use dolly_data::{Dropped, LeakAudit, LeakOptions, Part as Drawn, Row, Split, drop_leaks, flag};
use stage::StageError;

use crate::args::{Args, Stratify};
use crate::audit::Auditor;
use crate::encoding;
use crate::summary::{MaskAudit, Part, SplitSummary};

/// The rows of a split.
pub(crate) struct Parts {
    pub(crate) train: Vec<Row>,
    pub(crate) test: Vec<Row>,
    pub(crate) val: Vec<Row>,
    /// Whether a validation set was asked for.
    pub(crate) has_val: bool,
    /// What each part left out, and how many records it asked for: train, test, val.
    drawn: [(usize, Vec<Dropped>); 3],
    /// Every row that stands in two parts, or twice in one.
    pub(crate) leaks: Option<LeakAudit>,
}

impl Parts {
    pub(crate) fn new(split: Split) -> Self {
        let Split { test, val, train } = split;
        let has_val = val.asked > 0;
        let apart = |part: Drawn| (part.rows, (part.asked, part.dropped));
        let [(train, in_train), (test, in_test), (val, in_val)] = [train, test, val].map(apart);
        Self {
            train,
            test,
            val,
            has_val,
            drawn: [in_train, in_test, in_val],
            leaks: None,
        }
    }

    /// Each part's name and rows, in the order in which they are written.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &[Row])> {
        let val = self.has_val.then_some(("val", self.val.as_slice()));
        [
            ("train", self.train.as_slice()),
            ("test", self.test.as_slice()),
        ]
        .into_iter()
        .chain(val)
    }

    /// Finds what the parts share; flags the rows that training has seen, or leaves out what it has
    /// seen them in.
    pub(crate) fn audit_leaks(&mut self, args: &Args) -> SplitSummary {
        let options = LeakOptions {
            near: args.near_threshold,
            ..LeakOptions::default()
        };
        let mut found = LeakAudit::new(&self.train, &self.val, &self.test, &options);
        let mut left_out = Vec::new();
        if args.drop_leaks {
            let leaks = found.train_test.iter().chain(&found.train_val);
            left_out = drop_leaks(&mut self.train, leaks);
        }
        if !left_out.is_empty() {
            found = LeakAudit::new(&self.train, &self.val, &self.test, &options);
        }
        flag(&mut self.test, &found.train_test);
        flag(&mut self.val, &found.train_val);
        let report = found.report();
        self.leaks = Some(found);
        let part = |at: usize, rows: &[Row], left_out: &[Row]| Part {
            asked: self.drawn[at].0,
            rows: rows.len(),
            dropped: self.drawn[at].1.clone(),
            dropped_leaks: left_out.iter().map(|row| row.id.clone()).collect(),
        };
        SplitSummary {
            seed: args.seed,
            rule: rule(args),
            train: part(0, &self.train, &left_out),
            test: part(1, &self.test, &[]),
            val: self.has_val.then(|| part(2, &self.val, &[])),
            near_threshold: args.near_threshold,
            leaks: report,
            audit: None,
            files: Vec::new(),
        }
    }

    /// Encodes every row and proves its mask.
    pub(crate) fn audit_masks(
        &self,
        auditor: &Auditor,
        args: &Args,
    ) -> Result<MaskAudit, StageError> {
        let mut parts = BTreeMap::new();
        for (name, rows) in self.named() {
            parts.insert(name.to_owned(), auditor.audit(name, rows)?);
        }
        Ok(MaskAudit {
            model: auditor.model.clone(),
            template: auditor.prompter.template_hash(),
            system: auditor.prompter.system().map(str::to_owned),
            max_seq_len: args.max_seq_len,
            on_truncate: format!("{:?}", args.on_truncate).to_lowercase(),
            parts,
        })
    }

    /// The first training rows with their masks, for a terminal.
    pub(crate) fn masks(
        &self,
        auditor: &Auditor,
        rows: usize,
        color: bool,
    ) -> Result<Vec<String>, StageError> {
        let shown = auditor.first(&self.train, rows)?;
        let show = |(id, row): &(String, _)| {
            encoding(show_mask(&auditor.prompter, row, color))
                .map(|text| format!("── training row {id}\n{text}"))
        };
        shown.iter().map(show).collect()
    }

    /// The same as a page.
    pub(crate) fn mask_page(&self, auditor: &Auditor, rows: usize) -> Result<String, StageError> {
        let shown = auditor.first(&self.train, rows)?;
        let titled = shown.iter().map(|(id, row)| (id.as_str(), row));
        encoding(mask_html(&auditor.prompter, titled))
    }
}

/// How rows are drawn, in words.
fn rule(args: &Args) -> String {
    let order = "the order of numpy.random.default_rng(seed).permutation(rows)";
    let drawn = match (args.folds, args.stratify, args.group_by) {
        (_, Some(Stratify::Category), _) => "each part with the same share of each category",
        (_, _, Some(_)) => "rows that share a context on one side",
        (Some(_), ..) => "each row in the test set of one fold",
        _ => "test rows first, then training rows, then validation rows",
    };
    format!("{order}, {drawn}")
}

//! Compares two files of predictions, row by row.
//!
//! Joins the rows of both files, scores them, and says for each metric whether the second system is
//! better, how sure that is, and how many rows would be needed where nothing can be said. For people
//! as a table and an HTML page, for scripts as JSON. More files than two: each is compared with the
//! first, as candidates in one family or as seeds of one recipe.
#![forbid(unsafe_code)]

mod args;
mod build;
mod clusters;
mod controls;
mod elsewhere;
mod join;
mod plots;
mod provenance;
mod read;
mod samples;
mod seeds;
mod table;

use std::collections::BTreeSet;

use serde::Serialize;
use stage::{StageError, emit, emit_json, write_json, write_text};
use textmetrics::stats::{PairedComparison, Verdict};

pub use args::Args;
pub use build::{Comparison, Extras, System, build, build_all};
pub use clusters::ClusterBy;
pub use elsewhere::{Elsewhere, Figures, Text};
pub use join::{JoinedBy, Unmatched};
pub use samples::samples;
pub use seeds::{SeedsComparison, build_seeds};
pub use table::table;

/// What `--json` prints: the comparison of two files, or one of each later file with the first.
#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    One(&'a Comparison),
    Many { comparisons: &'a [Comparison] },
}

/// Runs the stage.
///
/// # Errors
/// Usage (exit 2) for fewer than two files; bad data (exit 3) for a file that is missing, empty or
/// malformed and for rows that do not match; failed (exit 1) when an output cannot be written, and with
/// `--fail-if-worse` when a metric is worse.
pub fn run(args: &Args) -> Result<(), StageError> {
    let files = args.files()?;
    let (first, others) = (&files[0], &files[1..]);
    if (args.html.is_some() || args.markdown.is_some()) && others.len() > 1 {
        return Err(StageError::usage(
            "--html and --markdown show one comparison: give two files, not more",
        ));
    }
    if args.guard.is_some() && others.len() > 1 {
        return Err(StageError::usage(
            "--guard is of one system: give two files, not more",
        ));
    }
    let extras = args.extras();
    if args.seeds {
        return run_seeds(args, &build_seeds(first, others, &extras)?);
    }
    let comparisons = build_all(first, others, &extras)?;
    let output = match comparisons.as_slice() {
        [one] => Output::One(one),
        comparisons => Output::Many { comparisons },
    };
    if let Some(path) = &args.out_file {
        write_json(path, &output)?;
    }
    if let [comparison] = comparisons.as_slice() {
        let data = || comparison.report(args.title.as_deref().unwrap_or("Before and after"));
        if let Some(path) = &args.html {
            write_text(path, &report::render(&data()))?;
        }
        if let Some(path) = &args.markdown {
            write_text(path, &report::render_markdown(&data()))?;
        }
    }
    if args.json {
        emit_json(&output)?;
    } else {
        for comparison in &comparisons {
            emit(&table(comparison))?;
            if args.plots.wanted() {
                emit(&plots::forest(comparison))?;
            }
            if let Some(count) = args.samples() {
                emit(&samples(comparison, count))?;
            }
        }
    }
    if args.fail_if_worse {
        comparisons.iter().try_for_each(not_worse)?;
    }
    Ok(())
}

fn run_seeds(args: &Args, comparison: &SeedsComparison) -> Result<(), StageError> {
    if let Some(path) = &args.out_file {
        write_json(path, comparison)?;
    }
    if args.json {
        emit_json(comparison)?;
    } else {
        emit(&comparison.table())?;
    }
    let figures = &comparison.figures;
    let groups = [Some(&figures.all), figures.short.as_ref()];
    if args.fail_if_worse {
        fail_if_worse(&groups, "the average of all runs", "the first file")?;
    }
    Ok(())
}

/// Fails where a metric says "worse", on all rows, on the short ones, or on those not seen in training.
fn not_worse(comparison: &Comparison) -> Result<(), StageError> {
    let figures = &comparison.figures;
    let groups = [
        Some(&figures.all),
        figures.short.as_ref(),
        comparison.clean.as_ref(),
    ];
    fail_if_worse(&groups, &comparison.after.name, &comparison.before.name)
}

fn fail_if_worse(
    groups: &[Option<&PairedComparison>],
    after: &str,
    before: &str,
) -> Result<(), StageError> {
    let worse: BTreeSet<&str> = groups
        .iter()
        .flatten()
        .flat_map(|group| &group.metrics)
        .filter(|metric| metric.verdict == Verdict::Worse)
        .map(|metric| metric.name.as_str())
        .collect();
    if worse.is_empty() {
        return Ok(());
    }
    Err(StageError::failed(format!(
        "{after} is worse than {before} in {}",
        Vec::from_iter(worse).join(", ")
    )))
}

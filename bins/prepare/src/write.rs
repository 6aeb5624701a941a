//! The files of a split. Each is whole or absent, and the manifest comes last.

use std::path::Path;

use dolly_data::{DataError, Row, write_csv, write_jsonl};
use stage::{Manifest, SYSTEM_ARGUMENT, StageError};

use crate::args::Args;
use crate::audit::Auditor;
use crate::origin::Origin;
use crate::parts::Parts;
use crate::summary::{SplitSummary, Summary};
use crate::{card, data_error, spare_source};

pub(crate) fn all(
    out: &Path,
    args: &Args,
    origin: &Origin,
    parts: &Parts,
    split: &mut SplitSummary,
    summary: &Summary,
    auditor: Option<&Auditor>,
) -> Result<(), StageError> {
    type Write = fn(&Path, &[Row]) -> Result<(), DataError>;
    let writers: [(&str, Write); 2] = [("csv", write_csv), ("jsonl", write_jsonl)];
    let mut manifest = manifest(args, origin, split, summary);
    for path in &origin.paths {
        manifest.add_input(path)?;
    }
    stage::create_folder(out)?;
    let files: Vec<_> = parts
        .named()
        .flat_map(|(name, rows)| {
            writers.map(|(kind, write)| (out.join(format!("{name}.{kind}")), write, rows))
        })
        .collect();
    for (path, ..) in &files {
        spare_source(&origin.paths, path)?;
    }
    let mut written = Vec::new();
    for (path, write, rows) in files {
        write(&path, rows).map_err(data_error)?;
        written.push(path);
    }
    if let Some(audit) = &split.audit {
        written.push(out.join("audit.json"));
        stage::write_json(&out.join("audit.json"), audit)?;
    }
    if let Some(auditor) = auditor.filter(|_| args.show_mask > 0) {
        written.push(out.join("mask.html"));
        let page = parts.mask_page(auditor, args.show_mask)?;
        stage::write_text(&out.join("mask.html"), &page)?;
    }
    written.push(out.join("leaks.json"));
    stage::write_json(&out.join("leaks.json"), &parts.leaks)?;
    written.push(out.join("DATA.md"));
    stage::write_text(
        &out.join("DATA.md"),
        &card::card(summary, split, &command(args)),
    )?;
    for path in &written {
        manifest.add_output(path)?;
    }
    written.push(out.join("manifest.json"));
    manifest.write(&out.join("manifest.json"))?;
    split.files = written
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Ok(())
}

fn manifest(args: &Args, origin: &Origin, split: &SplitSummary, summary: &Summary) -> Manifest {
    let mut manifest = Manifest::new("prepare")
        .argument("view", summary.view.clone())
        .argument("map", args.map.as_ref().map(ToString::to_string))
        .argument("stratify", args.stratify.map(|_| "category"))
        .argument("group_by", args.group_by.map(|_| "context"))
        .argument("folds", args.folds)
        .argument("near_threshold", args.near_threshold)
        .argument("drop_leaks", args.drop_leaks)
        .seed("split", split.seed)
        .fact("rows_read", summary.rows_read)
        .fact("format", summary.format.clone())
        .fact("repeated_ids", summary.repeated_ids);
    for (name, part) in split.parts() {
        manifest = manifest
            .argument(name, part.asked)
            // Plain structs of numbers and texts: they always have a JSON form.
            .fact(name, serde_json::to_value(part).unwrap_or_default());
    }
    if let Some(hub) = &origin.hub {
        let named = format!("{}@{}:{}", hub.id, hub.commit, hub.file);
        manifest = manifest.argument("source", named);
    }
    if let Some(audit) = &split.audit {
        manifest.model = Some(audit.model.clone());
        manifest.template = Some(audit.template.clone());
        manifest = manifest
            .argument("max_seq_len", audit.max_seq_len)
            .argument("on_truncate", audit.on_truncate.clone())
            .argument(SYSTEM_ARGUMENT, audit.system.clone());
    }
    manifest.fact(
        "leaks",
        serde_json::to_value(split.leaks).unwrap_or_default(),
    )
}

/// The command line that does the same again.
fn command(args: &Args) -> String {
    let mut words = vec!["smoltune prepare".to_owned()];
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
            let quoted = if value.is_empty() || !value.chars().all(plain) {
                format!("'{}'", value.replace('\'', "'\\''"))
            } else {
                value
            };
            words.push(format!("{name} {quoted}"));
        }
    };
    let size = |size: Option<dolly_data::Size>| size.map(|size| size.to_string());
    flag("--source", Some(args.source.clone()));
    flag("--map", args.map.as_ref().map(ToString::to_string));
    flag("--view", Some(args.view.to_string()));
    flag("--seed", Some(args.seed.to_string()));
    flag("--test", size(args.test));
    flag("--train", size(args.train));
    flag("--val", size(args.val));
    flag("--stratify", args.stratify.map(|_| "category".to_owned()));
    flag("--group-by", args.group_by.map(|_| "context".to_owned()));
    flag("--folds", args.folds.map(|k| k.to_string()));
    flag("--near-threshold", Some(args.near_threshold.to_string()));
    flag("--model", args.model.clone());
    flag("--revision", args.revision.clone());
    flag("--system", args.system.clone());
    flag(
        "--max-seq-len",
        args.model.as_ref().map(|_| args.max_seq_len.to_string()),
    );
    flag("--date", args.date.map(|date| date.to_string()));
    if args.drop_leaks {
        words.push("--drop-leaks".to_owned());
    }
    words.join(" ")
}

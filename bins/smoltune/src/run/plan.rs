//! The steps of a run, as command lines; and single ones for who needs others of them.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use stage::Results;
use toml::Table;

use crate::config::{Config, Section, sections};
use crate::run::Step;
use crate::run::start::{self, OF_THE_ADAPTER};

/// Prepare, answer, train, answer again, score both, look elsewhere if that is wanted, compare.
pub(super) fn steps(config: &Config) -> Vec<Step> {
    let at = |name: &str| config.out.join(name);
    let test = at("data/test.jsonl");
    let (adapter, before, after) = (
        at("adapter"),
        at("baseline/predictions.jsonl"),
        at("tuned/predictions.jsonl"),
    );
    let moved = config.guard.enabled.then(|| at("guard.json"));
    let mut steps = vec![
        prepare(config),
        answer("baseline", config, None, &test, &before),
        train("train", config, &adapter),
        answer("tuned", config, Some(&adapter), &test, &after),
        evaluate(
            "score-baseline",
            config,
            &before,
            &at("baseline/scores.json"),
        ),
        evaluate("score-tuned", config, &after, &at("tuned/scores.json")),
    ];
    steps.extend(moved.as_ref().map(|out| guard(config, &adapter, out)));
    let report = Report {
        page: &at("report.html"),
        guard: moved.as_deref(),
    };
    let (after, out) = (std::slice::from_ref(&after), at("comparison.json"));
    steps.push(compare(config, &before, after, &out, Some(&report)));
    steps
}

/// Files in the run folder of a step that is left out: what an earlier run measured is not this one's.
pub(super) fn left_out(config: &Config) -> Vec<PathBuf> {
    let guard = ["guard.json", "guard.json.manifest.json", "steps/guard.json"];
    let files = guard.into_iter().filter(|_| !config.guard.enabled);
    files.map(|name| config.out.join(name)).collect()
}

/// Reads the rows and splits them, into `data` below the run folder.
pub(crate) fn prepare(config: &Config) -> Step {
    let out = config.out.join("data");
    let mut without = Vec::new();
    if config.data.val == 0 {
        without.push("val");
    }
    let command = Line::new("prepare")
        .keys("data", config, &without)
        .flag("--model", &config.model.name)
        .keys("model", config, &["name", "dtype"])
        .flag("--max-seq-len", config.train.max_seq_len)
        .flag("--on-truncate", &config.train.on_truncate)
        .flag("--out", shown(&out));
    let mut outputs = [
        "train.csv",
        "train.jsonl",
        "test.csv",
        "test.jsonl",
        "audit.json",
        "leaks.json",
        "DATA.md",
        "manifest.json",
    ]
    .map(|name| out.join(name))
    .to_vec();
    if config.data.val > 0 {
        outputs.extend(["val.csv", "val.jsonl"].map(|name| out.join(name)));
    }
    Step {
        name: "prepare".into(),
        command: command.0,
        inputs: [
            local_file(&config.data.source),
            model_files(&config.model.name),
        ]
        .concat(),
        outputs,
        resumes: false,
        results: Results::Stderr,
    }
}

/// Answers `rows` into `out`, with the model as it is or with an adapter.
pub(crate) fn answer(
    name: &str,
    config: &Config,
    adapter: Option<&Path>,
    rows: &Path,
    out: &Path,
) -> Step {
    let how = &config.generate;
    let mut without = Vec::new();
    if how.temperature == 0.0 {
        without.extend(["top_k", "top_p", "min_p", "seed"]);
    }
    let base = &config.model.name;
    let command = match adapter {
        None => Line::new("generate").flag("--model-name", base),
        Some(folder) => Line::new("generate").adapter(config, folder),
    };
    let mut command = command
        .flag("--test-csv", shown(rows))
        .flag("--out-file", shown(out))
        .keys("model", config, &["name", "dtype"])
        .keys("generate", config, &without);
    if how.dtype.is_empty() {
        command = command.flag("--dtype", &config.model.dtype);
    }
    let adapter = adapter.map(|folder| folder.join("adapter_model.safetensors"));
    let inputs = std::iter::once(rows.to_owned()).chain(adapter);
    Step {
        name: name.into(),
        command: command.0,
        inputs: inputs.chain(model_files(base)).collect(),
        outputs: vec![out.to_owned()],
        resumes: true,
        results: Results::Stderr,
    }
}

/// Trains on the run folder's rows, into `out`.
pub(crate) fn train(name: &str, config: &Config, out: &Path) -> Step {
    let how = &config.train;
    let at = |name: &str| config.out.join("data").join(name);
    let mut inputs = vec![at("train.jsonl")];
    let mut command = Line::new("train")
        .flag("--model-name", &config.model.name)
        .flag("--train-csv", shown(&inputs[0]))
        .flag("--output-dir", shown(out));
    if config.data.val > 0 {
        let rows = at("val.jsonl");
        command = command.flag("--eval-csv", shown(&rows));
        inputs.push(rows);
    } else {
        command = command.word("--no-eval");
    }
    let mut without = Vec::new();
    if start::from_adapter(config) {
        without.extend(OF_THE_ADAPTER);
    }
    if !how.init_adapter.is_empty() {
        inputs.extend(model_files(&how.init_adapter));
    }
    let command = command
        .keys("train", config, &without)
        .keys("model", config, &["name"])
        // What an earlier run of the same work left is gone on from; anything else makes way.
        .word("--resume")
        .word("--overwrite-output-dir");
    let outputs = [
        "adapter_config.json",
        "adapter_model.safetensors",
        "train_log.jsonl",
    ];
    Step {
        name: name.into(),
        command: command.0,
        inputs: [inputs, model_files(&config.model.name)].concat(),
        outputs: outputs.map(|name| out.join(name)).into(),
        resumes: true,
        results: Results::Stderr,
    }
}

/// Scores `answers` into `scores`.
pub(crate) fn evaluate(name: &str, config: &Config, answers: &Path, scores: &Path) -> Step {
    let command = Line::new("evaluate")
        .flag("--pred-file", shown(answers))
        .keys("evaluate", config, &[])
        .flag("--out-file", shown(scores));
    Step {
        name: name.into(),
        command: command.0,
        inputs: vec![answers.to_owned()],
        outputs: vec![scores.to_owned()],
        resumes: false,
        results: Results::Nowhere,
    }
}

/// What the adapter has moved on other texts, into `out`; weights are kept as they are for answers.
fn guard(config: &Config, adapter: &Path, out: &Path) -> Step {
    let how = &config.generate;
    let words = ["dtype", "quantize", "kv_dtype", "threads", "device"];
    let other: Vec<&str> = section_keys("generate")
        .filter(|key| !words.contains(key))
        .collect();
    let mut command = Line::new("guard")
        .adapter(config, adapter)
        .keys("guard", config, &[])
        .keys("generate", config, &other)
        .flag("--out-file", shown(out));
    if how.dtype.is_empty() {
        command = command.flag("--dtype", &config.model.dtype);
    }
    let weights = adapter.join("adapter_model.safetensors");
    let mut inputs = vec![weights];
    inputs.extend(local_file(&config.guard.text));
    inputs.extend(model_files(&config.model.name));
    Step {
        name: "guard".into(),
        command: command.0,
        inputs,
        outputs: vec![out.to_owned()],
        resumes: false,
        results: Results::Nowhere,
    }
}

/// What a comparison leaves for people, and what it shows besides.
pub(crate) struct Report<'a> {
    /// The page.
    pub(crate) page: &'a Path,
    /// What `guard` wrote.
    pub(crate) guard: Option<&'a Path>,
}

/// Compares answers with those of one adapter, or with the average of several seeds' adapters.
pub(crate) fn compare(
    config: &Config,
    before: &Path,
    after: &[PathBuf],
    out: &Path,
    report: Option<&Report<'_>>,
) -> Step {
    let mut command = Line::new("compare").word(shown(before));
    for answers in after {
        command = command.word(shown(answers));
    }
    if after.len() > 1 {
        command = command.word("--seeds");
    }
    command = command
        .keys("evaluate", config, &[])
        .keys("compare", config, &[])
        .flag("--out-file", shown(out));
    let mut outputs = vec![out.to_owned()];
    let mut inputs = [&[before.to_owned()], after].concat();
    if let Some(report) = report {
        command = command.flag("--html", shown(report.page));
        outputs.push(report.page.to_owned());
        if let Some(guard) = report.guard {
            command = command.flag("--guard", shown(guard));
            inputs.push(guard.to_owned());
        }
    }
    Step {
        name: "compare".into(),
        command: command.0,
        inputs,
        outputs,
        resumes: false,
        results: Results::Nowhere,
    }
}

/// A command line in the making.
struct Line(Vec<String>);

impl Line {
    fn new(stage: &str) -> Self {
        Self(vec![stage.to_owned()])
    }

    fn word(mut self, word: impl Into<String>) -> Self {
        self.0.push(word.into());
        self
    }

    /// The flags of a section's keys, but for those in `without`.
    fn keys(mut self, section: &str, config: &Config, without: &[&str]) -> Self {
        // What is in memory has a form in TOML: it came from there.
        let table = Table::try_from(config).unwrap_or_default();
        let values = table.get(section).and_then(toml::Value::as_table);
        let section = sections().iter().find(|known| known.name == section);
        if let Some((section, values)) = section.zip(values) {
            self.0.extend(Section::words(section, values, without));
        }
        self
    }

    /// An adapter that the run has trained, and its base. Of a run that started from an adapter, it names its base itself.
    fn adapter(self, config: &Config, folder: &Path) -> Self {
        let line = self.flag("--model-name", shown(folder));
        if start::is_adapter(config) {
            line
        } else {
            line.flag("--base-model", &config.model.name)
        }
    }

    fn flag(self, name: &str, value: impl Display) -> Self {
        self.word(name).word(value.to_string())
    }
}

fn section_keys(name: &str) -> impl Iterator<Item = &'static str> {
    let sections = sections()
        .iter()
        .filter(move |section| section.name == name);
    sections.flat_map(|section| section.keys.iter().map(|key| key.name))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The file itself when `source` is one; a hub id is judged by its name.
fn local_file(source: &str) -> Vec<PathBuf> {
    let path = Path::new(source);
    if path.is_file() {
        vec![path.to_owned()]
    } else {
        Vec::new()
    }
}

/// Files whose change makes a model another one: a `.gguf`, or the JSON and tensors of a folder.
fn model_files(model: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(model) else {
        return local_file(model);
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let known = ["json", "safetensors", "jinja"];
            path.is_file()
                && path
                    .extension()
                    .and_then(|e| e.to_str())
                    .is_some_and(|e| known.contains(&e))
        })
        .collect();
    files.sort();
    files
}

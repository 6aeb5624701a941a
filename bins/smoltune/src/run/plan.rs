//! The seven steps of a run, as command lines.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use stage::Results;

use crate::config::Config;
use crate::run::Step;

/// How many steps [`steps`] gives.
pub(super) const STEPS: usize = 7;

/// Prepare, answer, train, answer again, score both, compare.
pub(super) fn steps(config: &Config) -> [Step; STEPS] {
    let at = |name: &str| config.out.join(name);
    [
        prepare(config),
        generate(
            "baseline",
            config,
            &config.model.name,
            model_files(&config.model.name),
        ),
        train(config),
        generate(
            "tuned",
            config,
            &shown(&at("adapter")),
            [
                vec![at("adapter/adapter_model.safetensors")],
                model_files(&config.model.name),
            ]
            .concat(),
        ),
        evaluate("baseline", config),
        evaluate("tuned", config),
        compare(config),
    ]
}

fn prepare(config: &Config) -> Step {
    let data = &config.data;
    let out = config.out.join("data");
    let mut command = Line::new("prepare")
        .flag("--source", &data.source)
        .flag("--seed", data.seed)
        .flag("--test", data.test)
        .flag("--train", data.train)
        .flag("--view", &data.view)
        .given("--map", &data.map)
        .given("--stratify", &data.stratify)
        .given("--group-by", &data.group_by)
        .flag("--model", &config.model.name)
        .given("--system", &config.model.system)
        .flag("--max-seq-len", config.train.max_seq_len)
        .flag("--on-truncate", &config.train.on_truncate)
        .flag("--out", shown(&out));
    if data.val > 0 {
        command = command.flag("--val", data.val);
    }
    if data.drop_leaks {
        command = command.word("--drop-leaks");
    }
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
    if data.val > 0 {
        outputs.extend(["val.csv", "val.jsonl"].map(|name| out.join(name)));
    }
    Step {
        name: "prepare",
        command: command.0,
        inputs: [local_file(&data.source), model_files(&config.model.name)].concat(),
        outputs,
        resumes: false,
        results: Results::Stderr,
    }
}

fn generate(name: &'static str, config: &Config, model: &str, model_files: Vec<PathBuf>) -> Step {
    let how = &config.generate;
    let test = config.out.join("data/test.jsonl");
    let out = config.out.join(name).join("predictions.jsonl");
    let mut command = Line::new("generate").flag("--model_name", model);
    if name == "tuned" {
        command = command.flag("--base_model", &config.model.name);
    }
    command = command
        .flag("--test_csv", shown(&test))
        .flag("--out_file", shown(&out))
        .given("--system", &config.model.system)
        .flag("--max_prompt_len", how.max_prompt_len)
        .flag("--max_new_tokens", how.max_new_tokens)
        .flag("--temperature", how.temperature)
        .flag("--dtype", &config.model.dtype);
    if how.temperature > 0.0 {
        command = command.flag("--top_p", how.top_p).flag("--seed", how.seed);
    }
    Step {
        name,
        command: command.0,
        inputs: [vec![test], model_files].concat(),
        outputs: vec![out],
        resumes: true,
        results: Results::Stderr,
    }
}

fn train(config: &Config) -> Step {
    let how = &config.train;
    let rows = config.out.join("data/train.jsonl");
    let out = config.out.join("adapter");
    let mut command = Line::new("train")
        .flag("--model_name", &config.model.name)
        .flag("--train_csv", shown(&rows))
        .flag("--output_dir", shown(&out))
        .flag("--epochs", how.epochs)
        .flag("--lr", how.lr)
        .flag("--lr-schedule", &how.lr_schedule)
        .flag("--warmup-ratio", how.warmup_ratio)
        .flag("--weight-decay", how.weight_decay)
        .flag("--max-grad-norm", how.max_grad_norm)
        .flag("--bs", how.batch_size)
        .flag("--ga", how.accumulation)
        .flag("--batching", &how.batching)
        .flag("--max_seq_len", how.max_seq_len)
        .flag("--on-truncate", &how.on_truncate)
        .given("--system", &config.model.system)
        .flag("--lora_r", how.lora_r)
        .flag("--lora_alpha", how.lora_alpha)
        .flag("--lora_dropout", how.lora_dropout)
        .flag("--target-modules", how.target_modules.join(","))
        .flag("--seed", how.seed)
        .flag("--dtype", &config.model.dtype);
    if let Some(tokens) = how.pack_tokens {
        command = command.flag("--pack-tokens", tokens);
    }
    let mut inputs = vec![rows];
    if config.data.val > 0 {
        let rows = config.out.join("data/val.jsonl");
        command = command.flag("--eval_csv", shown(&rows));
        inputs.push(rows);
    }
    if let Some(steps) = how.max_steps {
        command = command.flag("--max-steps", steps);
    }
    if how.rslora {
        command.0.push("--rslora".into());
    }
    // What an earlier run of the same work left is gone on from; anything else makes way.
    command
        .0
        .extend(["--resume", "--overwrite-output-dir"].map(String::from));
    let outputs = [
        "adapter_config.json",
        "adapter_model.safetensors",
        "train_log.jsonl",
    ];
    Step {
        name: "train",
        command: command.0,
        inputs: [inputs, model_files(&config.model.name)].concat(),
        outputs: outputs.map(|name| out.join(name)).into(),
        resumes: true,
        results: Results::Stderr,
    }
}

fn evaluate(which: &'static str, config: &Config) -> Step {
    let answers = config.out.join(which).join("predictions.jsonl");
    let scores = config.out.join(which).join("scores.json");
    let command = Line::new("evaluate")
        .flag("--pred_file", shown(&answers))
        .flag("--short_thresh", config.evaluate.short_thresh)
        .flag("--rouge_thresh", config.evaluate.rouge_thresh)
        .flag("--out_file", shown(&scores));
    Step {
        name: if which == "tuned" {
            "score-tuned"
        } else {
            "score-baseline"
        },
        command: command.0,
        inputs: vec![answers],
        outputs: vec![scores],
        resumes: false,
        results: Results::Nowhere,
    }
}

fn compare(config: &Config) -> Step {
    let at = |name: &str| config.out.join(name);
    let answers = [
        at("baseline/predictions.jsonl"),
        at("tuned/predictions.jsonl"),
    ];
    let outputs = [at("comparison.json"), at("report.html")];
    let command = Line::new("compare")
        .word(shown(&answers[0]))
        .word(shown(&answers[1]))
        .flag("--short_thresh", config.evaluate.short_thresh)
        .flag("--rouge_thresh", config.evaluate.rouge_thresh)
        .flag("--out_file", shown(&outputs[0]))
        .flag("--html", shown(&outputs[1]));
    Step {
        name: "compare",
        command: command.0,
        inputs: answers.into(),
        outputs: outputs.into(),
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

    /// The flag, where there is a value for it.
    fn given(self, name: &str, value: &str) -> Self {
        if value.is_empty() {
            self
        } else {
            self.flag(name, value)
        }
    }

    fn flag(self, name: &str, value: impl Display) -> Self {
        self.word(name).word(value.to_string())
    }
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

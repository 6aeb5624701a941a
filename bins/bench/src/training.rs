//! Optimiser steps of the `train` stage itself, with everything that belongs to one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use cpu_gemm::Format;
use lora::StepRecord;
use serde::Serialize;
use stage::{OrExit, StageError};
use train::{DeviceArg, KeepArg, Precision, QuantizeArg};

use crate::peaks::Peaks;
use crate::{lines, memory, share};

/// What to train on, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct TrainArgs {
    /// The model: hub id, folder, .gguf file, or an adapter folder
    #[arg(long, value_name = "MODEL", aliases = ["model-name", "model_name"])]
    pub model: String,
    /// Rows to train on, in the file's order; without them, rows of --max-seq-len tokens are made up
    #[arg(long, value_name = "FILE", alias = "train_csv")]
    pub train_csv: Option<PathBuf>,
    /// Optimiser steps to measure; one more goes before them and is left out
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Rows that go through the model together
    #[arg(long, value_name = "N", default_value_t = 1, aliases = ["batch-size", "batch_size"])]
    pub bs: usize,
    /// Batches in one optimiser step
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16,
        alias = "gradient-accumulation-steps"
    )]
    pub ga: usize,
    /// Longest row in tokens
    #[arg(long, value_name = "N", default_value_t = 768, alias = "max_seq_len")]
    pub max_seq_len: usize,
    /// Rank
    #[arg(long, value_name = "N", default_value_t = 8, alias = "lora_r")]
    pub lora_r: usize,
    /// Probability of dropping an input feature of the adapter
    #[arg(long, value_name = "P", default_value_t = 0.0, alias = "lora_dropout")]
    pub lora_dropout: f64,
    /// Projections to adapt, with commas, or all-linear
    #[arg(
        long,
        value_name = "LIST",
        default_value = "q_proj,k_proj,v_proj,o_proj",
        alias = "target_modules"
    )]
    pub target_modules: String,
    /// What products with the frozen weights are computed in
    #[arg(long, value_enum, default_value_t)]
    pub dtype: Precision,
    /// How they are kept, where it is not so
    #[arg(long, value_enum, value_name = "TYPE")]
    pub quantize: Option<QuantizeArg>,
    /// Where loss and gradients are computed: cpu, cuda, cuda:N, or auto
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceArg,
    /// What is kept for the backward pass
    #[arg(long, value_enum, default_value_t, alias = "gradient-checkpointing")]
    pub checkpointing: KeepArg,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Leave the machine's peaks out
    #[arg(long)]
    pub no_peaks: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainSummary {
    /// `train`.
    pub test: &'static str,
    /// The model, as it was named.
    pub model: String,
    /// How its weights are kept.
    pub format: &'static str,
    /// What computed loss and gradients: `cpu`, or the GPU's name.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// Optimiser steps measured.
    pub steps: usize,
    /// Tokens in them, none of them padding.
    pub tokens: usize,
    /// Of those, tokens in the loss.
    pub supervised_tokens: usize,
    /// Tokens a second over all of these steps.
    pub tokens_per_s: f64,
    /// The slowest and the fastest step.
    pub range: [f64; 2],
    /// Most memory of this process while it trained, in MB; 0 where the system does not say.
    pub peak_rss_mb: f64,
    /// The most of a GPU's memory that weights and buffers took, in MB; the driver's own is not in it.
    pub peak_device_mb: Option<f64>,
    /// GFLOP/s: what loss and gradients take at the least ([`smollm_model::TrainingCost::gradient_flops`]), over the same time.
    pub gflops: f64,
    /// What the CPU can do, where it was the CPU.
    #[serde(flatten)]
    pub peaks: Option<Peaks>,
}

/// Measures training, and prints nothing on standard output.
///
/// # Errors
/// Exit code 2 for settings that make no sense, 3 for models or rows that cannot be read, 130 after Ctrl-C.
pub fn measure_training(args: &TrainArgs) -> Result<TrainSummary, StageError> {
    let folder = tempfile::tempdir().or_failed()?;
    let rows = match &args.train_csv {
        Some(path) => path.clone(),
        None => made_up_rows(args, folder.path())?,
    };
    let stage = stage_args(args, &rows, &folder.path().join("adapter"))?;
    let pool = rayon::ThreadPoolBuilder::new();
    let pool = pool.num_threads(args.threads.map_or(0, usize::from));
    let pool = pool.build().or_failed()?;
    let outcome = pool.install(|| train::fine_tune(&stage))?;
    let on_a_gpu = outcome.device_memory.is_some();
    let peak_rss_mb = memory::peak_mb();
    let steps = steps(&stage.output_dir.join("train_log.jsonl"))?;
    let threads = pool.current_num_threads();
    let format = match args.dtype {
        Precision::F32 => Format::F32,
        Precision::Bf16 => Format::Bf16,
    };
    let peaks = (!args.no_peaks && !on_a_gpu)
        .then(|| Peaks::measure(threads, format))
        .transpose()
        .or_failed()?;
    let total: f64 = steps.iter().map(seconds).sum();
    let rates = steps.iter().map(|step| step.tokens_per_s);
    let tokens = steps.iter().map(|step| step.tokens).sum();
    Ok(TrainSummary {
        test: "train",
        model: args.model.clone(),
        format: match (args.quantize, args.dtype) {
            (Some(QuantizeArg::Q8_0), _) => Format::Q8_0.name(),
            (None, Precision::F32) if on_a_gpu => Format::F32.name(),
            (Some(QuantizeArg::Stored), _) | (None, Precision::F32) => "stored",
            (None, Precision::Bf16) => Format::Bf16.name(),
        },
        device: outcome.device,
        threads,
        steps: steps.len(),
        tokens,
        supervised_tokens: steps.iter().map(|step| step.supervised_tokens).sum(),
        tokens_per_s: tokens as f64 / total,
        range: [
            rates.clone().fold(f64::INFINITY, f64::min),
            rates.fold(0.0, f64::max),
        ],
        peak_rss_mb,
        peak_device_mb: outcome.device_memory.map(|bytes| bytes as f64 / 1e6),
        gflops: steps.iter().map(|s| s.gflops * seconds(s)).sum::<f64>() / total,
        peaks,
    })
}

fn seconds(step: &StepRecord) -> f64 {
    step.tokens as f64 / step.tokens_per_s
}

/// The command line of the stage that does what is asked for.
fn stage_args(args: &TrainArgs, rows: &Path, out: &Path) -> Result<train::Args, StageError> {
    let steps = args.steps + 1;
    let mut words = ["train", "--no-shuffle", "--no-eval"]
        .map(String::from)
        .to_vec();
    let mut flag = |name: &str, value: String| words.push(format!("--{name}={value}"));
    flag("model-name", args.model.clone());
    flag("train-csv", rows.display().to_string());
    flag("output-dir", out.display().to_string());
    flag("max-steps", steps.to_string());
    flag("bs", args.bs.to_string());
    flag("ga", args.ga.to_string());
    flag("max-seq-len", args.max_seq_len.to_string());
    flag("lora-r", args.lora_r.to_string());
    flag("lora-dropout", args.lora_dropout.to_string());
    flag("target-modules", args.target_modules.clone());
    let mut stage = train::Args::try_parse_from(words).or_usage()?;
    // Made-up rows are longer than asked for, so that each has exactly that many tokens.
    if args.train_csv.is_none() {
        stage.on_truncate = train::OnTruncate::KeepStart;
    }
    (stage.dtype, stage.quantize) = (args.dtype, args.quantize);
    (stage.device, stage.checkpointing) = (args.device, args.checkpointing);
    stage.logging_steps = 0;
    Ok(stage)
}

/// One optimiser step's rows, a third of whose tokens or so are the answer.
fn made_up_rows(args: &TrainArgs, folder: &Path) -> Result<PathBuf, StageError> {
    let path = folder.join("rows.jsonl");
    let mut text = String::new();
    for row in 0..args.bs * args.ga {
        let words = |count: usize| {
            let word = |i: usize| ["river", "seven", "under", "light", "paper"][(i * i + row) % 5];
            (0..count).map(word).collect::<Vec<_>>().join(" ")
        };
        let record = serde_json::json!({
            "instruction": "Read this.",
            "context": words(args.max_seq_len * 3 / 5),
            "response": words(args.max_seq_len),
        });
        writeln!(text, "{record}").or_failed()?;
    }
    stage::write_bytes(&path, text.as_bytes())?;
    Ok(path)
}

/// The steps of a log but the first, in which memory is touched for the first time.
fn steps(log: &Path) -> Result<Vec<StepRecord>, StageError> {
    let text = fs::read_to_string(log).or_failed()?;
    let steps = text.lines().map(serde_json::from_str::<StepRecord>);
    steps.skip(1).collect::<Result<_, _>>().or_failed()
}

impl TrainSummary {
    pub(crate) fn table(&self) -> String {
        let peak = self.peaks.map(|peaks| peaks.peak_gflops);
        let [slowest, fastest] = self.range;
        let of_the_gpu = self.peak_device_mb;
        let of_the_gpu = of_the_gpu.map_or(String::new(), |mb| format!(", {mb:.0} of the GPU's"));
        let memory = format!("{:.0}{of_the_gpu}", self.peak_rss_mb);
        lines([
            ("test", self.test.to_owned()),
            ("model", self.model.clone()),
            ("weights", self.format.to_owned()),
            ("device", self.device.clone()),
            ("threads", self.threads.to_string()),
            (
                "tokens",
                format!(
                    "{} in {} steps, {} in the loss",
                    self.tokens, self.steps, self.supervised_tokens
                ),
            ),
            (
                "tokens/s",
                format!("{:.1} ({slowest:.1} to {fastest:.1})", self.tokens_per_s),
            ),
            ("peak memory, MB", memory),
            ("GFLOP/s", share(self.gflops, peak)),
        ])
    }
}

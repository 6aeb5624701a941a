//! The tiny model, its goldens, and small helpers.

use candle_core::{DType, Device, Tensor};
use lora::{
    Adapter, Engine, EvalRecord, Factor, LoraConfig, Pair, Sample, StepRecord, TrainConfig,
    TrainEvent, Trainable, train,
};
use smollm_model::{Checkpoint, Llama, ModelFiles, Ragged, TrainingLlama, TrainingOptions};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

pub(crate) fn fixture(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(path)
}

pub(crate) fn json(path: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixture(path)).unwrap()).unwrap()
}

pub(crate) fn tensors(path: &str) -> BTreeMap<String, Tensor> {
    let map = candle_core::safetensors::load(fixture(path), &Device::Cpu).unwrap();
    map.into_iter().collect()
}

pub(crate) fn model(dtype: DType) -> Llama {
    let checkpoint = Checkpoint::open(&ModelFiles::Dir(fixture("tiny-model"))).unwrap();
    Llama::load(&checkpoint, dtype, &Device::Cpu).unwrap()
}

pub(crate) fn packed(options: TrainingOptions) -> TrainingLlama {
    let checkpoint = Checkpoint::open(&ModelFiles::Dir(fixture("tiny-model"))).unwrap();
    TrainingLlama::load(&checkpoint, options).unwrap()
}

/// The rows of a golden: `[{"ids": […], "supervised": [start, end]}, …]`.
pub(crate) fn rows(golden: &serde_json::Value) -> Vec<Sample> {
    let number = |v: &serde_json::Value| usize::try_from(v.as_u64().unwrap()).unwrap();
    let row = |row: &serde_json::Value| Sample {
        ids: row["ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| number(id) as u32)
            .collect(),
        labels: (number(&row["supervised"][0])..number(&row["supervised"][1])).collect(),
    };
    golden.as_array().unwrap().iter().map(row).collect()
}

/// The three rows that the gradient golden was made with.
pub(crate) fn three_rows() -> Vec<Sample> {
    rows(&json("goldens/lora_step/step.json")["rows"])
}

/// An adapter on all seven projections with alpha / r = 2, B as PEFT leaves it or random.
pub(crate) fn adapter(model: &Llama, random_b: bool) -> Adapter {
    let config = LoraConfig {
        r: 4,
        lora_alpha: 8.0,
        lora_dropout: 0.0,
        target_modules: "all-linear".parse().unwrap(),
        ..LoraConfig::default()
    };
    let start = Adapter::init(model.config(), config, 3).unwrap();
    if !random_b {
        return start;
    }
    // Any numbers will do for B; those of another initialisation are at hand.
    let noise = Adapter::init(model.config(), start.config().clone(), 4).unwrap();
    let pairs = start
        .pairs()
        .zip(noise.pairs())
        .map(|((site, pair), (_, other))| {
            let count = pair.b.elem_count();
            let values: Vec<f32> = values(&other.a).into_iter().cycle().take(count).collect();
            let b = Tensor::from_vec(values, pair.b.dims(), &Device::Cpu).unwrap();
            (
                site,
                Pair {
                    a: pair.a.clone(),
                    b,
                    magnitude: None,
                },
            )
        });
    Adapter::new(start.config().clone(), pairs.collect()).unwrap()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor
        .flatten_all()
        .unwrap()
        .to_dtype(DType::F32)
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// The largest difference between two tensors of one shape.
pub(crate) fn distance(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    values(a)
        .iter()
        .zip(values(b))
        .fold(0.0, |m, (x, y)| m.max((x - y).abs()))
}

/// Scores of the next token after each whole row.
pub(crate) fn last_logits(model: &Llama, rows: &[Sample]) -> Tensor {
    let inputs: Vec<&[u32]> = rows.iter().map(|row| row.ids.as_slice()).collect();
    let batch = Ragged::new(&inputs).unwrap();
    let hidden = model.hidden(&batch, smollm_model::Mode::Eval).unwrap();
    let ends: Vec<u32> = batch.segments().iter().map(|s| s.end as u32 - 1).collect();
    let ends = Tensor::new(ends, &Device::Cpu).unwrap();
    model
        .logits(&hidden.index_select(&ends, 0).unwrap())
        .unwrap()
}

/// Settings without schedule, shuffling or clipping.
pub(crate) fn plain() -> TrainConfig {
    TrainConfig {
        learning_rate: 1e-3,
        schedule: lora::Schedule::Constant,
        warmup_ratio: 0.0,
        shuffle: false,
        accumulation: 2,
        ..TrainConfig::default()
    }
}

/// A callback that keeps every event and never stops.
pub(crate) fn keep(events: &mut Vec<TrainEvent>) -> impl FnMut(TrainEvent) -> ControlFlow<()> + '_ {
    |event| {
        events.push(event);
        ControlFlow::Continue(())
    }
}

/// The updates and the evaluations among the events.
pub(crate) fn records(events: Vec<TrainEvent>) -> (Vec<StepRecord>, Vec<EvalRecord>) {
    let (mut steps, mut evals) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            TrainEvent::Step(record) => steps.push(record),
            TrainEvent::Eval(record) => evals.push(record),
            TrainEvent::Batch { .. } | TrainEvent::Skipped(_) | TrainEvent::Checkpoint(_) => {}
        }
    }
    (steps, evals)
}

/// Trains, and tells all that was heard.
pub(crate) fn trained<'a>(
    model: impl Into<Engine<'a>>,
    trainable: &Trainable,
    (rows, eval_rows): (&[Sample], &[Sample]),
    config: &TrainConfig,
) -> Vec<TrainEvent> {
    let mut events = Vec::new();
    let mut hear = keep(&mut events);
    train(model, trainable, rows, eval_rows, config, &mut hear).unwrap();
    drop(hear);
    events
}

/// A callback that does nothing.
pub(crate) fn ignore(_: TrainEvent) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Both factors' names of every site.
pub(crate) fn names(adapter: &Adapter, factor: Factor) -> Vec<String> {
    adapter
        .pairs()
        .map(|(site, _)| factor.tensor_name(site))
        .collect()
}

/// The first rows of the small data set, through the tiny model's own tokenizer and template.
pub(crate) fn dolly_mini(count: usize) -> Vec<Sample> {
    let prompter = chat_prompt::Prompter::from_dir(&fixture("tiny-model")).unwrap();
    let text = std::fs::read_to_string(fixture("dolly-mini.jsonl")).unwrap();
    let encode = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_string();
        let context = Some(text("context")).filter(|c| !c.trim().is_empty());
        let (instruction, response) = (text("instruction"), text("response"));
        let policy = chat_prompt::OverflowPolicy::Error;
        match prompter.training_row(&instruction, context.as_deref(), &response, 4096, policy) {
            Ok(chat_prompt::RowOutcome::Kept(row)) => Sample::from(&row),
            other => panic!("{other:?}"),
        }
    };
    text.lines().take(count).map(encode).collect()
}

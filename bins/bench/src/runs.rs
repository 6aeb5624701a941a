//! One run of each test, and the median of several.

use std::ops::ControlFlow;
use std::time::Instant;

use loader::smollm_model::{
    Decoder, GenerationConfig, GenerationEvent, ModelError, Phase, Segment, generate as answer,
};
use loader::{Model, ModelCache};

/// Prompt tokens of one pass, as the engine's default.
const PIECE: usize = 512;

/// How one run went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Run {
    /// Tokens that count.
    tokens: usize,
    /// Passes over the weights that they took.
    passes: usize,
    seconds: f64,
    /// Seconds until logits for the first new token were there.
    first_token: f64,
}

/// Several runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    /// Median tokens a second.
    pub(crate) rate: f64,
    pub(crate) range: [f64; 2],
    pub(crate) passes_per_s: f64,
    pub(crate) first_token: f64,
}

impl Measured {
    /// The median of `repeats` runs, after one that warms up.
    pub(crate) fn of(
        repeats: u16,
        mut one: impl FnMut() -> Result<Run, ModelError>,
    ) -> Result<Self, ModelError> {
        one()?;
        let runs = (0..repeats).map(|_| one()).collect::<Result<Vec<_>, _>>()?;
        let sorted = |value: &dyn Fn(&Run) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let rates = sorted(&|run| run.tokens as f64 / run.seconds);
        let median = |values: &[f64]| values[values.len() / 2];
        Ok(Self {
            rate: median(&rates),
            range: [rates[0], rates[rates.len() - 1]],
            passes_per_s: median(&sorted(&|run| run.passes as f64 / run.seconds)),
            first_token: median(&sorted(&|run| run.first_token)),
        })
    }
}

/// Ordinary token ids, the same in every run; `row` makes prompts differ.
fn ids(model: &Model, tokens: usize, row: usize) -> Vec<u32> {
    let vocab = model.config().vocab_size;
    let id = |i: usize| ((row * 7919 + i * 104_729 + 17) % vocab) as u32;
    (0..tokens).map(id).collect()
}

/// Feeds a prompt piece by piece; returns the passes that took.
fn read(model: &mut Model, prompt: &[u32], cache: &mut ModelCache) -> Result<usize, ModelError> {
    let pieces = prompt.chunks(PIECE);
    let count = pieces.len();
    for (at, ids) in pieces.enumerate() {
        model.pass(&mut [Segment {
            ids,
            cache: &mut *cache,
            adapter: None,
            phase: Phase::Prompt,
            logits: at + 1 == count,
        }])?;
    }
    Ok(count)
}

pub(crate) fn prefill(model: &mut Model, tokens: usize) -> Result<Run, ModelError> {
    let prompt = ids(model, tokens, 0);
    let mut cache = ModelCache::default();
    let started = Instant::now();
    let passes = read(model, &prompt, &mut cache)?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Run {
        tokens,
        passes,
        seconds,
        first_token: seconds,
    })
}

pub(crate) fn decode(
    model: &mut Model,
    prompt: usize,
    tokens: usize,
    batch: usize,
) -> Result<Run, ModelError> {
    let mut caches: Vec<ModelCache> = Vec::new();
    caches.resize_with(batch, ModelCache::default);
    let before = Instant::now();
    for (row, cache) in caches.iter_mut().enumerate() {
        let prompt = ids(model, prompt, row);
        read(model, &prompt, cache)?;
    }
    let first_token = before.elapsed().as_secs_f64() / batch as f64;
    let vocab = model.config().vocab_size;
    let mut next: Vec<[u32; 1]> = (0..batch).map(|row| [(row % vocab) as u32]).collect();
    let started = Instant::now();
    for _ in 0..tokens {
        let segments = caches.iter_mut().zip(&next).map(|(cache, ids)| Segment {
            ids: ids.as_slice(),
            cache,
            adapter: None,
            phase: Phase::Answer,
            logits: true,
        });
        let mut segments: Vec<_> = segments.collect();
        let logits = model.pass(&mut segments)?;
        next = logits
            .chunks_exact(vocab)
            .map(|row| [largest(row)])
            .collect();
    }
    Ok(Run {
        tokens: tokens * batch,
        passes: tokens,
        seconds: started.elapsed().as_secs_f64(),
        first_token,
    })
}

fn largest(logits: &[f32]) -> u32 {
    let (mut at, mut top) = (0, f32::NEG_INFINITY);
    for (i, x) in logits.iter().enumerate() {
        if *x > top {
            (at, top) = (i, *x);
        }
    }
    at as u32
}

pub(crate) fn generate(
    model: &mut Model,
    rows: usize,
    (prompt, tokens): (usize, usize),
    batch_size: usize,
) -> Result<Run, ModelError> {
    let prompts: Vec<Vec<u32>> = (0..rows).map(|row| ids(model, prompt, row)).collect();
    let config = GenerationConfig {
        max_new_tokens: tokens,
        batch_size,
        ..GenerationConfig::default()
    };
    let started = Instant::now();
    let (mut count, mut first_token) = (0, 0.0);
    answer(model, &prompts, &config, &mut |event| {
        if let GenerationEvent::Token { .. } = event {
            if count == 0 {
                first_token = started.elapsed().as_secs_f64();
            }
            count += 1;
        }
        ControlFlow::Continue(())
    })?;
    Ok(Run {
        tokens: count,
        passes: rows.div_ceil(batch_size) * tokens,
        seconds: started.elapsed().as_secs_f64(),
        first_token,
    })
}

//! The packed model against the reference, and its answers' independence of everything around them.

use std::ops::ControlFlow;

use candle_core::{DType, Tensor};
use smollm_model::{
    Checkpoint, Completion, Decoder, Engine, EngineLimits, Event, GenerationConfig, KvType, Llama,
    LowRank, ModelError, ModelSource, PackedCache, PackedLlama, PackedOptions, Phase, Projection,
    Ragged, Request, Sampling, Segment, Site, WeightFormat, generate, ops::row_norms,
};

use crate::{golden, ids, tiny};
use adapters::updates;

mod adapters;

const FORMATS: [WeightFormat; 4] = [
    WeightFormat::Stored,
    WeightFormat::F32,
    WeightFormat::Bf16,
    WeightFormat::Q8_0,
];

fn checkpoint(file: &str) -> Checkpoint {
    let path = format!("{}/../../fixtures/{file}", env!("CARGO_MANIFEST_DIR"));
    Checkpoint::open(&ModelSource::parse(&path).unwrap().resolve().unwrap()).unwrap()
}

fn packed(file: &str, format: WeightFormat, threads: usize) -> PackedLlama {
    let options = PackedOptions {
        format,
        threads: Some(threads),
        kv: None,
    };
    PackedLlama::load(&checkpoint(file), options).unwrap()
}

fn prompts() -> Vec<Vec<u32>> {
    let golden = golden("logits.json");
    let prompts = golden["prompts"].as_array().unwrap().iter();
    prompts.map(|p| ids(&p["ids"])).collect()
}

/// Logits after each prompt, fed in pieces of `piece` tokens.
fn logits(model: &mut PackedLlama, prompt: &[u32], piece: usize) -> Vec<f32> {
    adapted_logits(model, None, prompt, piece)
}

fn adapted_logits(
    model: &mut PackedLlama,
    adapter: Option<usize>,
    prompt: &[u32],
    piece: usize,
) -> Vec<f32> {
    let mut cache = PackedCache::default();
    let mut last = Vec::new();
    for ids in prompt.chunks(piece) {
        let segment = Segment {
            ids,
            cache: &mut cache,
            adapter,
            phase: Phase::Prompt,
            logits: true,
        };
        last = model.pass(&mut [segment]).unwrap().to_vec();
    }
    assert_eq!(cache.tokens(), prompt.len());
    last
}

fn reference(prompt: &[u32]) -> Vec<f32> {
    reference_logits(&tiny(), prompt)
}

fn reference_logits(model: &Llama, prompt: &[u32]) -> Vec<f32> {
    let batch = Ragged::new(&[prompt]).unwrap();
    let hidden = model.hidden(&batch, smollm_model::Mode::Eval).unwrap();
    let last = hidden.narrow(0, prompt.len() - 1, 1).unwrap();
    model
        .logits(&last)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// `‖found − wanted‖ / ‖wanted‖`
fn error(found: &[f32], wanted: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let off: f64 = found
        .iter()
        .zip(wanted)
        .map(|(f, w)| square(f64::from(f - w)))
        .sum();
    let norm: f64 = wanted.iter().map(|w| square(f64::from(*w))).sum();
    (off / norm).sqrt()
}

#[test]
fn every_format_agrees_with_the_reference() {
    // The tiny model's weights are bf16, so bf16 loses nothing of them.
    let tolerances = [8e-3, 2e-6, 8e-3, 2.5e-2];
    for (format, tolerance) in FORMATS.into_iter().zip(tolerances) {
        let mut model = packed("tiny-model", format, 2);
        for prompt in prompts() {
            let found = error(
                &logits(&mut model, &prompt, usize::MAX),
                &reference(&prompt),
            );
            assert!(found < tolerance, "{format:?}: {found:e}");
        }
    }
}

#[test]
fn blocks_of_a_gguf_file_are_used_as_they_are() {
    for (file, tolerance) in [
        ("tiny-model-q8_0.gguf", 2e-2),
        ("tiny-model-q4_0.gguf", 2e-2),
    ] {
        let mut exact = packed(file, WeightFormat::F32, 1);
        let mut stored = packed(file, WeightFormat::Stored, 1);
        assert!(stored.bytes_per_token() * 3 < exact.bytes_per_token());
        for prompt in prompts() {
            let wanted = logits(&mut exact, &prompt, usize::MAX);
            let found = error(&logits(&mut stored, &prompt, usize::MAX), &wanted);
            assert!(found < tolerance, "{file}: {found:e}");
        }
    }
}

#[test]
fn a_prompt_gives_the_same_bits_in_any_pieces_and_on_any_threads() {
    for format in FORMATS {
        let prompt: Vec<u32> = prompts().concat().into_iter().take(90).collect();
        let mut model = packed("tiny-model", format, 1);
        let whole = logits(&mut model, &prompt, usize::MAX);
        for piece in [1, 7, 16, 33, 64] {
            assert_eq!(
                logits(&mut model, &prompt, piece),
                whole,
                "{format:?} {piece}"
            );
        }
        for threads in [2, 3] {
            let mut model = packed("tiny-model", format, threads);
            assert_eq!(
                logits(&mut model, &prompt, 50),
                whole,
                "{format:?} {threads}"
            );
        }
    }
}

fn answers(
    model: &mut PackedLlama,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
) -> Vec<Completion> {
    generate(model, prompts, config, &mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn answers_are_the_same_in_any_batch_and_order_and_on_any_threads() {
    let prompts = prompts();
    let streams: Vec<u64> = (0..prompts.len() as u64).map(|i| i * 7).collect();
    for format in FORMATS {
        for temperature in [0.0, 0.9] {
            let config = |batch_size, streams: &[u64]| GenerationConfig {
                max_new_tokens: 24,
                stop_ids: vec![2],
                temperature,
                batch_size,
                streams: streams.to_vec(),
                ..GenerationConfig::default()
            };
            let mut model = packed("tiny-model", format, 2);
            let alone = answers(&mut model, &prompts, &config(1, &streams));
            for batch_size in [2, 5, 16] {
                let together = answers(&mut model, &prompts, &config(batch_size, &streams));
                assert_eq!(together, alone, "{format:?} {batch_size}");
            }
            let (mut reversed, mut names) = (prompts.clone(), streams.clone());
            reversed.reverse();
            names.reverse();
            let mut one = packed("tiny-model", format, 1);
            let mut backward = answers(&mut one, &reversed, &config(4, &names));
            backward.reverse();
            for (found, wanted) in backward.iter().zip(&alone) {
                assert_eq!(
                    (&found.ids, found.mean_logprob),
                    (&wanted.ids, wanted.mean_logprob)
                );
            }
        }
    }
}

#[test]
fn greedy_answers_in_f32_are_the_references() {
    let config = GenerationConfig {
        max_new_tokens: 30,
        stop_ids: vec![2],
        ..GenerationConfig::default()
    };
    let model = tiny();
    let wanted = generate(&model, &prompts(), &config, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    let found = answers(
        &mut packed("tiny-model", WeightFormat::F32, 2),
        &prompts(),
        &config,
    );
    let ids = |all: &[Completion]| all.iter().map(|c| c.ids.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&found), ids(&wanted));
}

#[test]
fn logits_that_are_not_finite_are_an_error() {
    let mut model = packed("tiny-model", WeightFormat::F32, 1);
    // An endless embedding would be no more than zero, once it is normed.
    let layers = updates(2)
        .into_iter()
        .filter(|(site, _)| *site != Site::Embedding);
    let endless = layers.map(|(site, update)| {
        let update = LowRank {
            scale: f64::from(f32::MAX),
            ..update
        };
        (site, update)
    });
    let adapter = model.add_adapter(endless).unwrap();
    let config = GenerationConfig {
        adapter: Some(adapter),
        ..GenerationConfig::default()
    };
    let found = generate(&mut model, &[vec![1, 2, 3]], &config, &mut |_| {
        ControlFlow::Continue(())
    });
    assert!(
        matches!(found, Err(ModelError::NotFinite { index: 0 })),
        "{found:?}"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut model = packed("tiny-model", WeightFormat::Q8_0, 1);
    let mut wrong = updates(1);
    wrong[1].0 = Site::new(99, Projection::Q);
    assert!(model.add_adapter(wrong).is_err());
    let mut short = updates(1);
    short[1].1.magnitude = Some(Tensor::new(&[1f32, 2.0], tiny().device()).unwrap());
    let error = model.add_adapter(short).unwrap_err().to_string();
    assert!(error.contains("magnitude [2]"), "{error}");
    let mut cache = PackedCache::default();
    let vocab = model.config().vocab_size as u32;
    let cases: [(&[u32], Option<usize>); 3] = [(&[], None), (&[vocab], None), (&[1], Some(0))];
    for (ids, adapter) in cases {
        let segment = Segment {
            ids,
            cache: &mut cache,
            adapter,
            phase: Phase::Prompt,
            logits: true,
        };
        assert!(model.pass(&mut [segment]).is_err(), "{ids:?} {adapter:?}");
    }
    let long = vec![1; model.config().max_position_embeddings + 1];
    let segment = Segment {
        ids: &long,
        cache: &mut cache,
        adapter: None,
        phase: Phase::Answer,
        logits: true,
    };
    assert!(model.pass(&mut [segment]).is_err());
    assert_eq!(cache.tokens(), 0);
}

#[test]
fn keys_and_values_may_be_kept_in_fewer_bits() {
    let prompt = prompts().concat();
    let of = |kv| {
        let options = PackedOptions {
            format: WeightFormat::F32,
            kv: Some(kv),
            threads: Some(1),
        };
        let mut model = PackedLlama::load(&checkpoint("tiny-model"), options).unwrap();
        let pieces = [60, 20, 1].map(|piece| logits(&mut model, &prompt[..60], piece));
        assert!(pieces.iter().all(|p| *p == pieces[0]), "{kv:?}");
        pieces[0].clone()
    };
    let exact = of(KvType::F32);
    for (kv, limit) in [(KvType::Bf16, 5e-3), (KvType::Q8_0, 1e-2)] {
        let found = error(&of(kv), &exact);
        assert!(found > 0.0 && found < limit, "{kv:?}: {found:e}");
    }
}

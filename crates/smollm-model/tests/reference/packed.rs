//! The packed model on the real weights: what each way to keep them costs in perplexity, and that nothing around an
//! answer changes it.

use std::ops::ControlFlow;

use chat_prompt::{Message, Prompter, user_turn};
use smollm_model::{
    Checkpoint, Completion, Decoder, GenerationConfig, ModelFiles, PackedCache, PackedLlama,
    PackedOptions, Phase, Segment, WeightFormat, generate,
};

use crate::{golden, ids, json, path};

fn packed(format: WeightFormat, threads: usize) -> PackedLlama {
    let gguf = path("SMOLTUNE_GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf");
    let options = PackedOptions {
        format,
        kv: None,
        threads: Some(threads),
    };
    PackedLlama::load(&Checkpoint::open(&ModelFiles::Gguf(gguf)).unwrap(), options).unwrap()
}

/// The first 50 training rows as token ids, at most 160 tokens each.
fn rows() -> Vec<Vec<u32>> {
    let gguf = path("SMOLTUNE_GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf");
    let prompter = Prompter::from_gguf(&gguf::GgufFile::open(gguf).unwrap()).unwrap();
    let data = dolly_data::load_rows(&golden().join("../data/dolly-train-1000.csv")).unwrap();
    let row = |row: &dolly_data::Row| {
        let messages = [
            Message::user(user_turn(&row.instruction, row.context.as_deref())),
            Message::assistant(row.response.clone()),
        ];
        let mut ids = prompter.encode_chat(&messages, false).unwrap();
        ids.truncate(160);
        ids
    };
    data.rows.iter().take(50).map(row).collect()
}

/// Mean negative log-likelihood of every token after the first, all rows fed side by side.
fn mean_nll(model: &mut PackedLlama, rows: &[Vec<u32>], phase: Phase) -> f64 {
    let mut caches: Vec<PackedCache> = Vec::new();
    caches.resize_with(rows.len(), PackedCache::default);
    let vocab = model.config().vocab_size;
    let longest = rows.iter().map(Vec::len).max().unwrap();
    let (mut total, mut count) = (0.0, 0);
    for at in 0..longest - 1 {
        let open = || rows.iter().filter(|row| at + 1 < row.len());
        let mut segments: Vec<_> = rows
            .iter()
            .zip(&mut caches)
            .filter(|(row, _)| at + 1 < row.len())
            .map(|(row, cache)| Segment {
                ids: &row[at..=at],
                cache,
                adapter: None,
                phase,
                logits: true,
            })
            .collect();
        let logits = model.pass(&mut segments).unwrap();
        for (row, logits) in open().zip(logits.chunks_exact(vocab)) {
            let sum: f64 = logits.iter().map(|z| f64::from(*z).exp()).sum();
            total += sum.ln() - f64::from(logits[row[at + 1] as usize]);
            count += 1;
        }
    }
    total / f64::from(count)
}

/// The file's own blocks are `Q4_1` with a `Q8_0` embedding, whose exact values f32 has. An answer's tokens meet quantised
/// weights as bytes, with a scale for 32 of them: that costs more than the weights' own rounding. What bf16 costs depends on
/// the order in which the CPU sums: +0.15 % on tiles (AMX), +0.26 % with `vdpbf16ps`.
#[test]
fn perplexity_hardly_depends_on_how_weights_are_kept() {
    let rows = rows();
    let exact = mean_nll(&mut packed(WeightFormat::F32, 2), &rows, Phase::Prompt);
    println!("f32: perplexity {:.4}", exact.exp());
    let tiles = cpu_gemm::capabilities().to_string().contains("amx-bf16");
    let cases = [
        (
            WeightFormat::Bf16,
            Phase::Prompt,
            if tiles { 0.002 } else { 0.003 },
        ),
        (WeightFormat::Q8_0, Phase::Prompt, 0.005),
        (WeightFormat::Q8_0, Phase::Answer, 0.015),
        (WeightFormat::Stored, Phase::Prompt, 0.005),
        (WeightFormat::Stored, Phase::Answer, 0.015),
    ];
    let mut wrong = Vec::new();
    for (format, phase, limit) in cases {
        let found = mean_nll(&mut packed(format, 2), &rows, phase);
        let change = (found - exact).exp() - 1.0;
        println!(
            "{format:?}, {phase:?}: perplexity {:.4} ({:+.3} %)",
            found.exp(),
            100.0 * change
        );
        if change.abs() >= limit {
            wrong.push(format!("{format:?} {phase:?}: {change}, limit {limit}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn answers(model: &mut PackedLlama, prompts: &[Vec<u32>], batch_size: usize) -> Vec<Completion> {
    let config = GenerationConfig {
        max_new_tokens: 24,
        stop_ids: vec![2],
        batch_size,
        ..GenerationConfig::default()
    };
    generate(model, prompts, &config, &mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn the_15_prompts_are_answered_alike_in_any_company() {
    let rows = json("tokenizer.json");
    let rows = rows["chat_rows"].as_array().unwrap().iter();
    let prompts: Vec<Vec<u32>> = rows.map(|row| ids(&row["prompt_ids"])).collect();
    for format in [WeightFormat::Stored, WeightFormat::Bf16, WeightFormat::F32] {
        let mut model = packed(format, 2);
        let alone = answers(&mut model, &prompts, 1);
        assert_eq!(answers(&mut model, &prompts, 15), alone, "{format:?}");
        let mut shuffled: Vec<usize> = (0..prompts.len()).collect();
        shuffled.sort_by_key(|i| i * 7 % prompts.len());
        let again: Vec<_> = shuffled.iter().map(|i| prompts[*i].clone()).collect();
        let mut one = packed(format, 1);
        for (at, found) in shuffled.iter().zip(answers(&mut one, &again, 6)) {
            let wanted = (&alone[*at].ids, alone[*at].mean_logprob);
            assert_eq!((&found.ids, found.mean_logprob), wanted, "{format:?}");
        }
    }
}

/// Logits after a prompt fed in pieces.
fn logits(model: &mut PackedLlama, prompt: &[u32], piece: usize) -> Vec<f32> {
    let mut cache = PackedCache::default();
    let mut last = Vec::new();
    for ids in prompt.chunks(piece) {
        let segment = Segment {
            ids,
            cache: &mut cache,
            adapter: None,
            phase: Phase::Prompt,
            logits: true,
        };
        last = model.pass(&mut [segment]).unwrap().to_vec();
    }
    last
}

#[test]
fn a_prompt_read_at_once_or_in_pieces_gives_the_same_bits() {
    let prompt = rows().concat()[..300].to_vec();
    for format in [WeightFormat::Stored, WeightFormat::Bf16, WeightFormat::F32] {
        let mut model = packed(format, 2);
        let whole = logits(&mut model, &prompt, usize::MAX);
        for piece in [300, 128, 33] {
            assert_eq!(
                logits(&mut model, &prompt, piece),
                whole,
                "{format:?} {piece}"
            );
        }
        assert_eq!(
            logits(&mut packed(format, 1), &prompt, 77),
            whole,
            "{format:?}"
        );
    }
}

//! A small model in each of GGUF's quantised formats, against the floats that its blocks stand for.

use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use smollm_model::{
    Checkpoint, Decoder, ModelFiles, PackedCache, PackedLlama, PackedOptions, Phase, Segment,
    WeightFormat,
};
use tempfile::TempDir;

/// Every type whose blocks are kept, and how many bits a weight takes in memory.
pub(crate) const KINDS: [(GgmlDType, f64); 8] = [
    (GgmlDType::Q8_0, 8.5),
    (GgmlDType::Q4_0, 4.5),
    (GgmlDType::Q4_1, 5.0),
    (GgmlDType::Q5_0, 5.5),
    (GgmlDType::Q5_1, 6.0),
    (GgmlDType::Q4K, 6.0),
    (GgmlDType::Q5K, 7.0),
    (GgmlDType::Q6K, 7.0),
];

const HIDDEN: usize = 256;
const INNER: usize = 512;
const VOCABULARY: usize = 320;
const LAYERS: usize = 2;

/// A model of random weights of which every matrix is quantised to `kind`: wide enough for blocks of 256.
pub(crate) fn model(kind: GgmlDType) -> (TempDir, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    write(&path, kind);
    let checkpoint = Checkpoint::open(&ModelFiles::Gguf(path)).unwrap();
    (folder, checkpoint)
}

fn write(path: &Path, kind: GgmlDType) {
    let metadata = [
        ("general.architecture", Value::String("llama".to_owned())),
        ("llama.embedding_length", Value::U32(HIDDEN as u32)),
        ("llama.feed_forward_length", Value::U32(INNER as u32)),
        ("llama.block_count", Value::U32(LAYERS as u32)),
        ("llama.attention.head_count", Value::U32(4)),
        ("llama.attention.head_count_kv", Value::U32(2)),
        ("llama.rope.dimension_count", Value::U32(64)),
        ("llama.vocab_size", Value::U32(VOCABULARY as u32)),
        ("llama.context_length", Value::U32(512)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(100_000.0)),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
    ];
    let mut shapes = vec![
        ("token_embd".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("output_norm".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("attn_norm", vec![HIDDEN]),
            ("ffn_norm", vec![HIDDEN]),
            ("attn_q", vec![HIDDEN, HIDDEN]),
            ("attn_k", vec![HIDDEN / 2, HIDDEN]),
            ("attn_v", vec![HIDDEN / 2, HIDDEN]),
            ("attn_output", vec![HIDDEN, HIDDEN]),
            ("ffn_gate", vec![INNER, HIDDEN]),
            ("ffn_up", vec![INNER, HIDDEN]),
            ("ffn_down", vec![HIDDEN, INNER]),
        ] {
            shapes.push((format!("blk.{layer}.{name}"), shape));
        }
    }
    let mut noise = 1;
    let tensors = shapes.into_iter().map(|(name, shape)| {
        let values = values(&shape, &mut noise);
        let kind = if shape.len() == 1 {
            GgmlDType::F32
        } else {
            kind
        };
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let quantised = QTensor::quantize(&tensor, kind).unwrap();
        (format!("{name}.weight"), quantised)
    });
    let tensors: Vec<_> = tensors.collect();
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut file = std::fs::File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}

/// Norms near one, matrices roughly normal with a deviation that keeps activations as large as they are.
fn values(shape: &[usize], noise: &mut u64) -> Vec<f32> {
    let mut uniform = || {
        *noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (*noise >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let mut value = || (0..4).map(|_| uniform()).sum::<f32>();
    let size = match shape {
        [_] => 0.2,
        _ => 1.7 / (shape[1] as f32).sqrt(),
    };
    let base = if shape.len() == 1 { 1.0 } else { 0.0 };
    let count = shape.iter().product();
    (0..count).map(|_| base + size * value()).collect()
}

/// Logits after each token, and the mean negative log-likelihood of the tokens that follow.
fn walk(checkpoint: &Checkpoint, format: WeightFormat, phase: Phase) -> (Vec<f32>, f64) {
    let options = PackedOptions {
        format,
        threads: Some(1),
        kv: None,
    };
    let mut model = PackedLlama::load(checkpoint, options).unwrap();
    let ids: Vec<u32> = (0..40).map(|i| (i * i * 31 + i * 7 + 3) % 320).collect();
    let mut cache = PackedCache::default();
    let (mut all, mut nll) = (Vec::new(), 0.0);
    for (i, id) in ids.iter().enumerate() {
        let segment = Segment {
            ids: &[*id],
            cache: &mut cache,
            adapter: None,
            phase,
            logits: true,
        };
        let logits = model.pass(&mut [segment]).unwrap();
        if let Some(next) = ids.get(i + 1) {
            let total: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
            nll += total.ln() - f64::from(logits[*next as usize]);
        }
        all.extend_from_slice(&logits);
    }
    (all, nll / (ids.len() - 1) as f64)
}

/// `‖found − wanted‖ / ‖wanted‖`
fn error(found: &[f32], wanted: &[f32]) -> f64 {
    let pairs = found.iter().zip(wanted);
    let off: f64 = pairs.map(|(f, w)| f64::from(f - w).powi(2)).sum();
    let norm: f64 = wanted.iter().map(|w| f64::from(*w).powi(2)).sum();
    (off / norm).sqrt()
}

#[test]
fn each_format_says_nearly_what_its_floats_say_to_prompts_and_in_answers() {
    for (kind, _) in KINDS {
        let (_folder, checkpoint) = model(kind);
        let (exact, exact_nll) = walk(&checkpoint, WeightFormat::F32, Phase::Prompt);
        // Beside bf16, and beside activations of eight bits: by what is done to them, and not by the format.
        for (phase, tolerance) in [(Phase::Prompt, 2e-2), (Phase::Answer, 3e-2)] {
            let (found, nll) = walk(&checkpoint, WeightFormat::Stored, phase);
            let off = error(&found, &exact);
            assert!(off < tolerance, "{kind:?} {phase:?}: {off:e}");
            assert!(off > 1e-5, "{kind:?} {phase:?}: the same arithmetic?");
            assert!(
                (nll - exact_nll).abs() < 1e-2 * exact_nll,
                "{kind:?} {phase:?}: {nll}, not {exact_nll}"
            );
        }
    }
}

#[test]
fn each_format_takes_its_bits_and_no_more() {
    for (kind, bits) in KINDS {
        let (_folder, checkpoint) = model(kind);
        let bytes = |format| {
            let options = PackedOptions {
                format,
                threads: Some(1),
                kv: None,
            };
            let model = PackedLlama::load(&checkpoint, options).unwrap();
            model.bytes_per_token() as f64
        };
        let ratio = bytes(WeightFormat::Stored) / bytes(WeightFormat::F32);
        assert_eq!(ratio, bits / 32.0, "{kind:?}");
    }
}

//! The prediction against what the buffers of real passes hold.

use super::*;
use crate::training::{Memory, SiteGradients, TrainingBatch, TrainingLlama, TrainingSite};
use crate::{Checkpoint, Device, LowRank, ModelFiles, Ragged, Site, Tensor, WeightFormat};

fn bytes<T>(buffer: &[T]) -> usize {
    size_of_val(buffer)
}

/// Buffers of the passes that are plain vectors.
fn held(memory: &Memory) -> usize {
    let inputs: usize = memory.inputs.iter().map(|h| bytes(h)).sum();
    let saved: usize = memory
        .saved
        .iter()
        .map(super::super::forward::Saved::bytes)
        .sum();
    inputs + saved + bytes(&memory.dh)
}

#[test]
fn what_a_batch_leaves_behind_is_predicted_to_the_byte() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tiny-model");
    let checkpoint = Checkpoint::open(&ModelFiles::Dir(folder.into())).unwrap();
    let config = checkpoint.config().clone();
    let ids: Vec<u32> = (0..90).map(|i| 7 * i % 1000).collect();
    let sequences = Ragged::new(&[&ids[..60], &ids[60..]]).unwrap();
    let (rows, targets): (Vec<u32>, Vec<u32>) = ((10..50).collect(), (0..40).collect());
    let batch = TrainingBatch {
        sequences: &sequences,
        rows: &rows,
        targets: &targets,
    };
    for dtype in [DType::F32, DType::BF16] {
        for checkpointing in [Checkpointing::None, Checkpointing::Block] {
            for (dropout, with_magnitude) in [(0.0, false), (0.5, false), (0.0, true), (0.5, true)]
            {
                let options = TrainingOptions {
                    dtype,
                    checkpointing,
                    ..TrainingOptions::default()
                };
                let mut shapes = Vec::new();
                let mut matrices = Vec::new();
                // Those of embedding and head keep nothing of a token.
                for site in Site::all(config.num_hidden_layers) {
                    let (out, inputs) = site.dims(&config);
                    let magnitude = with_magnitude && site != Site::Embedding;
                    shapes.push(SiteShape {
                        site,
                        rank: 3,
                        dropout: dropout > 0.0,
                        magnitude,
                    });
                    let magnitude = magnitude.then(|| vec![1.0; out]);
                    let (a, b) = (vec![0.01; 3 * inputs], vec![0.0; 3 * out]);
                    matrices.push((site, a, b, magnitude));
                }
                let sites: Vec<TrainingSite<'_>> = matrices
                    .iter()
                    .map(|(site, a, b, m)| TrainingSite {
                        site: *site,
                        rank: 3,
                        scale: 1.0,
                        dropout,
                        a,
                        b,
                        magnitude: m.as_deref(),
                    })
                    .collect();
                let mut gradients: Vec<_> = sites.iter().map(SiteGradients::zeros).collect();
                let mut model = TrainingLlama::load(&checkpoint, options).unwrap();
                model
                    .gradients(batch, &sites, 1, 1.0, &mut gradients)
                    .unwrap();

                let cost = TrainingCost::new(&config, options, &shapes);
                let kept = match checkpointing {
                    Checkpointing::None => config.num_hidden_layers,
                    Checkpointing::Block => 1,
                };
                let stream = (config.num_hidden_layers + 2) * config.hidden_size * F32;
                let expected = 90 * (stream + cost.kept_per_token(kept));
                assert_eq!(
                    held(&model.memory),
                    expected,
                    "{dtype:?} {checkpointing:?} {dropout} {with_magnitude}"
                );
            }
        }
    }
}

#[test]
fn weights_take_the_bytes_that_were_counted() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    let gguf = |name: &str| ModelFiles::Gguf(format!("{fixtures}/{name}").into());
    for files in [
        ModelFiles::Dir(format!("{fixtures}/tiny-model").into()),
        gguf("tiny-model-q8_0.gguf"),
        gguf("tiny-model-q4_0.gguf"),
    ] {
        let checkpoint = Checkpoint::open(&files).unwrap();
        for dtype in [DType::F32, DType::BF16] {
            for format in [WeightFormat::Stored, WeightFormat::F32, WeightFormat::Q8_0] {
                let options = TrainingOptions {
                    dtype,
                    format,
                    ..TrainingOptions::default()
                };
                let counted = TrainingLlama::weight_bytes(&checkpoint, options, &[]).unwrap();
                let model = TrainingLlama::load(&checkpoint, options).unwrap();
                assert_eq!(model.weights.held(), counted, "{files:?} {options:?}");
                let cost = TrainingCost::new(checkpoint.config(), options, &[]);
                let memory = cost
                    .with_weight_bytes(counted)
                    .memory(BatchShape::default());
                assert_eq!(memory.weights, counted);
            }
        }
    }
}

#[test]
fn weights_that_something_will_be_taken_out_of_are_counted_as_floats_and_no_others() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    // One of q, k and v makes floats of all three, which are one matrix.
    let changed = [
        (0, Projection::K),
        (0, Projection::Down),
        (1, Projection::O),
    ];
    for file in ["tiny-model-q8_0.gguf", "tiny-model-q4_0.gguf"] {
        let files = ModelFiles::Gguf(format!("{fixtures}/{file}").into());
        let whole = Checkpoint::open(&files).unwrap();
        let mut less = Checkpoint::open(&files).unwrap();
        for (layer, projection) in changed {
            let (out, inputs) = projection.dims(less.config());
            let zeros = |shape| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            let update = LowRank {
                a: zeros((1, inputs)),
                b: zeros((out, 1)),
                scale: 1.0,
                dropout: 0.0,
                magnitude: None,
            };
            less.subtract(layer, projection, &update).unwrap();
        }
        for dtype in [DType::F32, DType::BF16] {
            for format in [WeightFormat::Stored, WeightFormat::F32, WeightFormat::Q8_0] {
                let options = TrainingOptions {
                    dtype,
                    format,
                    ..TrainingOptions::default()
                };
                let bytes =
                    |ck, changed: &[_]| TrainingLlama::weight_bytes(ck, options, changed).unwrap();
                let counted = bytes(&whole, &changed);
                let model = TrainingLlama::load(&less, options).unwrap();
                assert_eq!(model.weights.held(), counted, "{file} {options:?}");
                assert_eq!(bytes(&less, &[]), counted, "{file} {options:?}");
                let stored = bytes(&whole, &[]);
                assert_eq!(counted > stored, format == WeightFormat::Stored);
            }
        }
    }
}

#[test]
fn a_batch_costs_what_its_products_do() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tiny-model");
    let checkpoint = Checkpoint::open(&ModelFiles::Dir(folder.into())).unwrap();
    let site = SiteShape {
        site: Site::new(0, Projection::Q),
        rank: 2,
        dropout: false,
        magnitude: false,
    };
    let sites = [site];
    let options = TrainingOptions::default();
    let cost = TrainingCost::new(checkpoint.config(), options, &sites);
    let batch = BatchShape {
        tokens: 10,
        supervised: 4,
        attended: 55,
    };
    // Two layers of 96 wide: q 96, k and v 32, o 96; gate, up and down 160; 1,237 tokens.
    let block = 2 * 96 * (96 + 2 * 32 + 96 + 3 * 160);
    let (adapter, head, pairs) = (2 * (96 + 96), 1237 * 96, 55 * 96 * 2);
    let forward = 2 * 10 * (block + adapter) + 4 * pairs + 2 * 4 * head;
    let backward = 10 * (2 * block + 4 * adapter) + 10 * pairs + 2 * 4 * head;
    assert_eq!(cost.loss_flops(batch), f64::from(forward));
    assert_eq!(cost.gradient_flops(batch), f64::from(forward + backward));
    let options = TrainingOptions {
        checkpointing: Checkpointing::Block,
        ..options
    };
    // From the second of two layers on, half of the frozen products are walked back through.
    let above = [SiteShape {
        site: Site::new(1, Projection::Q),
        ..site
    }];
    let half = 10 * (block + 4 * adapter) + 5 * pairs + 2 * 4 * head;
    let plain = TrainingOptions::default();
    let upper = TrainingCost::new(checkpoint.config(), plain, &above);
    assert_eq!(upper.gradient_flops(batch), f64::from(forward + half));
    // Beside the head only its own adapter is walked back through, beside the embedding everything.
    let at = |site_at| {
        [SiteShape {
            site: site_at,
            ..site
        }]
    };
    let (blocks, of_head) = (10 * 2 * block + 4 * pairs, 2 * 4 * head);
    let own = 2 * 4 * 2 * (96 + 1237);
    let of = |sites: &[SiteShape]| {
        TrainingCost::new(checkpoint.config(), plain, sites).gradient_flops(batch)
    };
    let alone = blocks + of_head + 3 * own;
    assert_eq!(of(&at(Site::Head)), f64::from(alone));
    let own = 2 * 10 * 2 * 96;
    let all = 2 * blocks + 6 * pairs + 2 * of_head + 3 * own;
    assert_eq!(of(&at(Site::Embedding)), f64::from(all));
    let none = TrainingCost::new(checkpoint.config(), plain, &[]);
    assert_eq!(none.gradient_flops(batch), none.loss_flops(batch));
    let again = f64::from(2 * 10 * (block + adapter) + 4 * pairs);
    let cost = TrainingCost::new(checkpoint.config(), options, &sites);
    assert_eq!(
        cost.gradient_flops(batch),
        f64::from(forward + backward) + again
    );
}

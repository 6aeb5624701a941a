//! Continuing sequences on a device against the CPU; a row's bits in any batch, in any pieces, from a shared prefix.

use smollm_model::cuda::{DeviceCache, DeviceLlama, Element, Machine};
use smollm_model::{
    Decoder, Device, GenerationConfig, LowRank, ModelError, PackedLlama, PackedOptions, Phase,
    Projection, Segment, Site, Tensor, WeightFormat, generate,
};

use crate::model::{Sizes, checkpoint};
use crate::support::{assert_close, on_every_machine, values, wide};

/// Updates of every projection of one layer, and of `down` of the other.
fn updates(key: u64) -> Vec<(Site, LowRank)> {
    let config = checkpoint(Sizes::default()).config().clone();
    let matrix = |rows: usize, columns: usize, key: u64, size: f32| {
        let values: Vec<f32> = values(rows * columns, key)
            .iter()
            .map(|x| size * x)
            .collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    };
    let places = Projection::ALL.map(|projection| (1, projection));
    let places = places.into_iter().chain([(0, Projection::Down)]);
    let update = |(number, (layer, projection)): (u64, (usize, Projection))| {
        let ((out, inputs), rank) = (projection.dims(&config), 3 + number as usize);
        let update = LowRank {
            a: matrix(rank, inputs, key + 2 * number, 0.2),
            b: matrix(out, rank, key + 2 * number + 1, 0.1),
            scale: 1.5,
            dropout: 0.0,
            magnitude: None,
        };
        (Site::new(layer, projection), update)
    };
    (0..).zip(places).map(update).collect()
}

fn load(machine: &dyn Machine, element: Element) -> DeviceLlama<'_> {
    let mut model = DeviceLlama::load(machine, &checkpoint(Sizes::default()), element).unwrap();
    for key in [500, 600] {
        model.add_adapter(updates(key)).unwrap();
    }
    model
}

fn on_cpu() -> PackedLlama {
    let options = PackedOptions {
        format: WeightFormat::F32,
        ..PackedOptions::default()
    };
    let mut model = PackedLlama::load(&checkpoint(Sizes::default()), options).unwrap();
    for key in [500, 600] {
        model.add_adapter(updates(key)).unwrap();
    }
    model
}

/// A prompt with its answer, computed by the base or an adapter.
#[derive(Clone)]
struct Sequence {
    prompt: Vec<u32>,
    answer: Vec<u32>,
    adapter: Option<usize>,
}

fn sequences() -> Vec<Sequence> {
    let ids = |n: usize, key: u64| {
        values(n, key)
            .iter()
            .map(|x| (x.abs() * 332.0) as u32)
            .collect()
    };
    let lengths = [
        (70, None),
        (3, Some(1)),
        (1, Some(0)),
        (20, Some(1)),
        (9, None),
    ];
    let sequence = |(key, (n, adapter)): (u64, (usize, Option<usize>))| Sequence {
        prompt: ids(n, 700 + key),
        answer: ids(2, 800 + key),
        adapter,
    };
    (0..).zip(lengths).map(sequence).collect()
}

/// Logits after the prompt and after each token of the answer, of all sequences together, prompts in pieces of `piece`.
fn logits<D: Decoder>(model: &mut D, sequences: &[Sequence], piece: usize) -> Vec<Vec<f32>> {
    let mut caches: Vec<D::Cache> = sequences.iter().map(|_| D::Cache::default()).collect();
    let mut found = vec![Vec::new(); sequences.len()];
    let mut read = vec![0; sequences.len()];
    let total = |s: &Sequence| s.prompt.len() + s.answer.len();
    while (0..sequences.len()).any(|i| read[i] < total(&sequences[i])) {
        let mut segments = Vec::new();
        let mut wanting = Vec::new();
        for (i, cache) in caches.iter_mut().enumerate() {
            let (sequence, at) = (&sequences[i], read[i]);
            let prompt = sequence.prompt.len();
            let (ids, phase) = if at < prompt {
                (&sequence.prompt[at..prompt.min(at + piece)], Phase::Prompt)
            } else if at < total(sequence) {
                (&sequence.answer[at - prompt..][..1], Phase::Answer)
            } else {
                continue;
            };
            read[i] += ids.len();
            let logits = read[i] >= prompt;
            if logits {
                wanting.push(i);
            }
            segments.push(Segment {
                ids,
                cache,
                adapter: sequence.adapter,
                phase,
                logits,
            });
        }
        let vocab = model.config().vocab_size;
        let rows = model.pass(&mut segments).unwrap().into_owned();
        assert_eq!(rows.len(), wanting.len() * vocab);
        for (i, row) in wanting.into_iter().zip(rows.chunks_exact(vocab)) {
            found[i].extend_from_slice(row);
        }
    }
    found
}

#[test]
fn logits_of_base_and_adapters_in_one_batch_are_those_of_the_cpu() {
    on_every_machine(|machine| {
        let sequences = sequences();
        let expected = logits(&mut on_cpu(), &sequences, 512);
        for (element, tolerance) in [
            (Element::F32, 1e-5),
            (Element::Bf16, 2e-2),
            (Element::F16, 3e-3),
        ] {
            let found = logits(&mut load(machine, element), &sequences, 512);
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_close(
                    &format!("{element:?}, sequence {i}"),
                    found,
                    &wide(expected),
                    tolerance,
                );
            }
        }
    });
}

#[test]
fn a_row_has_the_same_bits_alone_in_any_batch_and_in_any_pieces() {
    on_every_machine(|machine| {
        for element in [Element::F32, Element::Bf16] {
            let sequences = sequences();
            let mut model = load(machine, element);
            let together = logits(&mut model, &sequences, 512);
            assert!(
                together == logits(&mut model, &sequences, 40),
                "{element:?}, pieces of 40"
            );
            for i in [0, 2] {
                let alone = logits(&mut model, &sequences[i..=i], 512);
                assert!(alone[0] == together[i], "{element:?}, sequence {i} alone");
            }
        }
    });
}

/// Logits after `ids`, which continue what `cache` remembers.
fn read(model: &mut DeviceLlama<'_>, ids: &[u32], cache: &mut DeviceCache) -> Vec<f32> {
    let mut segment = [Segment {
        ids,
        cache,
        adapter: None,
        phase: Phase::Prompt,
        logits: true,
    }];
    model.pass(&mut segment).unwrap().into_owned()
}

#[test]
fn a_copied_prefix_is_what_was_read_and_nothing_else() {
    on_every_machine(|machine| {
        let mut model = load(machine, Element::Bf16);
        let ids = &sequences()[0].prompt;
        let (mut whole, mut longer) = (DeviceCache::default(), DeviceCache::default());
        let expected = read(&mut model, ids, &mut whole);
        read(&mut model, &[&ids[..67], &[5, 6, 7]].concat(), &mut longer);
        for tokens in [64, 67] {
            let mut copied = DeviceCache::default();
            model.copy_prefix(&longer, tokens, &mut copied);
            assert_eq!(copied.tokens(), tokens);
            let found = read(&mut model, &ids[tokens..], &mut copied);
            assert!(found == expected, "{tokens} tokens");
        }
        // Neither has been changed by the other.
        let more = read(&mut model, &[9], &mut longer);
        let whole = [&ids[..67], &[5, 6, 7, 9]].concat();
        assert!(more == read(&mut model, &whole, &mut DeviceCache::default()));
    });
}

#[test]
fn an_engine_answers_as_on_the_cpu() {
    on_every_machine(|machine| {
        let prompts: Vec<Vec<u32>> = sequences().into_iter().map(|s| s.prompt).collect();
        let config = GenerationConfig {
            max_new_tokens: 4,
            batch_size: 3,
            ..GenerationConfig::default()
        };
        let keep_going = || |_| std::ops::ControlFlow::Continue(());
        let mut device = load(machine, Element::F32);
        let found = generate(&mut device, &prompts, &config, &mut keep_going()).unwrap();
        let expected = generate(&mut on_cpu(), &prompts, &config, &mut keep_going()).unwrap();
        let ids = |all: &[smollm_model::Completion]| {
            all.iter().map(|c| c.ids.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&found), ids(&expected));
        assert!(device.held() > 0);
    });
}

#[test]
fn what_a_device_cannot_continue_is_refused_by_name() {
    on_every_machine(|machine| {
        let mut model = load(machine, Element::F32);
        let mut magnitude = updates(500);
        magnitude[0].1.magnitude =
            Some(Tensor::zeros(1, smollm_model::DType::F32, &Device::Cpu).unwrap());
        let message = model.add_adapter(magnitude).unwrap_err().to_string();
        assert!(
            message.contains("magnitude") && message.contains("q_proj"),
            "{message}"
        );
        let mut beyond = updates(500);
        beyond[0].0 = Site::new(2, Projection::Q);
        assert!(
            model
                .add_adapter(beyond)
                .unwrap_err()
                .to_string()
                .contains("layers.2.self_attn.q_proj")
        );
        for site in [Site::Embedding, Site::Head] {
            let mut outside = updates(500);
            outside[0].0 = site;
            let message = model.add_adapter(outside).unwrap_err().to_string();
            assert!(
                message.contains(&site.path()) && message.contains("merge"),
                "{message}"
            );
        }
        let mut refused = |ids: &[u32], adapter| {
            let mut cache = DeviceCache::default();
            let mut segment = [Segment {
                ids,
                cache: &mut cache,
                adapter,
                phase: Phase::Prompt,
                logits: true,
            }];
            model.pass(&mut segment).unwrap_err()
        };
        assert!(matches!(
            refused(&[], None),
            ModelError::EmptySequence { .. }
        ));
        assert!(matches!(refused(&[333], None), ModelError::TokenId { .. }));
        assert!(matches!(
            refused(&[1; 129], None),
            ModelError::TooLong { .. }
        ));
        assert!(refused(&[1], Some(2)).to_string().contains("below 2"));
        let mut elsewhere = DeviceCache::default();
        read(&mut load(machine, Element::F32), &[1, 2], &mut elsewhere);
        let mut segment = [Segment {
            ids: &[1],
            cache: &mut elsewhere,
            adapter: None,
            phase: Phase::Answer,
            logits: true,
        }];
        let message = model.pass(&mut segment).unwrap_err().to_string();
        assert!(message.contains("another model's"), "{message}");
        assert!(model.pass(&mut []).unwrap().is_empty());
    });
}

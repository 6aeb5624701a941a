//! Several adapters over one set of packed weights.

use super::*;

/// A magnitude that is a tenth to two times a row's norm.
fn magnitude(model: &Llama, site: Site) -> Tensor {
    let norms = row_norms(&model.at(site).weight).unwrap();
    let norms = norms.to_vec1::<f32>().unwrap();
    let scaled = norms.iter().enumerate();
    let scaled: Vec<f32> = scaled
        .map(|(i, norm)| norm * (0.1 + (i % 20) as f32 * 0.1))
        .collect();
    Tensor::new(scaled, model.device()).unwrap()
}

/// A small update of every place, embedding and head included; with magnitudes for odd seeds.
pub(super) fn updates(seed: usize) -> Vec<(Site, LowRank)> {
    let model = tiny();
    let config = model.config();
    let value = |i: usize| ((i * 2_654_435_761 + seed * 97) % 1009) as f32 / 1009.0 - 0.5;
    let matrix = |rows: usize, cols: usize| {
        let values: Vec<f32> = (0..rows * cols).map(|i| 0.2 * value(i)).collect();
        Tensor::from_vec(values, (rows, cols), model.device()).unwrap()
    };
    Site::all(config.num_hidden_layers)
        .map(|site| {
            let (out, inputs) = site.dims(config);
            let scaled = seed % 2 == 1 && site != Site::Embedding;
            let update = LowRank {
                a: matrix(4, inputs),
                b: matrix(out, 4),
                scale: 2.0,
                dropout: 0.0,
                magnitude: scaled.then(|| magnitude(&model, site)),
            };
            (site, update)
        })
        .collect()
}

#[test]
fn adapters_side_by_side_equal_each_alone() {
    let prompts = prompts();
    let mut model = packed("tiny-model", WeightFormat::F32, 2);
    let numbers = [updates(1), updates(2)].map(|u| model.add_adapter(u).unwrap());
    assert_eq!(numbers, [0, 1]);
    let mut engine = Engine::new(&mut model, EngineLimits::default()).unwrap();
    let adapters = [None, Some(0), Some(1)];
    for (prompt, adapter) in prompts.iter().flat_map(|p| adapters.map(|a| (p, a))) {
        let request = Request {
            prompt: prompt.clone(),
            adapter,
            max_new_tokens: 12,
            stop_ids: [].into(),
            sampling: Sampling::default(),
            top_logprobs: 0,
        };
        engine.submit(request).unwrap();
    }
    let mut found = vec![Vec::new(); prompts.len() * 3];
    while !engine.is_idle() {
        for event in engine.step().unwrap() {
            if let Event::Finished(answer) = event {
                found[answer.index] = answer.ids;
            }
        }
    }
    for (number, adapter) in adapters.into_iter().enumerate() {
        let mut reference = tiny();
        if let Some(adapter) = adapter {
            for (site, update) in updates(adapter + 1) {
                *reference.low_rank_mut(site) = Some(update);
            }
        }
        let config = GenerationConfig {
            max_new_tokens: 12,
            ..GenerationConfig::default()
        };
        let wanted = generate(&reference, &prompts, &config, &mut |_| {
            ControlFlow::Continue(())
        });
        for (i, wanted) in wanted.unwrap().into_iter().enumerate() {
            assert_eq!(
                found[i * 3 + number],
                wanted.ids,
                "adapter {adapter:?}, prompt {i}"
            );
        }
    }
}

/// Beside weights of every kind, against the reference with the same weights.
#[test]
fn magnitudes_scale_as_the_reference_does() {
    let plain = updates(1).into_iter().map(|(site, update)| {
        let magnitude = None;
        (
            site,
            LowRank {
                magnitude,
                ..update
            },
        )
    });
    // The updates are large, so roundings of inputs to bf16 count for more than without them.
    let cases = [
        ("tiny-model", WeightFormat::F32, 3e-6),
        ("tiny-model", WeightFormat::Bf16, 1.5e-2),
        ("tiny-model-q8_0.gguf", WeightFormat::Stored, 1.5e-2),
        ("tiny-model-q4_0.gguf", WeightFormat::Stored, 1.5e-2),
    ];
    for (file, format, tolerance) in cases {
        let mut model = packed(file, format, 2);
        let numbers = [
            model.add_adapter(updates(1)).unwrap(),
            model.add_adapter(plain.clone()).unwrap(),
        ];
        let mut reference = Llama::load(&checkpoint(file), DType::F32, tiny().device()).unwrap();
        for (site, update) in updates(1) {
            *reference.low_rank_mut(site) = Some(update);
        }
        for prompt in prompts() {
            let wanted = reference_logits(&reference, &prompt);
            let [found, without] =
                numbers.map(|n| adapted_logits(&mut model, Some(n), &prompt, usize::MAX));
            let off = error(&found, &wanted);
            assert!(off < tolerance, "{file}: {off:e}");
            let in_pieces = adapted_logits(&mut model, Some(numbers[0]), &prompt, 7);
            assert_eq!(in_pieces, found, "{file}");
            // The magnitudes do matter.
            assert!(error(&without, &wanted) > 0.1, "{file}");
        }
    }
}

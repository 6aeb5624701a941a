//! A row's result depends neither on its batch nor on how its tokens arrive nor on the threads.

use std::ops::ControlFlow;

use smollm_model::{
    Completion, GenerationConfig, GenerationEvent, KvCache, Llama, Mode, ModelError, Ragged,
    generate,
};

use crate::{golden, ids, tiny};

fn prompts() -> Vec<Vec<u32>> {
    golden("logits.json")["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| ids(&p["ids"]))
        .collect()
}

fn answers(model: &Llama, prompts: &[Vec<u32>], config: &GenerationConfig) -> Vec<Completion> {
    generate(model, prompts, config, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Bit patterns of the hidden states of `sequences`, sequence by sequence.
fn bits(model: &Llama, sequences: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let batch = Ragged::new(sequences).unwrap();
    let rows = model
        .hidden(&batch, Mode::Eval)
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    let of = |range: &std::ops::Range<usize>| {
        rows[range.clone()]
            .iter()
            .flatten()
            .map(|x| x.to_bits())
            .collect()
    };
    batch.segments().iter().map(of).collect()
}

#[test]
fn hidden_states_are_bit_identical_alone_and_in_any_batch() {
    let (model, prompts) = (tiny(), prompts());
    let together = bits(&model, &prompts);
    for (prompt, expected) in prompts.iter().zip(&together) {
        assert_eq!(&bits(&model, std::slice::from_ref(prompt))[0], expected);
    }
    let reversed: Vec<_> = prompts.iter().rev().cloned().collect();
    assert!(bits(&model, &reversed).iter().rev().eq(&together));
    let pool = |n| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build()
            .unwrap()
    };
    assert_eq!(pool(1).install(|| bits(&model, &prompts)), together);
    assert_eq!(pool(3).install(|| bits(&model, &prompts)), together);
}

#[test]
fn a_cache_gives_the_bits_of_the_whole_sequence() {
    let (model, prompt) = (tiny(), prompts().pop().unwrap());
    let whole = bits(&model, std::slice::from_ref(&prompt)).remove(0);
    let mut cache = KvCache::default();
    let mut found = Vec::new();
    for piece in prompt.chunks(5) {
        let batch = Ragged::new(&[piece]).unwrap();
        let hidden = model.hidden_cached(&batch, &mut [&mut cache]).unwrap();
        found.extend(hidden.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    }
    assert_eq!(cache.tokens(), prompt.len());
    assert_eq!(found.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), whole);
}

#[test]
fn answers_are_the_same_for_any_batch_size_and_order() {
    let (model, prompts) = (tiny(), prompts());
    for temperature in [0.0, 0.8] {
        let config = GenerationConfig {
            max_new_tokens: 20,
            stop_ids: vec![2, 0],
            temperature,
            top_p: Some(0.9),
            seed: 3,
            batch_size: 1,
            ..GenerationConfig::default()
        };
        let alone = answers(&model, &prompts, &config);
        for batch_size in [2, 3, 16] {
            assert_eq!(
                answers(
                    &model,
                    &prompts,
                    &GenerationConfig {
                        batch_size,
                        ..config.clone()
                    }
                ),
                alone
            );
        }
    }
}

#[test]
fn events_tell_every_token_and_a_break_keeps_what_is_finished() {
    let (model, prompts) = (tiny(), prompts());
    let config = GenerationConfig {
        max_new_tokens: 6,
        batch_size: 2,
        ..GenerationConfig::default()
    };
    let mut seen = vec![Vec::new(); prompts.len()];
    let all = generate(&model, &prompts, &config, &mut |event| {
        if let GenerationEvent::Token { index, id } = event {
            seen[index].push(id);
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(all.iter().map(|c| c.ids.clone()).collect::<Vec<_>>(), seen);
    let mut finished = 0;
    let some = generate(&model, &prompts, &config, &mut |event| {
        finished += usize::from(matches!(event, GenerationEvent::Finished(_)));
        if finished == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    assert_eq!(some, all[..2]);
}

#[test]
fn bad_requests_are_refused_before_any_work() {
    let model = tiny();
    let config = GenerationConfig::default();
    let refuse = |prompts: &[Vec<u32>], config: &GenerationConfig| {
        generate(&model, prompts, config, &mut |_| panic!("worked")).unwrap_err()
    };
    assert!(matches!(
        refuse(&[vec![1], vec![]], &config),
        ModelError::EmptySequence { index: 1 }
    ));
    let id = model.config().vocab_size as u32;
    assert!(matches!(
        refuse(&[vec![id]], &config),
        ModelError::TokenId { index: 0, .. }
    ));
    let limit = model.config().max_position_embeddings;
    assert!(matches!(
        refuse(&[vec![1; limit]], &config),
        ModelError::TooLong { .. }
    ));
    for bad in [
        GenerationConfig {
            batch_size: 0,
            ..config.clone()
        },
        GenerationConfig {
            temperature: -1.0,
            ..config.clone()
        },
        GenerationConfig {
            temperature: f64::NAN,
            ..config.clone()
        },
        GenerationConfig {
            top_p: Some(0.0),
            ..config.clone()
        },
        GenerationConfig {
            min_p: Some(1.5),
            ..config.clone()
        },
        GenerationConfig {
            top_k: Some(0),
            ..config.clone()
        },
        GenerationConfig {
            repetition_penalty: 0.0,
            ..config.clone()
        },
        GenerationConfig {
            streams: vec![1, 2],
            ..config.clone()
        },
    ] {
        assert!(matches!(
            refuse(&[vec![1]], &bad),
            ModelError::Argument { .. }
        ));
    }
}

#[test]
fn an_answer_ends_where_the_positions_do() {
    let model = tiny();
    let limit = model.config().max_position_embeddings;
    let prompt: Vec<u32> = (0..limit as u32 - 3).map(|i| 20 + i % 200).collect();
    let config = GenerationConfig::default();
    let found = answers(&model, &[prompt], &config);
    assert_eq!(found[0].ids.len(), 3);
}

#[test]
fn a_named_stream_draws_the_same_in_any_company() {
    let model = tiny();
    let prompts = [vec![1u32, 30, 40], vec![2, 50], vec![3, 60, 70, 80]];
    let config = |streams: &[u64]| GenerationConfig {
        max_new_tokens: 12,
        temperature: 1.2,
        top_k: Some(50),
        min_p: Some(0.01),
        repetition_penalty: 1.1,
        seed: 5,
        streams: streams.to_vec(),
        ..GenerationConfig::default()
    };
    let together = answers(&model, &prompts, &config(&[11, 22, 33]));
    let mut shuffled = prompts.clone();
    shuffled.reverse();
    let reversed = answers(&model, &shuffled, &config(&[33, 22, 11]));
    for (i, (prompt, stream)) in prompts.iter().zip([11, 22, 33]).enumerate() {
        let alone = answers(&model, std::slice::from_ref(prompt), &config(&[stream]));
        assert_eq!(alone[0].ids, together[i].ids);
        assert_eq!(alone[0].mean_logprob, together[i].mean_logprob);
        assert_eq!(reversed[2 - i].ids, together[i].ids);
    }
    let other = answers(&model, &prompts, &config(&[12, 23, 34]));
    assert!((0..3).any(|i| other[i].ids != together[i].ids));
}

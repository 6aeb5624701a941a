//! Training over packed weights against the differentiable model: loss and the gradient of every adapter.

use candle_core::{DType, Device, Var};
use smollm_model::{
    Checkpoint, Checkpointing, EmbeddingNoise, Llama, LowRank, Mode, ModelConfig, ModelFiles,
    Projection, Ragged, Site, SiteGradients, TrainingBatch, TrainingLlama, TrainingOptions,
    TrainingSite, ops::row_norms,
};

use crate::{fixtures, open};
use case::{Case, cosine, distance, each, everywhere};

mod case;
mod magnitude;
mod stored;

const SEED: u64 = 11;
const FACTOR: f32 = 1.0 / 37.0;

fn files() -> ModelFiles {
    ModelFiles::Dir(fixtures().join("tiny-model"))
}

fn load(options: TrainingOptions) -> TrainingLlama {
    TrainingLlama::load(&Checkpoint::open(&files()).unwrap(), options).unwrap()
}

fn f32s() -> TrainingOptions {
    TrainingOptions::default()
}

fn bf16s() -> TrainingOptions {
    TrainingOptions {
        dtype: DType::BF16,
        ..f32s()
    }
}

fn check_f32(case: &Case) {
    let (nll, gradients) = case.packed(&mut load(f32s()));
    let (expected_nll, expected) = case.reference(DType::F32);
    assert!(
        (nll / expected_nll - 1.0).abs() < 1e-6,
        "{nll} {expected_nll}"
    );
    each(case, &gradients, &expected, |name, found, expected| {
        let distance = distance(found, expected);
        assert!(distance < 1e-5, "{name}: {distance:e}");
    });
}

#[test]
fn all_projections_of_ragged_rows_match_autograd() {
    check_f32(&Case::new(&[70, 1, 17, 130], &everywhere(), 4, 0.0));
}

#[test]
fn dropout_has_the_same_masks() {
    check_f32(&Case::new(&[33, 60], &everywhere(), 3, 0.2));
}

#[test]
fn noise_on_embeddings_is_the_same_and_changes_the_gradients() {
    let quiet = Case::new(&[33, 1, 60], &everywhere(), 3, 0.2);
    let noise = |key| EmbeddingNoise::new(key, vec![0.02, 0.03, 0.01]);
    let noisy = |key| {
        let mut case = Case::new(&[33, 1, 60], &everywhere(), 3, 0.2);
        case.batch = case.batch.with_noise(noise(key)).unwrap();
        case
    };
    check_f32(&noisy(1));
    let of = |case: &Case| case.packed(&mut load(f32s()));
    let (with, without) = (of(&noisy(1)), of(&quiet));
    assert_eq!(with, of(&noisy(1)));
    for other in [without, of(&noisy(2))] {
        assert_ne!(with.0, other.0);
        each(&quiet, &with.1, &other.1, |name, with, other| {
            assert!(distance(with, other) > 1e-3, "{name}");
        });
    }
    for threads in [1, 2] {
        let options = TrainingOptions {
            threads: Some(threads),
            checkpointing: Checkpointing::Block,
            ..f32s()
        };
        assert_eq!(noisy(1).packed(&mut load(options)), with, "{threads}");
    }
    let few = quiet.batch.with_noise(EmbeddingNoise::new(1, vec![0.1]));
    assert!(few.unwrap_err().to_string().contains("3, one for each"));
}

#[test]
fn one_sequence_and_q_and_v_alone_match_autograd() {
    let places = [
        Site::new(0, Projection::Q),
        Site::new(0, Projection::V),
        Site::new(1, Projection::Q),
        Site::new(1, Projection::V),
    ];
    check_f32(&Case::new(&[200], &places, 8, 0.1));
}

/// The walk back ends at the lowest adapter, wherever that is.
#[test]
fn any_lowest_adapter_matches_autograd() {
    for site in Site::all(2) {
        check_f32(&Case::new(&[9, 20], &[site], 2, 0.1));
    }
}

/// More rows than one chunk of the loss has, and tokens that come again and again.
#[test]
fn the_vocabularys_adapters_match_autograd_over_several_chunks() {
    for dropout in [0.0, 0.3] {
        let places = [Site::Head, Site::Embedding, Site::new(1, Projection::K)];
        let mut case = Case::new(&[301, 44], &places, 5, dropout);
        let few: Vec<u32> = case.batch.ids().iter().map(|id| id % 7).collect();
        case.batch = Ragged::new(&[&few[..301], &few[301..]]).unwrap();
        check_f32(&case);
    }
}

/// Token 2 is the fixture's padding, and ends every turn: PEFT never moves its column.
#[test]
fn the_embedding_of_the_padding_token_learns_nothing() {
    let case = Case::new(&[40], &[Site::Embedding], 3, 0.0);
    let few: Vec<u32> = (0..40).map(|i| 1 + i % 3).collect();
    let case = Case {
        batch: Ragged::new(&[few]).unwrap(),
        ..case
    };
    let model = load(f32s());
    let (vocab, padding) = (model.config().vocab_size, model.config().pad_token_id);
    assert_eq!(padding, Some(2));
    for (_, gradients) in [case.packed(&mut load(f32s())), case.reference(DType::F32)] {
        for row in gradients[0].a.chunks_exact(vocab) {
            assert_eq!(row[2], 0.0);
            assert!(row[1] != 0.0 && row[3] != 0.0);
        }
    }
}

#[test]
fn bf16_points_where_autograd_points() {
    bf16_points_alike(&Case::new(&[70, 5, 130], &everywhere(), 4, 0.1));
    bf16_points_alike(&Case::new(&[70, 5, 130], &everywhere(), 4, 0.1).with_magnitudes());
}

fn bf16_points_alike(case: &Case) {
    let (nll, gradients) = case.packed(&mut load(bf16s()));
    let (expected_nll, expected) = case.reference(DType::BF16);
    assert!(
        (nll / expected_nll - 1.0).abs() < 1e-3,
        "{nll} {expected_nll}"
    );
    each(case, &gradients, &expected, |name, found, expected| {
        let cosine = cosine(found, expected);
        assert!(cosine > 0.999, "{name}: {cosine}");
    });
}

#[test]
fn threads_reruns_and_checkpointing_change_no_bit() {
    for (base, magnitudes) in [
        (f32s(), false),
        (bf16s(), false),
        (f32s(), true),
        (bf16s(), true),
    ] {
        let mut case = Case::new(&[70, 1, 17, 130], &everywhere(), 4, 0.1);
        if magnitudes {
            case = case.with_magnitudes();
        }
        let with = |threads, checkpointing| TrainingOptions {
            threads,
            checkpointing,
            ..base
        };
        let mut one = load(with(Some(1), Checkpointing::None));
        let expected = case.packed(&mut one);
        assert_eq!(case.packed(&mut one), expected, "again");
        // Memory that a larger batch has left behind does not matter.
        let other = Case::new(&[140, 140], &everywhere(), 4, 0.1);
        let _ = other.packed(&mut one);
        assert_eq!(case.packed(&mut one), expected, "after another batch");
        for (threads, checkpointing) in [
            (Some(2), Checkpointing::None),
            (Some(3), Checkpointing::None),
            (None, Checkpointing::None),
            (Some(1), Checkpointing::Block),
            (Some(2), Checkpointing::Block),
        ] {
            let found = case.packed(&mut load(with(threads, checkpointing)));
            assert_eq!(found, expected, "{threads:?} {checkpointing:?}");
        }
    }
}

/// What a batch of rows teaches is what they teach one by one, but for the order of a few sums.
#[test]
fn one_batch_of_32_rows_is_32_batches_of_one() {
    let lengths: Vec<usize> = (0..32).map(|i| 5 + i * 37 % 61).collect();
    let case = Case::new(&lengths, &everywhere(), 4, 0.0);
    let mut model = load(f32s());
    let (together, expected) = case.packed(&mut model);
    let sites = case.sites();
    let mut gradients: Vec<_> = sites.iter().map(SiteGradients::zeros).collect();
    let mut alone = 0.0;
    for segment in case.batch.segments().iter() {
        let ids = &case.batch.ids()[segment.clone()];
        let inside = |(_, row): &(usize, &u32)| segment.contains(&(**row as usize));
        let chosen = case.rows.iter().enumerate().filter(inside);
        let (rows, targets): (Vec<u32>, Vec<u32>) = chosen
            .map(|(at, row)| (row - segment.start as u32, case.targets[at]))
            .unzip();
        let batch = TrainingBatch {
            sequences: &Ragged::new(&[ids]).unwrap(),
            rows: &rows,
            targets: &targets,
        };
        let nll = model.gradients(batch, &sites, SEED, FACTOR, &mut gradients);
        alone += nll.unwrap();
    }
    assert!((alone / together - 1.0).abs() < 1e-9, "{alone} {together}");
    each(&case, &gradients, &expected, |name, found, expected| {
        let far = distance(found, expected);
        assert!(far < 1e-6, "{name}: {far}");
    });
}

#[test]
fn gradients_are_added_and_evaluation_drops_nothing() {
    let case = Case::new(&[20, 12], &everywhere(), 4, 0.3).with_magnitudes();
    let mut model = load(f32s());
    let (once, sites) = (case.packed(&mut model).1, case.sites());
    let mut twice = once.clone();
    let batch = case.training_batch();
    model
        .gradients(batch, &sites, SEED, FACTOR, &mut twice)
        .unwrap();
    each(&case, &twice, &once, |name, twice, once| {
        let doubled: Vec<f32> = once.iter().map(|x| 2.0 * x).collect();
        assert!(distance(twice, &doubled) < 1e-6, "{name}");
    });
    let evaluated = model.nll(batch, &sites).unwrap();
    drop(sites);
    let without = Case {
        dropout: 0.0,
        ..case
    };
    assert_eq!(evaluated, without.packed(&mut model).0);
}

#[test]
fn what_does_not_fit_is_refused() {
    let case = Case::new(&[5], &[Site::new(1, Projection::K)], 2, 0.0);
    let mut model = load(f32s());
    let sites = case.sites();
    let mut gradients = vec![SiteGradients::zeros(&sites[0])];
    let mut message = |batch: TrainingBatch<'_>, sites: &[TrainingSite<'_>]| {
        let result = model.gradients(batch, sites, 0, 1.0, &mut gradients);
        result.unwrap_err().to_string()
    };
    let batch = case.training_batch();
    let far = TrainingBatch {
        rows: &[5],
        targets: &[1],
        ..batch
    };
    assert!(message(far, &sites).contains("supervised row is 5"));
    let unknown = TrainingBatch {
        rows: &[1],
        targets: &[9999],
        ..batch
    };
    assert!(message(unknown, &sites).contains("9999"));
    let fewer = TrainingBatch {
        targets: &[],
        ..batch
    };
    assert!(message(fewer, &sites).contains("number of targets"));
    let high = TrainingSite {
        site: Site::new(2, Projection::Q),
        ..sites[0]
    };
    assert!(message(batch, &[high]).contains("layers.2."));
    let thin = TrainingSite {
        rank: 1,
        ..sites[0]
    };
    assert!(message(batch, &[thin]).contains("rank 1"));
    let short = TrainingSite {
        magnitude: Some(&[1.0, 2.0]),
        ..sites[0]
    };
    assert!(message(batch, &[short]).contains("a magnitude of 2"));
    assert!(message(batch, &[sites[0], sites[0]]).contains("twice"));
    assert!(message(batch, &[]).contains("gradients to add to"));
}

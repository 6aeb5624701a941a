//! Training over packed weights against the differentiable model: loss and the gradient of every adapter.

use candle_core::{DType, Device, Var};
use smollm_model::{
    Checkpoint, Checkpointing, EmbeddingNoise, Llama, LowRank, Mode, ModelConfig, ModelFiles,
    Projection, Ragged, SiteGradients, TrainingBatch, TrainingLlama, TrainingOptions, TrainingSite,
    ops::row_norms,
};

use crate::{fixtures, open};

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

/// An adapter of one projection.
struct Pair {
    layer: usize,
    projection: Projection,
    a: Vec<f32>,
    b: Vec<f32>,
    /// DoRA's, where the case has one.
    magnitude: Option<Vec<f32>>,
}

/// What is trained on, and which projections carry adapters.
struct Case {
    batch: Ragged,
    rows: Vec<u32>,
    targets: Vec<u32>,
    rank: usize,
    dropout: f32,
    pairs: Vec<Pair>,
}

impl Case {
    fn new(lengths: &[usize], places: &[(usize, Projection)], rank: usize, dropout: f32) -> Self {
        Self::of(load(f32s()).config(), lengths, places, rank, dropout)
    }

    /// The same for another model than the fixture.
    fn of(
        config: &ModelConfig,
        lengths: &[usize],
        places: &[(usize, Projection)],
        rank: usize,
        dropout: f32,
    ) -> Self {
        let id = |s: usize, i: usize| ((i * i * 31 + s * 977 + i * 7) % config.vocab_size) as u32;
        let sequence = |(s, n): (usize, &usize)| (0..*n).map(|i| id(s, i)).collect::<Vec<_>>();
        let sequences: Vec<Vec<u32>> = lengths.iter().enumerate().map(sequence).collect();
        let batch = Ragged::new(&sequences).unwrap();
        // Two of three rows are supervised.
        let rows: Vec<u32> = (0..batch.tokens() as u32).filter(|r| r % 3 != 1).collect();
        let targets = rows.iter().map(|r| id(5, *r as usize)).collect();
        let values = |n: usize, key: usize, size: f32| -> Vec<f32> {
            let value = |i: usize| size * ((i * 7919 + key * 104_729 + 17) as f32 * 0.37).sin();
            (0..n).map(value).collect()
        };
        let pair = |&(layer, projection): &(usize, Projection)| {
            let (out, inputs) = projection.dims(config);
            let key = 32 * layer + 2 * projection as usize;
            Pair {
                layer,
                projection,
                a: values(rank * inputs, key, 0.1),
                b: values(out * rank, key + 1, 0.05),
                magnitude: None,
            }
        };
        Self {
            batch,
            rows,
            targets,
            rank,
            dropout,
            pairs: places.iter().map(pair).collect(),
        }
    }

    /// The same with magnitudes, from half to one and a half times the norms of the weights' rows.
    fn with_magnitudes(mut self) -> Self {
        let model = open(&files(), DType::F32);
        for pair in &mut self.pairs {
            let weight = &model.linear(pair.layer, pair.projection).weight;
            let norms = row_norms(weight).unwrap().to_vec1::<f32>().unwrap();
            let scaled = norms.iter().enumerate();
            let scaled = scaled.map(|(i, norm)| norm * (1.0 + 0.5 * (i as f32 * 0.7).sin()));
            pair.magnitude = Some(scaled.collect());
        }
        self
    }

    fn sites(&self) -> Vec<TrainingSite<'_>> {
        let mut sites = Vec::new();
        for pair in &self.pairs {
            sites.push(TrainingSite {
                layer: pair.layer,
                projection: pair.projection,
                rank: self.rank,
                scale: 1.5,
                dropout: self.dropout,
                a: &pair.a,
                b: &pair.b,
                magnitude: pair.magnitude.as_deref(),
            });
        }
        sites
    }

    fn training_batch(&self) -> TrainingBatch<'_> {
        TrainingBatch {
            sequences: &self.batch,
            rows: &self.rows,
            targets: &self.targets,
        }
    }

    fn packed(&self, model: &mut TrainingLlama) -> (f64, Vec<SiteGradients>) {
        let sites = self.sites();
        let mut gradients: Vec<_> = sites.iter().map(SiteGradients::zeros).collect();
        let batch = self.training_batch();
        let nll = model.gradients(batch, &sites, SEED, FACTOR, &mut gradients);
        (nll.unwrap(), gradients)
    }

    /// The same from the differentiable model.
    fn reference(&self, dtype: DType) -> (f64, Vec<SiteGradients>) {
        let mut model = open(&files(), dtype);
        let vars: Vec<(Var, Var, Option<Var>)> = self
            .pairs
            .iter()
            .map(|p| self.attach(&mut model, p))
            .collect();
        let mode = Mode::Train { dropout_seed: SEED };
        let hidden = model.hidden(&self.batch, mode).unwrap();
        let nll = model.nll(&hidden, &self.rows, &self.targets).unwrap();
        let grads = (&nll * f64::from(FACTOR)).unwrap().backward().unwrap();
        let of = |var: &Var| {
            let gradient = grads.get(var).unwrap().flatten_all().unwrap();
            gradient.to_vec1::<f32>().unwrap()
        };
        let gradients = vars.iter().map(|(a, b, m)| SiteGradients {
            a: of(a),
            b: of(b),
            magnitude: m.as_ref().map_or_else(Vec::new, of),
        });
        let gradients = gradients.collect();
        (f64::from(nll.to_scalar::<f32>().unwrap()), gradients)
    }

    fn attach(&self, model: &mut Llama, pair: &Pair) -> (Var, Var, Option<Var>) {
        let (out, inputs) = pair.projection.dims(model.config());
        let var = |values: &[f32], shape: (usize, usize)| {
            Var::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
        };
        let (a, b) = (
            var(&pair.a, (self.rank, inputs)),
            var(&pair.b, (out, self.rank)),
        );
        let magnitude = pair.magnitude.as_ref();
        let magnitude = magnitude.map(|m| Var::from_vec(m.clone(), m.len(), &Device::Cpu).unwrap());
        model.linear_mut(pair.layer, pair.projection).low_rank = Some(LowRank {
            a: a.as_tensor().clone(),
            b: b.as_tensor().clone(),
            scale: 1.5,
            dropout: self.dropout,
            magnitude: magnitude.as_ref().map(|m| m.as_tensor().clone()),
        });
        (a, b, magnitude)
    }
}

fn everywhere() -> Vec<(usize, Projection)> {
    let layers = 0..2;
    layers
        .flat_map(|layer| Projection::ALL.map(|p| (layer, p)))
        .collect()
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// `|x − y| / |y|`
fn distance(x: &[f32], y: &[f32]) -> f64 {
    let difference: Vec<f32> = x.iter().zip(y).map(|(x, y)| x - y).collect();
    norm(&difference) / norm(y)
}

fn cosine(x: &[f32], y: &[f32]) -> f64 {
    let dot: f64 = x
        .iter()
        .zip(y)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum();
    dot / (norm(x) * norm(y))
}

/// Every gradient of both, with the name of its matrix.
fn each(
    case: &Case,
    found: &[SiteGradients],
    expected: &[SiteGradients],
    check: impl Fn(&str, &[f32], &[f32]),
) {
    assert_eq!(found.len(), expected.len());
    for ((pair, found), expected) in case.pairs.iter().zip(found).zip(expected) {
        let name = |factor| {
            format!(
                "{} of layer {}, {factor}",
                pair.projection.name(),
                pair.layer
            )
        };
        check(&name("A"), &found.a, &expected.a);
        check(&name("B"), &found.b, &expected.b);
        if let Some(m) = &pair.magnitude {
            assert_eq!(
                [found.magnitude.len(), expected.magnitude.len()],
                [m.len(); 2]
            );
            check(&name("m"), &found.magnitude, &expected.magnitude);
        }
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
        (0, Projection::Q),
        (0, Projection::V),
        (1, Projection::Q),
        (1, Projection::V),
    ];
    check_f32(&Case::new(&[200], &places, 8, 0.1));
}

/// The walk back ends at the lowest adapter, wherever that is.
#[test]
fn any_lowest_adapter_matches_autograd() {
    for projection in Projection::ALL {
        for layer in 0..2 {
            check_f32(&Case::new(&[9, 20], &[(layer, projection)], 2, 0.1));
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
    let case = Case::new(&[5], &[(1, Projection::K)], 2, 0.0);
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
        layer: 2,
        ..sites[0]
    };
    assert!(message(batch, &[high]).contains("layer 2"));
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

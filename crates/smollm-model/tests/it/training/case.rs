//! What is trained on, its loss and gradients by both models, and how near two of them are.

use super::*;

/// An adapter of one place.
pub(super) struct Pair {
    pub(super) site: Site,
    pub(super) a: Vec<f32>,
    pub(super) b: Vec<f32>,
    /// DoRA's, where the case has one.
    pub(super) magnitude: Option<Vec<f32>>,
}

/// What is trained on, and which places carry adapters.
pub(super) struct Case {
    pub(super) batch: Ragged,
    pub(super) rows: Vec<u32>,
    pub(super) targets: Vec<u32>,
    pub(super) rank: usize,
    pub(super) dropout: f32,
    pub(super) pairs: Vec<Pair>,
}

impl Case {
    pub(super) fn new(lengths: &[usize], places: &[Site], rank: usize, dropout: f32) -> Self {
        Self::of(load(f32s()).config(), lengths, places, rank, dropout)
    }

    /// The same for another model than the fixture.
    pub(super) fn of(
        config: &ModelConfig,
        lengths: &[usize],
        places: &[Site],
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
        let pair = |&site: &Site| {
            let (out, inputs) = site.dims(config);
            let key = match site {
                Site::Embedding => 20,
                Site::Block { layer, projection } => 32 * layer + 2 * projection as usize,
                Site::Head => 22,
            };
            Pair {
                site,
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
    pub(super) fn with_magnitudes(mut self) -> Self {
        let model = open(&files(), DType::F32);
        let vectors = self.pairs.iter_mut();
        for pair in vectors.filter(|pair| pair.site != Site::Embedding) {
            let weight = &model.at(pair.site).weight;
            let norms = row_norms(weight).unwrap().to_vec1::<f32>().unwrap();
            let scaled = norms.iter().enumerate();
            let scaled = scaled.map(|(i, norm)| norm * (1.0 + 0.5 * (i as f32 * 0.7).sin()));
            pair.magnitude = Some(scaled.collect());
        }
        self
    }

    pub(super) fn sites(&self) -> Vec<TrainingSite<'_>> {
        let mut sites = Vec::new();
        for pair in &self.pairs {
            sites.push(TrainingSite {
                site: pair.site,
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

    pub(super) fn training_batch(&self) -> TrainingBatch<'_> {
        TrainingBatch {
            sequences: &self.batch,
            rows: &self.rows,
            targets: &self.targets,
        }
    }

    pub(super) fn packed(&self, model: &mut TrainingLlama) -> (f64, Vec<SiteGradients>) {
        let sites = self.sites();
        let mut gradients: Vec<_> = sites.iter().map(SiteGradients::zeros).collect();
        let batch = self.training_batch();
        let nll = model.gradients(batch, &sites, SEED, FACTOR, &mut gradients);
        (nll.unwrap(), gradients)
    }

    /// The same from the differentiable model.
    pub(super) fn reference(&self, dtype: DType) -> (f64, Vec<SiteGradients>) {
        let mut model = open(&files(), dtype);
        let vars: Vec<(Var, Var, Option<Var>)> = self
            .pairs
            .iter()
            .map(|p| self.attach(&mut model, p))
            .collect();
        let mode = Mode::Train { dropout_seed: SEED };
        let hidden = model.hidden(&self.batch, mode).unwrap();
        let targets = (self.rows.as_slice(), self.targets.as_slice());
        let nll = model.nll(&hidden, targets, mode).unwrap();
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

    pub(super) fn attach(&self, model: &mut Llama, pair: &Pair) -> (Var, Var, Option<Var>) {
        let (out, inputs) = pair.site.dims(model.config());
        let var = |values: &[f32], shape: (usize, usize)| {
            Var::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
        };
        let (a, b) = (
            var(&pair.a, (self.rank, inputs)),
            var(&pair.b, (out, self.rank)),
        );
        let magnitude = pair.magnitude.as_ref();
        let magnitude = magnitude.map(|m| Var::from_vec(m.clone(), m.len(), &Device::Cpu).unwrap());
        *model.low_rank_mut(pair.site) = Some(LowRank {
            a: a.as_tensor().clone(),
            b: b.as_tensor().clone(),
            scale: 1.5,
            dropout: self.dropout,
            magnitude: magnitude.as_ref().map(|m| m.as_tensor().clone()),
        });
        (a, b, magnitude)
    }
}

/// Embedding, all projections, and the head.
pub(super) fn everywhere() -> Vec<Site> {
    Site::all(2).collect()
}

pub(super) fn norm(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// `|x − y| / |y|`
pub(super) fn distance(x: &[f32], y: &[f32]) -> f64 {
    let difference: Vec<f32> = x.iter().zip(y).map(|(x, y)| x - y).collect();
    norm(&difference) / norm(y)
}

pub(super) fn cosine(x: &[f32], y: &[f32]) -> f64 {
    let dot: f64 = x
        .iter()
        .zip(y)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum();
    dot / (norm(x) * norm(y))
}

/// Every gradient of both, with the name of its matrix.
pub(super) fn each(
    case: &Case,
    found: &[SiteGradients],
    expected: &[SiteGradients],
    check: impl Fn(&str, &[f32], &[f32]),
) {
    assert_eq!(found.len(), expected.len());
    for ((pair, found), expected) in case.pairs.iter().zip(found).zip(expected) {
        let name = |factor| format!("{}, {factor}", pair.site.path());
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

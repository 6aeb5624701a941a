//! Where adapters stand, and their gradients.

use rayon::prelude::*;

use super::low_rank::LowRankSite;
use super::magnitude::measure;
use super::weights::Weights;
use crate::{ModelConfig, ModelError, Projection};

/// One update `scale · B A` beside a frozen projection, as it stands now.
#[derive(Clone, Copy, Debug)]
pub struct TrainingSite<'a> {
    /// The block, from 0.
    pub layer: usize,
    /// The projection in it.
    pub projection: Projection,
    /// Rows of `A` and columns of `B`.
    pub rank: usize,
    /// `alpha / rank`, or `alpha / √rank` for rsLoRA.
    pub scale: f64,
    /// Probability of dropping an input feature of the adapter while training.
    pub dropout: f32,
    /// `[rank, in]`, row by row.
    pub a: &'a [f32],
    /// `[out, rank]`, row by row.
    pub b: &'a [f32],
    /// DoRA's `m`, `[out]`: the projection is then `m ∘ (W + scale · B A) / n`, `n` the norms of that matrix's rows.
    pub magnitude: Option<&'a [f32]>,
}

/// Sums of gradients of one site.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteGradients {
    /// `dA`, `[rank, in]`.
    pub a: Vec<f32>,
    /// `dB`, `[out, rank]`.
    pub b: Vec<f32>,
    /// `dm`, `[out]`; empty for a site without a magnitude.
    pub magnitude: Vec<f32>,
}

impl SiteGradients {
    /// Nothing added yet.
    pub fn zeros(site: &TrainingSite<'_>) -> Self {
        Self {
            a: vec![0.0; site.a.len()],
            b: vec![0.0; site.b.len()],
            magnitude: vec![0.0; site.magnitude.map_or(0, <[f32]>::len)],
        }
    }
}

/// Parts of a block, in the order of its forward pass: what has to be known to end the walk back early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Qkv,
    O,
    GateUp,
    Down,
}

impl Stage {
    fn of(projection: Projection) -> Self {
        match projection {
            Projection::Q | Projection::K | Projection::V => Self::Qkv,
            Projection::O => Self::O,
            Projection::Gate | Projection::Up => Self::GateUp,
            Projection::Down => Self::Down,
        }
    }
}

/// The sites of a call by layer and projection.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    layers: Vec<[Option<LowRankSite<'a>>; 7]>,
    lowest: Option<(usize, Stage)>,
}

impl<'a> Prepared<'a> {
    /// # Errors
    /// If a layer does not exist, a shape does not fit the model, or a place has two adapters.
    pub(crate) fn new(
        config: &ModelConfig,
        sites: &[TrainingSite<'a>],
    ) -> Result<Self, ModelError> {
        let mut layers: Vec<[Option<LowRankSite<'a>>; 7]> = Vec::new();
        layers.resize_with(config.num_hidden_layers, Default::default);
        let low_rank = |(index, site): (usize, &TrainingSite<'a>)| {
            check_site(config, site)?;
            Ok::<_, ModelError>(LowRankSite::new(index, site))
        };
        let ready: Vec<_> = sites
            .par_iter()
            .enumerate()
            .map(low_rank)
            .collect::<Result<_, _>>()?;
        for (site, low_rank) in sites.iter().zip(ready) {
            let place = &mut layers[site.layer][site.projection as usize];
            if place.replace(low_rank).is_some() {
                return Err(ModelError::Argument {
                    what: "an adapter's place",
                    found: format!("{} of layer {}, twice", site.projection.name(), site.layer),
                    expected: "another for each".into(),
                });
            }
        }
        let lowest = sites
            .iter()
            .map(|site| (site.layer, Stage::of(site.projection)))
            .min();
        Ok(Self { layers, lowest })
    }

    /// Computes what scales the outputs of sites with a magnitude, from the weights and the sites as they stand.
    pub(super) fn measure(&mut self, weights: &Weights) {
        self.layers
            .par_iter_mut()
            .zip(&weights.layers)
            .for_each(|(sites, block)| {
                let [q, k, v, o, gate, up, down] = sites.each_mut().map(Option::as_mut);
                for group in [vec![q, k, v], vec![o], vec![gate, up], vec![down]] {
                    let with_magnitude = group.into_iter().flatten().filter_map(|site| {
                        site.magnitude?;
                        Some((block.place(site.projection, &weights.config), site))
                    });
                    measure(&mut with_magnitude.collect::<Vec<_>>());
                }
            });
    }

    /// The adapter of a projection.
    pub(super) fn get(&self, layer: usize, projection: Projection) -> Option<&LowRankSite<'a>> {
        self.layers[layer][projection as usize].as_ref()
    }

    /// The first part of the model that has an adapter.
    pub(crate) fn lowest(&self) -> Option<(usize, Stage)> {
        self.lowest
    }
}

fn check_site(config: &ModelConfig, site: &TrainingSite<'_>) -> Result<(), ModelError> {
    let (out, inputs) = site.projection.dims(config);
    let fits = site.rank > 0
        && Some(site.a.len()) == site.rank.checked_mul(inputs)
        && Some(site.b.len()) == site.rank.checked_mul(out)
        && site.magnitude.is_none_or(|m| m.len() == out);
    if fits && site.layer < config.num_hidden_layers {
        return Ok(());
    }
    Err(ModelError::Argument {
        what: "an adapter",
        found: format!(
            "A of {} values, B of {} and a magnitude of {}, rank {}, for {} of layer {}",
            site.a.len(),
            site.b.len(),
            site.magnitude.map_or(0, <[f32]>::len),
            site.rank,
            site.projection.name(),
            site.layer
        ),
        expected: format!(
            "[r, {inputs}], [{out}, r] and [{out}] or none, in one of {} layers",
            config.num_hidden_layers
        ),
    })
}

/// # Errors
/// If there is not one gradient, of the right size, for each site.
pub(crate) fn check_gradients(
    sites: &[TrainingSite<'_>],
    gradients: &[SiteGradients],
) -> Result<(), ModelError> {
    let fits = |(site, to): (&TrainingSite<'_>, &SiteGradients)| {
        let magnitude = site.magnitude.map_or(0, <[f32]>::len);
        let found = [to.a.len(), to.b.len(), to.magnitude.len()];
        found == [site.a.len(), site.b.len(), magnitude]
    };
    if sites.len() == gradients.len() && sites.iter().zip(gradients).all(fits) {
        return Ok(());
    }
    Err(ModelError::Argument {
        what: "the gradients to add to",
        found: format!("{} pairs", gradients.len()),
        expected: format!("{}, each of its site's size", sites.len()),
    })
}

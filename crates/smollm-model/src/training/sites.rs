//! Where adapters stand, and their gradients.

use rayon::prelude::*;

use super::low_rank::LowRankSite;
use super::magnitude::measure;
use super::weights::Weights;
use crate::{ModelConfig, ModelError, Projection, Site};

/// One update `scale · B A` beside a frozen weight, as it stands now.
#[derive(Clone, Copy, Debug)]
pub struct TrainingSite<'a> {
    /// Where it stands.
    pub site: Site,
    /// Rows of `A` and columns of `B`.
    pub rank: usize,
    /// `alpha / rank`, or `alpha / √rank` for rsLoRA.
    pub scale: f64,
    /// Probability of dropping an input feature of the adapter while training; without effect beside the embedding.
    pub dropout: f32,
    /// `[rank, in]`, row by row.
    pub a: &'a [f32],
    /// `[out, rank]`, row by row.
    pub b: &'a [f32],
    /// DoRA's `m`, `[out]`: the weight is then `m ∘ (W + scale · B A) / n`, `n` the norms of that matrix's rows. The
    /// embedding has none.
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

/// Where the walk back ends, in the order of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lowest {
    Embedding,
    Block(usize, Stage),
    /// No block is walked back through.
    Head,
}

impl Lowest {
    fn of(site: Site) -> Self {
        match site {
            Site::Embedding => Self::Embedding,
            Site::Block { layer, projection } => Self::Block(layer, Stage::of(projection)),
            Site::Head => Self::Head,
        }
    }
}

/// The sites of a call.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    embedding: Option<LowRankSite<'a>>,
    layers: Vec<[Option<LowRankSite<'a>>; 7]>,
    head: Option<LowRankSite<'a>>,
    lowest: Option<Lowest>,
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
        let (mut embedding, mut head) = (None, None);
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
            let place = match site.site {
                Site::Embedding => &mut embedding,
                Site::Block { layer, projection } => &mut layers[layer][projection as usize],
                Site::Head => &mut head,
            };
            if place.replace(low_rank).is_some() {
                return Err(ModelError::Argument {
                    what: "an adapter's place",
                    found: format!("{}, twice", site.site.path()),
                    expected: "another for each".into(),
                });
            }
        }
        Ok(Self {
            embedding,
            layers,
            head,
            lowest: sites.iter().map(|site| Lowest::of(site.site)).min(),
        })
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
                        let Site::Block { projection, .. } = site.site else {
                            return None;
                        };
                        Some((block.place(projection, &weights.config), site))
                    });
                    measure(&mut with_magnitude.collect::<Vec<_>>());
                }
            });
        if let Some(head) = self.head.as_mut().filter(|head| head.magnitude.is_some()) {
            measure(&mut [(weights.head_place(), head)]);
        }
    }

    /// The adapter of a projection.
    pub(super) fn get(&self, layer: usize, projection: Projection) -> Option<&LowRankSite<'a>> {
        self.layers[layer][projection as usize].as_ref()
    }

    /// The adapter of the embedding.
    pub(super) fn embedding(&self) -> Option<&LowRankSite<'a>> {
        self.embedding.as_ref()
    }

    /// The adapter of the head.
    pub(super) fn head(&self) -> Option<&LowRankSite<'a>> {
        self.head.as_ref()
    }

    /// The first part of the model that has an adapter.
    pub(crate) fn lowest(&self) -> Option<Lowest> {
        self.lowest
    }
}

fn check_site(config: &ModelConfig, site: &TrainingSite<'_>) -> Result<(), ModelError> {
    let (out, inputs) = site.site.dims(config);
    let magnitude_fits = match site.site {
        Site::Embedding => site.magnitude.is_none(),
        _ => site.magnitude.is_none_or(|m| m.len() == out),
    };
    let fits = site.rank > 0
        && Some(site.a.len()) == site.rank.checked_mul(inputs)
        && Some(site.b.len()) == site.rank.checked_mul(out)
        && magnitude_fits;
    let layers = config.num_hidden_layers;
    if fits && site.site.layer().is_none_or(|layer| layer < layers) {
        return Ok(());
    }
    Err(ModelError::Argument {
        what: "an adapter",
        found: format!(
            "A of {} values, B of {} and a magnitude of {}, rank {}, for {}",
            site.a.len(),
            site.b.len(),
            site.magnitude.map_or(0, <[f32]>::len),
            site.rank,
            site.site.path()
        ),
        expected: format!(
            "[r, {inputs}], [{out}, r] and [{out}] or none (none beside the embedding), in one of {layers} layers"
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

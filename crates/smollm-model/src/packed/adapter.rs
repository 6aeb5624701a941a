//! Adapters beside packed weights.

// A kernel's body must be compiled with the instructions of the level that `simd::dispatch` chose, so
// it has to be inlined into it.
#![allow(clippy::inline_always)]

use super::weights::Weights;
use crate::ops::{norm, output_scales, row_squares};
use crate::simd::{Kernel, Simd, dispatch};
use crate::{LowRank, ModelError, Site};

/// One update `scale · B A`, laid out for one row of tokens at a time.
#[derive(Clone, Debug)]
struct Update {
    rank: usize,
    /// `[rank, in]`; `[in, rank]` for the embedding, whose inputs are looked up.
    a: Vec<f32>,
    /// `scale · Bᵀ`, `[rank, out]`
    b: Vec<f32>,
    /// What a magnitude multiplies outputs by, `[out]`; empty without one.
    scales: Vec<f32>,
}

/// The updates of one adapter, by site.
#[derive(Clone, Debug)]
pub(super) struct PackedAdapter {
    embedding: Option<Update>,
    blocks: Vec<[Option<Update>; 7]>,
    head: Option<Update>,
}

impl PackedAdapter {
    /// From the updates of any sites. Magnitudes are related to the weights as they are packed.
    ///
    /// # Errors
    /// If a layer does not exist or a shape does not fit the model.
    pub(super) fn new(
        weights: &Weights,
        updates: impl IntoIterator<Item = (Site, LowRank)>,
    ) -> Result<Self, ModelError> {
        let layers = weights.config.num_hidden_layers;
        let mut all = Self {
            embedding: None,
            blocks: Vec::new(),
            head: None,
        };
        all.blocks.resize_with(layers, Default::default);
        for (site, update) in updates {
            check(weights, site, &update)?;
            let update = Update::new(weights, site, &update)?;
            *all.place(site) = Some(update);
        }
        Ok(all)
    }

    fn place(&mut self, site: Site) -> &mut Option<Update> {
        match site {
            Site::Embedding => &mut self.embedding,
            Site::Block { layer, projection } => &mut self.blocks[layer][projection as usize],
            Site::Head => &mut self.head,
        }
    }

    /// `y += scale · B A x` for one row, where the adapter has that site; then, with a magnitude, `y` is scaled.
    /// `u` is scratch.
    pub(super) fn add(&self, site: Site, x: &[f32], y: &mut [f32], u: &mut Vec<f32>) {
        let update = match site {
            Site::Embedding => None,
            Site::Block { layer, projection } => self.blocks[layer][projection as usize].as_ref(),
            Site::Head => self.head.as_ref(),
        };
        if let Some(update) = update {
            u.clear();
            u.resize(update.rank, 0.0);
            dispatch(Add { update, x, y, u });
        }
    }

    /// `y += scale · B A[:, id]` for the embedding `y` of a token, where the adapter has that site.
    pub(super) fn add_embedding(&self, id: u32, y: &mut [f32]) {
        if let Some(update) = &self.embedding {
            let u = &update.a[id as usize * update.rank..][..update.rank];
            dispatch(Expand { update, u, y });
        }
    }

    /// Whether it changes what the head gives.
    pub(super) fn has_head(&self) -> bool {
        self.head.is_some()
    }
}

/// # Errors
/// If the layer does not exist or a shape does not fit the model; an embedding has no magnitude.
fn check(weights: &Weights, site: Site, update: &LowRank) -> Result<(), ModelError> {
    let config = &weights.config;
    let layers = config.num_hidden_layers;
    let (out, inputs) = site.dims(config);
    let rank = update.a.dim(0)?;
    let magnitude = update.magnitude.as_ref();
    let fits = update.a.dims() == [rank, inputs]
        && update.b.dims() == [out, rank]
        && magnitude.is_none_or(|m| m.dims() == [out] && site != Site::Embedding);
    if fits && site.layer().is_none_or(|layer| layer < layers) {
        return Ok(());
    }
    Err(ModelError::Argument {
        what: "an adapter's update",
        found: format!(
            "A {:?}, B {:?} and a magnitude {:?} for {}",
            update.a.dims(),
            update.b.dims(),
            magnitude.map_or(&[][..], |m| m.dims()),
            site.path()
        ),
        expected: format!(
            "[r, {inputs}], [{out}, r] and [{out}] or none (none beside the embedding), in one of {layers} layers"
        ),
    })
}

impl Update {
    /// The update has been checked.
    fn new(weights: &Weights, site: Site, update: &LowRank) -> Result<Self, ModelError> {
        let (out, inputs) = site.dims(&weights.config);
        let rank = update.a.dim(0)?;
        let b = (&update.b * update.scale)?;
        let a: Vec<f32> = match site {
            Site::Embedding => update.a.t()?.flatten_all()?.to_vec1()?,
            _ => update.a.flatten_all()?.to_vec1()?,
        };
        let scales = match &update.magnitude {
            None => Vec::new(),
            Some(magnitude) => {
                let b: Vec<f32> = b.flatten_all()?.to_vec1()?;
                let row = |j: usize, row: &mut [f32]| weights.row(site, j, row);
                let squares = row_squares(out, inputs, Some((&a, &b)), &row);
                output_scales(&magnitude.to_vec1()?, squares.into_iter().map(norm))
            }
        };
        Ok(Self {
            rank,
            a,
            b: b.t()?.flatten_all()?.to_vec1()?,
            scales,
        })
    }
}

struct Add<'a> {
    update: &'a Update,
    x: &'a [f32],
    y: &'a mut [f32],
    u: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { update, x, y, u } = self;
        for (u, a) in u.iter_mut().zip(update.a.chunks_exact(x.len())) {
            *u = crate::ops::math::sum(x.len(), |i| a[i] * x[i]);
        }
        // SAFETY: the same instructions.
        unsafe { Expand { update, u, y }.run::<S>() };
    }
}

/// `y += scale · B u`, and what a magnitude makes of it.
struct Expand<'a> {
    update: &'a Update,
    u: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Expand<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { update, u, y } = self;
        for (u, b) in u.iter().zip(update.b.chunks_exact(y.len())) {
            for (y, b) in y.iter_mut().zip(b) {
                *y += u * b;
            }
        }
        // None without a magnitude.
        for (y, scale) in y.iter_mut().zip(&update.scales) {
            *y *= scale;
        }
    }
}

//! Adapters beside packed weights.

// A kernel's body must be compiled with the instructions of the level that `simd::dispatch` chose, so
// it has to be inlined into it.
#![allow(clippy::inline_always)]

use super::weights::Weights;
use crate::ops::{norm, output_scales, row_squares};
use crate::simd::{Kernel, Simd, dispatch};
use crate::{LowRank, ModelError, Projection};

/// One update `scale · B A`, laid out for one row of tokens at a time.
#[derive(Clone, Debug)]
struct Update {
    rank: usize,
    /// `[rank, in]`
    a: Vec<f32>,
    /// `scale · Bᵀ`, `[rank, out]`
    b: Vec<f32>,
    /// What a magnitude multiplies outputs by, `[out]`; empty without one.
    scales: Vec<f32>,
}

/// The updates of one adapter, by layer and projection.
#[derive(Clone, Debug)]
pub(super) struct PackedAdapter {
    updates: Vec<[Option<Update>; 7]>,
}

impl PackedAdapter {
    /// From the updates of any layers and projections. Magnitudes are related to the weights as they are packed.
    ///
    /// # Errors
    /// If a layer does not exist or a shape does not fit the model.
    pub(super) fn new(
        weights: &Weights,
        updates: impl IntoIterator<Item = (usize, Projection, LowRank)>,
    ) -> Result<Self, ModelError> {
        let config = &weights.config;
        let mut all: Vec<[Option<Update>; 7]> = Vec::new();
        all.resize_with(config.num_hidden_layers, Default::default);
        for (layer, projection, update) in updates {
            let (out, inputs) = projection.dims(config);
            let rank = update.a.dim(0)?;
            let magnitude = update.magnitude.as_ref();
            let fits = update.a.dims() == [rank, inputs]
                && update.b.dims() == [out, rank]
                && magnitude.is_none_or(|m| m.dims() == [out]);
            let Some(place) = all.get_mut(layer).filter(|_| fits) else {
                return Err(ModelError::Argument {
                    what: "an adapter's update",
                    found: format!(
                        "A {:?}, B {:?} and a magnitude {:?} for {} of layer {layer}",
                        update.a.dims(),
                        update.b.dims(),
                        magnitude.map_or(&[][..], |m| m.dims()),
                        projection.name()
                    ),
                    expected: format!(
                        "[r, {inputs}], [{out}, r] and [{out}] or none, in one of {} layers",
                        config.num_hidden_layers
                    ),
                });
            };
            let a: Vec<f32> = update.a.flatten_all()?.to_vec1()?;
            let b = (&update.b * update.scale)?;
            let scales = match magnitude {
                None => Vec::new(),
                Some(magnitude) => {
                    let b: Vec<f32> = b.flatten_all()?.to_vec1()?;
                    let row = |j: usize, row: &mut [f32]| weights.row((layer, projection), j, row);
                    let squares = row_squares(out, inputs, Some((&a, &b)), &row);
                    output_scales(&magnitude.to_vec1()?, squares.into_iter().map(norm))
                }
            };
            place[projection as usize] = Some(Update {
                rank,
                a,
                b: b.t()?.flatten_all()?.to_vec1()?,
                scales,
            });
        }
        Ok(Self { updates: all })
    }

    /// `y += scale · B A x` for one row, where the adapter has that projection; then, with a magnitude, `y` is scaled.
    /// `u` is scratch.
    pub(super) fn add(
        &self,
        (layer, projection): (usize, Projection),
        x: &[f32],
        y: &mut [f32],
        u: &mut Vec<f32>,
    ) {
        if let Some(update) = &self.updates[layer][projection as usize] {
            u.clear();
            u.resize(update.rank, 0.0);
            dispatch(Add { update, x, y, u });
        }
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

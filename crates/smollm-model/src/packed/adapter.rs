//! Adapters beside packed weights.

// A kernel's body must be compiled with the instructions of the level that `simd::dispatch` chose, so
// it has to be inlined into it.
#![allow(clippy::inline_always)]

use crate::simd::{Kernel, Simd, dispatch};
use crate::{LowRank, ModelConfig, ModelError, Projection};

/// One update `scale · B A`, laid out for one row of tokens at a time.
#[derive(Clone, Debug)]
struct Update {
    rank: usize,
    /// `[rank, in]`
    a: Vec<f32>,
    /// `scale · Bᵀ`, `[rank, out]`
    b: Vec<f32>,
}

/// The updates of one adapter, by layer and projection.
#[derive(Clone, Debug)]
pub(super) struct PackedAdapter {
    updates: Vec<[Option<Update>; 7]>,
}

impl PackedAdapter {
    /// From the updates of any layers and projections.
    ///
    /// # Errors
    /// If a layer does not exist or a shape does not fit the model.
    pub(super) fn new(
        config: &ModelConfig,
        updates: impl IntoIterator<Item = (usize, Projection, LowRank)>,
    ) -> Result<Self, ModelError> {
        let mut all: Vec<[Option<Update>; 7]> = Vec::new();
        all.resize_with(config.num_hidden_layers, Default::default);
        for (layer, projection, update) in updates {
            let (out, inputs) = projection.dims(config);
            let rank = update.a.dim(0)?;
            let fits = update.a.dims() == [rank, inputs] && update.b.dims() == [out, rank];
            let Some(layer) = all.get_mut(layer).filter(|_| fits) else {
                return Err(ModelError::Argument {
                    what: "an adapter's update",
                    found: format!(
                        "A {:?} and B {:?} for {} of layer {layer}",
                        update.a.dims(),
                        update.b.dims(),
                        projection.name()
                    ),
                    expected: format!(
                        "[r, {inputs}] and [{out}, r] in one of {} layers",
                        config.num_hidden_layers
                    ),
                });
            };
            let a = update.a.flatten_all()?.to_vec1()?;
            let b = (update.b.t()? * update.scale)?.flatten_all()?.to_vec1()?;
            layer[projection as usize] = Some(Update { rank, a, b });
        }
        Ok(Self { updates: all })
    }

    /// `y += scale · B A x` for one row, where the adapter has that projection. `u` is scratch.
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
    }
}

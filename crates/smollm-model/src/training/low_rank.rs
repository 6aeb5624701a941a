//! Adapters beside packed weights, forward and backward. Formulas: [`crate::ops::low_rank_linear`].
//!
//! ```text
//! U  = D(X) Aᵀ,       Y += s · U Bᵀ
//! dU = s · dY B,      dX += D(dU A)
//! dA += dUᵀ D(X),     dB += s · dYᵀ U
//! ```

use rayon::prelude::*;

use super::magnitude::Scales;
use super::rows::{TASK_ROWS, add_row};
use super::{SiteGradients, TrainingSite};
use crate::Site;
use crate::buffer::grow;
use crate::ops::gemm::{self, Dims, Strided, Threads, Write};
use crate::ops::{Dropout, Mask};
use crate::simd::{Kernel, Simd, dispatch};

/// An adapter with what its products want.
#[derive(Debug)]
pub(super) struct LowRankSite<'a> {
    /// Its place among the sites of the call.
    pub(super) index: usize,
    pub(super) site: Site,
    pub(super) rank: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    scale: f32,
    pub(super) dropout: f32,
    /// `[rank, in]`
    pub(super) a: &'a [f32],
    /// `s · Bᵀ`, `[rank, out]`
    pub(super) b: Vec<f32>,
    /// `[out]`
    pub(super) magnitude: Option<&'a [f32]>,
    /// What follows from it and the weights.
    pub(super) scales: Option<Scales>,
}

/// What an adapter's backward pass needs of its forward pass.
#[derive(Debug, Default)]
pub(super) struct SavedSite {
    mask: Mask,
    /// `[tokens, rank]`
    u: Vec<f32>,
    /// Outputs before they are scaled, `[tokens, out]`, where a magnitude does that.
    z: Vec<f32>,
}

#[cfg(test)]
impl SavedSite {
    pub(super) fn bytes(&self) -> usize {
        let floats = size_of_val(self.u.as_slice()) + size_of_val(self.z.as_slice());
        floats + self.mask.bytes()
    }
}

/// Buffers that adapters share.
#[derive(Debug, Default)]
pub(super) struct SiteScratch {
    pub(super) dropped: Vec<f32>,
    pub(super) du: Vec<f32>,
    pub(super) sums: Vec<f32>,
}

/// Some columns of rows that are `stride` values apart; the first of them stands at the slice's start.
pub(super) type Part<'a> = (&'a [f32], usize);

impl<'a> LowRankSite<'a> {
    /// The site's sizes have been checked.
    pub(super) fn new(index: usize, site: &TrainingSite<'a>) -> Self {
        let (rank, scale) = (site.rank, site.scale as f32);
        let column = |r: usize| site.b.iter().skip(r).step_by(rank).map(move |b| scale * b);
        Self {
            index,
            site: site.site,
            rank,
            inputs: site.a.len() / rank,
            outputs: site.b.len() / rank,
            scale,
            dropout: site.dropout,
            a: site.a,
            b: (0..rank).flat_map(column).collect(),
            magnitude: site.magnitude,
            scales: None,
        }
    }

    /// `y += s · D(x) Aᵀ Bᵀ` for `x: [tokens, in]` and columns `y` of rows `stride` apart; then `y ← c ∘ y` with a
    /// magnitude.
    pub(super) fn forward(
        &self,
        x: &[f32],
        dropout: Option<Dropout>,
        (y, stride): (&mut [f32], usize),
        saved: &mut SavedSite,
        scratch: &mut SiteScratch,
    ) {
        let (rank, tokens) = (self.rank, x.len() / self.inputs);
        saved.mask.draw(dropout, x.len());
        let x = saved.mask.of(x, &mut scratch.dropped);
        let u = grow(&mut saved.u, tokens * rank);
        let dims = Dims {
            m: tokens,
            n: rank,
            k: self.inputs,
        };
        gemm::dot(
            Threads::Pool,
            dims,
            (x, self.inputs),
            (self.a, self.inputs),
            (u, rank),
        );
        let dims = Dims {
            m: tokens,
            n: self.outputs,
            k: rank,
        };
        gemm::outer(
            Threads::Pool,
            dims,
            Strided::rows(u, rank),
            (&self.b, self.outputs),
            (&mut *y, stride),
            Write::Add,
        );
        if let Some(scales) = &self.scales {
            scales.forward((y, stride), &mut saved.z);
        }
    }

    /// With a magnitude: turns `dy` into the gradient of what it scales, where it stands, and adds the magnitude's own.
    pub(super) fn scale_gradient(
        &self,
        dy: (&mut [f32], usize),
        saved: &SavedSite,
        gradients: &mut [SiteGradients],
    ) {
        if let Some(scales) = &self.scales {
            scales.backward(dy, &saved.z, &mut gradients[self.index].magnitude);
        }
    }

    /// Adds the gradients of `A`, `B` and, where wanted, `x` to what stands there, from `dy` (with a magnitude, what
    /// [`LowRankSite::scale_gradient`] made of it).
    pub(super) fn backward(
        &self,
        x: &[f32],
        (dy, stride): Part<'_>,
        dx: Option<&mut [f32]>,
        saved: &SavedSite,
        scratch: &mut SiteScratch,
        gradients: &mut [SiteGradients],
    ) {
        let (rank, tokens) = (self.rank, x.len() / self.inputs);
        let du = grow(&mut scratch.du, tokens * rank);
        self.inner_gradient((dy, stride), du);

        let gradients = &mut gradients[self.index];
        let dims = Dims {
            m: rank,
            n: self.inputs,
            k: tokens,
        };
        let x = saved.mask.of(x, &mut scratch.dropped);
        gemm::outer(
            Threads::Pool,
            dims,
            Strided::transposed(du, rank),
            (x, self.inputs),
            (&mut gradients.a, self.inputs),
            Write::Add,
        );
        let u = &saved.u[..tokens * rank];
        self.add_b_gradient(u, (dy, stride), &mut scratch.sums, &mut gradients.b);
        if let Some(dx) = dx {
            self.add_input_gradient(du, saved, dx);
        }
    }

    /// `dU = s · dY B`, `[tokens, rank]`
    pub(super) fn inner_gradient(&self, dy: Part<'_>, du: &mut [f32]) {
        let dims = Dims {
            m: du.len() / self.rank,
            n: self.rank,
            k: self.outputs,
        };
        let b = (&self.b[..], self.outputs);
        gemm::dot(Threads::Pool, dims, dy, b, (du, self.rank));
    }

    /// `dB += s · dYᵀ U`
    pub(super) fn add_b_gradient(
        &self,
        u: &[f32],
        dy: Part<'_>,
        sums: &mut Vec<f32>,
        db: &mut [f32],
    ) {
        let rank = self.rank;
        // dBᵀ, because its long side lies along the vectors.
        let sums = grow(sums, rank * self.outputs);
        let dims = Dims {
            m: rank,
            n: self.outputs,
            k: u.len() / rank,
        };
        gemm::outer(
            Threads::Pool,
            dims,
            Strided::transposed(u, rank),
            dy,
            (sums, self.outputs),
            Write::Set,
        );
        for (r, sums) in sums.chunks_exact(self.outputs).enumerate() {
            for (b, sum) in db.iter_mut().skip(r).step_by(rank).zip(sums) {
                *b += self.scale * sum;
            }
        }
    }

    /// `dx += D(du A)`
    fn add_input_gradient(&self, du: &[f32], saved: &SavedSite, dx: &mut [f32]) {
        let (rank, inputs) = (self.rank, self.inputs);
        dx.par_chunks_mut(TASK_ROWS * inputs)
            .zip(du.par_chunks(TASK_ROWS * rank))
            .enumerate()
            .for_each(|(task, (dx, du))| {
                let mut part = vec![0f32; inputs];
                let rows = dx.chunks_exact_mut(inputs).zip(du.chunks_exact(rank));
                for (i, (dx, du)) in rows.enumerate() {
                    dispatch(Combine {
                        factors: du,
                        rows: self.a,
                        sum: &mut part,
                    });
                    saved
                        .mask
                        .apply_row((task * TASK_ROWS + i) * inputs, &mut part);
                    add_row(&part, dx);
                }
            });
    }
}

/// `sum = Σ_r factors[r] · rows[r]`
pub(super) struct Combine<'a> {
    pub(super) factors: &'a [f32],
    pub(super) rows: &'a [f32],
    pub(super) sum: &'a mut [f32],
}

impl Kernel for Combine<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        self.sum.fill(0.0);
        for (factor, row) in self
            .factors
            .iter()
            .zip(self.rows.chunks_exact(self.sum.len()))
        {
            for (sum, x) in self.sum.iter_mut().zip(row) {
                *sum += factor * x;
            }
        }
    }
}

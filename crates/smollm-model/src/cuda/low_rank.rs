//! The two products of an adapter beside a frozen one, `y += s · D(x) Aᵀ Bᵀ`.
//!
//! `A` lies as `[rank, in]`, `B` transposed, `[rank, out]`; ranks are padded to a multiple of 8 with zeros.

use super::args::{LoraExpand, LoraProject, Mask};
use super::{Element, KernelError, Machine, launch};
use crate::{ModelError, Projection, Site};

/// Ranks are padded to multiples of this.
pub(super) const RANKS: usize = 8;

/// An adapter's sizes; its rank is padded.
#[derive(Clone, Copy, Debug)]
pub(super) struct LowRankShape {
    pub(super) rank: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) scale: f32,
}

/// Rows of a matrix: where they begin, and elements from one to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) address: u64,
    pub(super) stride: usize,
}

/// Where products run, on how many rows.
#[derive(Clone, Copy)]
pub(super) struct Place<'m> {
    pub(super) machine: &'m dyn Machine,
    pub(super) element: Element,
    pub(super) rows: usize,
}

impl LowRankShape {
    /// Numbers in `A` and `B`.
    pub(super) fn len(&self) -> usize {
        self.rank * (self.inputs + self.outputs)
    }

    /// `U = s · D(x) Wᵀ` for `W: [rank, width]`.
    ///
    /// # Safety
    /// Every address is valid for the shape's sizes and the place's rows.
    pub(super) unsafe fn project(
        &self,
        place: Place<'_>,
        (x, w, u): (Rows, u64, u64),
        (width, scale): (usize, f32),
        mask: Mask,
    ) -> Result<(), KernelError> {
        let kernel = LoraProject {
            x: x.address,
            w,
            u,
            mask,
            tokens: place.rows as u32,
            width: width as u32,
            x_stride: x.stride as u32,
            rank: self.rank as u32,
            adapters: 1,
            scale,
        };
        // SAFETY: the caller's promise.
        unsafe { launch(place.machine, place.element, &kernel) }
    }

    /// `y += s · D(u W)` for `W: [rank, width]`.
    ///
    /// # Safety
    /// As [`LowRankShape::project`].
    pub(super) unsafe fn expand(
        &self,
        place: Place<'_>,
        (u, w, y): (u64, u64, Rows),
        (width, scale): (usize, f32),
        mask: Mask,
    ) -> Result<(), KernelError> {
        let kernel = LoraExpand {
            u,
            w,
            y: y.address,
            mask,
            tokens: place.rows as u32,
            width: width as u32,
            y_stride: y.stride as u32,
            rank: self.rank as u32,
            adapters: 1,
            scale,
        };
        // SAFETY: the caller's promise.
        unsafe { launch(place.machine, place.element, &kernel) }
    }
}

/// The block and the projection of a site.
///
/// # Errors
/// If it is in no block: kernels have adapters of embedding and head nowhere.
pub(super) fn in_block(site: Site) -> Result<(usize, Projection), ModelError> {
    match site {
        Site::Block { layer, projection } => Ok((layer, projection)),
        Site::Embedding | Site::Head => Err(ModelError::Argument {
            what: "an adapter's place",
            found: site.path(),
            expected: "a layer's on a device: stay on the CPU with adapters of embed_tokens and lm_head, or merge them"
                .into(),
        }),
    }
}

/// Appends `A: [given, in]` and `B: [out, given]` as they lie on a device.
pub(super) fn lay_out(shape: &LowRankShape, a: &[f32], b: &[f32], values: &mut Vec<f32>) {
    let end = values.len() + shape.len();
    let given = a.len() / shape.inputs;
    values.extend_from_slice(a);
    values.resize(end - shape.rank * shape.outputs, 0.0);
    for r in 0..given {
        values.extend(b.iter().skip(r).step_by(given));
    }
    values.resize(end, 0.0);
}

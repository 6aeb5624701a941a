//! The gated activation of the feed-forward block.
//!
//! ```text
//! y  = silu(g) ∘ u,  silu(g) = g σ(g)
//! dg = dy ∘ u ∘ σ(g) (1 + g (1 − σ(g)))
//! du = dy ∘ silu(g)
//! ```
//! Source: Shazeer 2020, "GLU Variants Improve Transformer"; transformers' `LlamaMLP`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::math::sigmoid;
use super::view::{View, cpu_result, f32s};
use crate::simd::{Kernel, Simd, dispatch};

/// `silu(gate) ∘ up` for two f32 tensors of one shape, `[tokens, intermediate]`.
///
/// # Errors
/// If the shapes differ or a tensor is not on the CPU.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.shape() != up.shape() {
        bail!("swiglu: gate is {:?}, up is {:?}", gate.dims(), up.dims());
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu)
}

/// The same on one row in memory, all of one length.
pub(crate) fn swiglu_row(gate: &[f32], up: &[f32], y: &mut [f32]) {
    dispatch(Forward { gate, up, y });
}

/// `(dg, du)` of one row in memory, all of one length.
pub(crate) fn swiglu_gradient_row(
    (gate, up, dy): (&[f32], &[f32], &[f32]),
    (dgate, dup): (&mut [f32], &mut [f32]),
) {
    dispatch(Backward {
        gate,
        up,
        dy,
        dgate,
        dup,
    });
}

struct SwiGlu;

struct Forward<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for ((y, g), u) in self.y.iter_mut().zip(self.gate).zip(self.up) {
            *y = g * sigmoid(*g) * u;
        }
    }
}

struct Backward<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    dy: &'a [f32],
    dgate: &'a mut [f32],
    dup: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let outputs = self.dgate.iter_mut().zip(self.dup.iter_mut());
        let inputs = self.gate.iter().zip(self.up).zip(self.dy);
        for ((dgate, dup), ((g, u), dy)) in outputs.zip(inputs) {
            let s = sigmoid(*g);
            *dgate = dy * u * s * (1.0 + g * (1.0 - s));
            *dup = dy * g * s;
        }
    }
}

/// Elements that one parallel task takes.
const TASK: usize = 1 << 14;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (f32s(gate, gate_layout)?, f32s(up, up_layout)?);
        let mut y = vec![0f32; gate.len()];
        y.par_chunks_mut(TASK)
            .zip(gate.par_chunks(TASK).zip(up.par_chunks(TASK)))
            .for_each(|(y, (gate, up))| dispatch(Forward { gate, up, y }));
        cpu_result(y, gate_layout.shape())
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (g, u, d) = (
            View::<f32>::of(gate)?,
            View::<f32>::of(up)?,
            View::<f32>::of(&dy)?,
        );
        let n = g.slice().len();
        let (mut dgate, mut dup) = (vec![0f32; n], vec![0f32; n]);
        dgate
            .par_chunks_mut(TASK)
            .zip(dup.par_chunks_mut(TASK))
            .zip(g.slice().par_chunks(TASK))
            .zip(u.slice().par_chunks(TASK))
            .zip(d.slice().par_chunks(TASK))
            .for_each(|((((dgate, dup), gate), up), dy)| {
                dispatch(Backward {
                    gate,
                    up,
                    dy,
                    dgate,
                    dup,
                });
            });
        let tensor = |data, like: &Tensor| Tensor::from_vec(data, like.shape(), like.device());
        let dgate = gate.track_op().then(|| tensor(dgate, gate)).transpose()?;
        let dup = up.track_op().then(|| tensor(dup, up)).transpose()?;
        Ok((dgate, dup))
    }
}

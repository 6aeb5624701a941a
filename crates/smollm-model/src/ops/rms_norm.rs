//! Root-mean-square normalisation with a frozen weight.
//!
//! ```text
//! y  = r · x ∘ w,   r = 1 / √(mean(x²) + ε)
//! dx = r · (w ∘ dy) − x · r³ · mean(x ∘ w ∘ dy)
//! ```
//! Source: Zhang and Sennrich 2019; transformers' `LlamaRMSNorm`.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::math::sum;
use super::view::{View, cpu_result, f32s};
use crate::simd::{Kernel, Simd, dispatch};

/// Normalises each row of `x: [tokens, hidden]` and scales it by `weight: [hidden]`, both f32.
///
/// # Errors
/// If the shapes do not fit or a tensor is not on the CPU.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if weight.dims() != [x.dim(1)?] {
        bail!(
            "rms_norm: rows of {:?} but a weight of {:?}",
            x.dims(),
            weight.dims()
        );
    }
    x.contiguous()?.apply_op1(RmsNorm {
        weight: weight.clone(),
        eps: eps as f32,
    })
}

/// The same on one row in memory, `x`, `w` and `y` of one length.
pub(crate) fn rms_norm_row(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
    dispatch(Forward { x, w, y, eps });
}

/// `dx` of one row, `x`, `w`, `dy` and `dx` of one length.
pub(crate) fn rms_norm_gradient_row(x: &[f32], w: &[f32], dy: &[f32], eps: f32, dx: &mut [f32]) {
    dispatch(Backward { x, w, dy, dx, eps });
}

struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

struct Forward<'a> {
    x: &'a [f32],
    w: &'a [f32],
    y: &'a mut [f32],
    eps: f32,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let n = self.w.len();
        for (x, y) in self.x.chunks_exact(n).zip(self.y.chunks_exact_mut(n)) {
            let r = inverse_rms(x, self.eps);
            for ((y, x), w) in y.iter_mut().zip(x).zip(self.w) {
                *y = x * r * w;
            }
        }
    }
}

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (sum(x.len(), |i| x[i] * x[i]) / x.len() as f32 + eps).sqrt()
}

struct Backward<'a> {
    x: &'a [f32],
    w: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    eps: f32,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (n, w) = (self.w.len(), self.w);
        let rows = self.x.chunks_exact(n).zip(self.dy.chunks_exact(n));
        for ((x, dy), dx) in rows.zip(self.dx.chunks_exact_mut(n)) {
            let r = inverse_rms(x, self.eps);
            let mean = sum(n, |i| x[i] * w[i] * dy[i]) / n as f32;
            let slope = r * r * r * mean;
            for i in 0..n {
                dx[i] = r * w[i] * dy[i] - x[i] * slope;
            }
        }
    }
}

/// Rows that one parallel task takes.
const TASK_ROWS: usize = 32;

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32s(x, layout)?;
        let weight = View::<f32>::of(&self.weight)?;
        let (w, eps) = (weight.slice(), self.eps);
        let mut y = vec![0f32; x.len()];
        let task = TASK_ROWS * w.len().max(1);
        x.par_chunks(task)
            .zip(y.par_chunks_mut(task))
            .for_each(|(x, y)| dispatch(Forward { x, w, y, eps }));
        cpu_result(y, layout.shape())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let dy = dy.contiguous()?;
        let (xv, wv, dyv) = (
            View::<f32>::of(x)?,
            View::<f32>::of(&self.weight)?,
            View::<f32>::of(&dy)?,
        );
        let (w, eps) = (wv.slice(), self.eps);
        let mut dx = vec![0f32; xv.slice().len()];
        let task = TASK_ROWS * w.len().max(1);
        xv.slice()
            .par_chunks(task)
            .zip(dyv.slice().par_chunks(task))
            .zip(dx.par_chunks_mut(task))
            .for_each(|((x, dy), dx)| dispatch(Backward { x, w, dy, dx, eps }));
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

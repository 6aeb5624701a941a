//! Rotary position embedding, rotate-half form.
//!
//! ```text
//! θ_j(t) = t · base^(−2j/d),  j < d/2
//! y_j       = x_j cos θ_j − x_{j+d/2} sin θ_j
//! y_{j+d/2} = x_{j+d/2} cos θ_j + x_j sin θ_j
//! ```
//! The backward pass is the rotation by `−θ`. Source: Su et al. 2021; transformers'
//! `LlamaRotaryEmbedding` (rotate-half pairs element `j` with `j + d/2`).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::view::{View, cpu_result, f32s};

/// Cosines and sines for the tokens of a batch, `[tokens, head_dim / 2]` each.
#[derive(Clone, Debug)]
pub struct RopeTable {
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
    half: usize,
}

impl RopeTable {
    /// The angles at `positions` for heads of `head_dim` features.
    pub fn new(positions: &[u32], head_dim: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        // Frequencies rounded to f32 before they meet the position, as transformers computes them.
        let frequency = |j: usize| {
            let power = theta.powf(2.0 * j as f64 / head_dim as f64) as f32;
            1.0 / power
        };
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let angles = || {
            positions
                .iter()
                .flat_map(|&t| frequencies.iter().map(move |f| f64::from(t as f32 * f)))
        };
        let cos = angles().map(|a| a.cos() as f32).collect();
        let sin = angles().map(|a| a.sin() as f32).collect();
        Self { cos, sin, half }
    }

    /// Rotates `x: [tokens, heads · head_dim]` (f32).
    ///
    /// # Errors
    /// If the shape does not fit the table or the tensor is not on the CPU.
    pub fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let (tokens, width) = x.dims2()?;
        if self.half == 0 || width % (2 * self.half) != 0 || tokens * self.half != self.cos.len() {
            bail!(
                "rope: {:?} does not fit a table of {} angles, {} a token",
                x.dims(),
                self.cos.len(),
                self.half
            );
        }
        x.contiguous()?.apply_op1(Rotate(self.clone()))
    }

    /// Rotates every head of one row in place; `token` is its place in the table.
    pub(crate) fn rotate_row(&self, token: usize, row: &mut [f32]) {
        self.turn_row(token, row, 1.0);
    }

    /// Undoes [`RopeTable::rotate_row`]; also its gradient.
    pub(crate) fn rotate_row_back(&self, token: usize, row: &mut [f32]) {
        self.turn_row(token, row, -1.0);
    }

    #[inline(always)]
    fn turn_row(&self, token: usize, row: &mut [f32], sign: f32) {
        let half = self.half;
        let cos = &self.cos[token * half..][..half];
        let sin = &self.sin[token * half..][..half];
        for head in row.chunks_exact_mut(2 * half) {
            let (low, high) = head.split_at_mut(half);
            for j in 0..half {
                let (x1, x2, s) = (low[j], high[j], sign * sin[j]);
                low[j] = x1 * cos[j] - x2 * s;
                high[j] = x2 * cos[j] + x1 * s;
            }
        }
    }

    /// Rotates by the angles (`sign` 1) or back (−1).
    fn apply(&self, x: &[f32], width: usize, sign: f32) -> Vec<f32> {
        let half = self.half;
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(width)
            .enumerate()
            .with_min_len(16)
            .for_each(|(t, y)| {
                let x = &x[t * width..][..width];
                let cos = &self.cos[t * half..][..half];
                let sin = &self.sin[t * half..][..half];
                for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half)) {
                    let (x1, x2) = x.split_at(half);
                    let (y1, y2) = y.split_at_mut(half);
                    for j in 0..half {
                        let s = sign * sin[j];
                        y1[j] = x1[j] * cos[j] - x2[j] * s;
                        y2[j] = x2[j] * cos[j] + x1[j] * s;
                    }
                }
            });
        y
    }
}

struct Rotate(RopeTable);

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        cpu_result(self.0.apply(f32s(x, layout)?, width, 1.0), layout.shape())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let dy = dy.contiguous()?;
        let dx = self.0.apply(View::of(&dy)?.slice(), x.dim(1)?, -1.0);
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

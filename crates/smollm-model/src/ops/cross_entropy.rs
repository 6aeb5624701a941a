//! `lm_head` and cross-entropy in one op, in chunks of positions.
//!
//! ```text
//! z = H Wᵀ,   nll = Σ_i (logsumexp(z_i) − z_i[t_i])
//! dH_i = (softmax(z_i) − onehot(t_i)) W
//! ```
//! Only the positions whose next token is supervised are computed, and the gradient is formed in
//! the forward pass while a chunk's logits are still in memory: `[tokens, vocab]` never exists.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::gemm::Dims;
use super::math::{exp, max, sum};
use super::view::{Weight, cpu_result, f32s};
use crate::simd::{Kernel, Simd, dispatch};

/// Positions of one chunk: 128 rows of 49,152 logits are 25 MB.
pub(crate) const CHUNK: usize = 128;

/// Sum of the negative log-likelihoods (nats) of `targets[i]` after row `rows[i]` of
/// `hidden: [tokens, hidden]`, under the logits `hidden · weightᵀ` with `weight: [vocab, hidden]`.
/// A scalar f32, differentiable in `hidden`; the weight is frozen.
///
/// # Errors
/// If a row or a target is out of range, the shapes do not fit, or a tensor is not on the CPU.
pub fn cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    rows: &[u32],
    targets: &[u32],
) -> Result<Tensor> {
    let ((tokens, width), (vocab, inputs)) = (hidden.dims2()?, weight.dims2()?);
    if width != inputs || rows.len() != targets.len() {
        bail!(
            "cross_entropy: hidden {:?}, weight {:?}, {} rows, {} targets",
            hidden.dims(),
            weight.dims(),
            rows.len(),
            targets.len()
        );
    }
    if let Some(row) = rows.iter().find(|&&row| row as usize >= tokens) {
        bail!("cross_entropy: row {row} of {tokens}");
    }
    if let Some(target) = targets.iter().find(|&&target| target as usize >= vocab) {
        bail!("cross_entropy: token id {target}, but the vocabulary has {vocab}");
    }
    hidden.contiguous()?.apply_op1(CrossEntropy {
        weight: weight.clone(),
        rows: rows.to_vec(),
        targets: targets.to_vec(),
        with_gradient: hidden.track_op(),
        gradient: OnceLock::new(),
    })
}

/// Sum of the negative log-likelihoods (nats) of `targets[i]` under row `i` of `logits: [rows, vocab]`. A scalar f32,
/// differentiable in the logits: what [`cross_entropy`] cannot be used for, because an adapter stands beside the head.
///
/// # Errors
/// If a target is out of range, there is not one for each row, or the tensor is not on the CPU.
pub fn nll_of_logits(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let (rows, vocab) = logits.dims2()?;
    if rows != targets.len() {
        bail!("nll_of_logits: {rows} rows, {} targets", targets.len());
    }
    if let Some(target) = targets.iter().find(|&&target| target as usize >= vocab) {
        bail!("nll_of_logits: token id {target}, but the vocabulary has {vocab}");
    }
    logits.contiguous()?.apply_op1(NllOfLogits {
        targets: targets.to_vec(),
        gradient: OnceLock::new(),
    })
}

struct NllOfLogits {
    targets: Vec<u32>,
    /// Gradient of the sum with respect to the logits, left by the forward pass.
    gradient: OnceLock<Vec<f32>>,
}

impl CustomOp1 for NllOfLogits {
    fn name(&self) -> &'static str {
        "nll-of-logits"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, vocab) = layout.shape().dims2()?;
        let mut gradient = f32s(logits, layout)?.to_vec();
        let rows = gradient
            .par_chunks_exact_mut(vocab)
            .zip(self.targets.par_iter());
        let losses: Vec<f64> = rows
            .map(|(logits, target)| nll_gradient_row(logits, *target as usize))
            .collect();
        // The op belongs to one call, so the cell is empty.
        let _ = self.gradient.set(gradient);
        cpu_result(vec![losses.iter().sum::<f64>() as f32], ())
    }

    fn bwd(&self, logits: &Tensor, _nll: &Tensor, dnll: &Tensor) -> Result<Option<Tensor>> {
        let Some(gradient) = self.gradient.get() else {
            return Ok(None);
        };
        let gradient = Tensor::from_slice(gradient, logits.shape(), logits.device())?;
        Ok(Some(gradient.broadcast_mul(dnll)?))
    }
}

/// Turns one row of logits into the gradient of its NLL, and returns the NLL.
pub(crate) fn nll_gradient_row(logits: &mut [f32], target: usize) -> f64 {
    dispatch(Row { logits, target })
}

struct CrossEntropy {
    weight: Tensor,
    rows: Vec<u32>,
    targets: Vec<u32>,
    with_gradient: bool,
    /// Gradient of the sum with respect to `hidden`, left by the forward pass.
    gradient: OnceLock<Vec<f32>>,
}

/// Turns one row of logits into the gradient of its NLL, and returns the NLL.
struct Row<'a> {
    logits: &'a mut [f32],
    target: usize,
}

impl Kernel for Row<'_> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f64 {
        let top = max(self.logits);
        let target = self.logits[self.target];
        for z in self.logits.iter_mut() {
            *z = exp(*z - top);
        }
        let total = sum(self.logits.len(), |j| self.logits[j]);
        let inverse = 1.0 / total;
        for z in self.logits.iter_mut() {
            *z *= inverse;
        }
        self.logits[self.target] -= 1.0;
        f64::from(top) - f64::from(target) + f64::from(total).ln()
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let hidden = f32s(hidden, layout)?;
        let weight = Weight::of(&self.weight)?;
        let (vocab, width) = self.weight.dims2()?;
        let mut gradient = vec![0f32; if self.with_gradient { hidden.len() } else { 0 }];
        let mut nll = 0f64;
        for (rows, targets) in self.rows.chunks(CHUNK).zip(self.targets.chunks(CHUNK)) {
            let inputs: Vec<f32> = rows
                .iter()
                .flat_map(|&row| &hidden[row as usize * width..][..width])
                .copied()
                .collect();
            let mut logits = vec![0f32; rows.len() * vocab];
            weight.dot(
                Dims {
                    m: rows.len(),
                    n: vocab,
                    k: width,
                },
                &inputs,
                &mut logits,
            );
            let losses: Vec<f64> = logits
                .par_chunks_exact_mut(vocab)
                .zip(targets)
                .map(|(logits, &target)| {
                    dispatch(Row {
                        logits,
                        target: target as usize,
                    })
                })
                .collect();
            nll += losses.iter().sum::<f64>();
            if self.with_gradient {
                let mut rows_gradient = inputs;
                let dims = Dims {
                    m: rows.len(),
                    n: width,
                    k: vocab,
                };
                weight.outer(dims, &logits, &mut rows_gradient);
                for (&row, part) in rows.iter().zip(rows_gradient.chunks_exact(width)) {
                    let target = &mut gradient[row as usize * width..][..width];
                    target.iter_mut().zip(part).for_each(|(g, x)| *g += x);
                }
            }
        }
        // The op belongs to one call, so the cell is empty.
        let _ = self.gradient.set(gradient);
        cpu_result(vec![nll as f32], ())
    }

    fn bwd(&self, hidden: &Tensor, _nll: &Tensor, dnll: &Tensor) -> Result<Option<Tensor>> {
        let Some(gradient) = self.gradient.get().filter(|_| self.with_gradient) else {
            return Ok(None);
        };
        let scale = dnll.to_scalar::<f32>()?;
        let scaled = gradient.iter().map(|g| g * scale).collect();
        Ok(Some(Tensor::from_vec(
            scaled,
            hidden.shape(),
            hidden.device(),
        )?))
    }
}

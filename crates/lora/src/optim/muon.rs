//! Muon: momentum whose singular values are all brought near 1.
//!
//! Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), as
//! `torch.optim.Muon` (2.15.0) with Nesterov momentum and `adjust_lr_fn="match_rms_adamw"` (Liu et
//! al., "Muon is scalable for LLM training", 2025), so that rates that suit `AdamW` suit it. For a
//! matrix of `n` rows and `m` columns, with momentum `μ`:
//!
//! ```text
//! b ← b + (1 - μ) (g - b)
//! o = orthogonalised(g + μ (b - g))
//! w ← w (1 - η λ) - 0.2 √max(n, m) η o
//! ```
//!
//! where `orthogonalised(x)` is five steps of `x ← a x + (b xxᵀ + c (xxᵀ)²) x` from `x / ‖x‖`, which
//! bring singular values into about 0.7 to 1.2. torch does these in bf16, here they are in f32. What is
//! no matrix (`DoRA`'s magnitudes) has no singular values and goes by `AdamW` at the same rate.

use super::{AdamWConfig, Place, Rule, Tensors, lerp};

/// The coefficients of the quintic, chosen for their slope at 0.
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// How often it is applied.
const STEPS: usize = 5;
/// The least norm that is divided by.
const EPS: f32 = 1e-7;

/// What stays the same during a run. The defaults are torch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonConfig {
    /// How much of the momentum a step keeps.
    pub momentum: f64,
    /// For tensors that are no matrices.
    pub others: AdamWConfig,
}

impl Default for MuonConfig {
    fn default() -> Self {
        Self {
            momentum: 0.95,
            others: AdamWConfig::default(),
        }
    }
}

impl Rule for MuonConfig {
    fn buffers(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
        match shape {
            [_, _] => vec![("momentum_buffer", shape.to_vec())],
            _ => self.others.buffers(shape),
        }
    }

    fn update(&self, at: Place<'_>, tensors: Tensors<'_>) {
        let ([rows, columns], [buffer]) = (at.shape, &mut *tensors.memory) else {
            self.others.update(at, tensors);
            return;
        };
        let mut direction = Vec::with_capacity(tensors.gradient.len());
        for (b, g) in buffer.values.iter_mut().zip(tensors.gradient) {
            *b = lerp(*b, *g, 1.0 - self.momentum);
            direction.push(lerp(*g, *b, self.momentum));
        }
        let update = orthogonalised(direction, *rows, *columns);
        let keep = (1.0 - at.rate * at.weight_decay) as f32;
        let rate = (at.rate * 0.2 * (*rows.max(columns) as f64).sqrt()) as f32;
        for (w, u) in tensors.values.iter_mut().zip(update) {
            *w = *w * keep - rate * u;
        }
    }
}

/// The nearest matrix with singular values of about 1, by Newton-Schulz steps.
fn orthogonalised(x: Vec<f32>, rows: usize, columns: usize) -> Vec<f32> {
    // The Gram matrix is that of the shorter side.
    if rows > columns {
        let turned = orthogonalised(transposed(&x, rows, columns), columns, rows);
        return transposed(&turned, columns, rows);
    }
    let squares: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let norm = (squares.sqrt() as f32).max(EPS);
    let mut x: Vec<f32> = x.into_iter().map(|x| x / norm).collect();
    let [a, b, c] = QUINTIC;
    for _ in 0..STEPS {
        let gram = gram(&x, rows);
        let mut inner = product(&gram, &gram, rows);
        for (square, gram) in inner.iter_mut().zip(&gram) {
            *square = b * gram + c * *square;
        }
        let mut next = product(&inner, &x, rows);
        for (next, x) in next.iter_mut().zip(&x) {
            *next += a * x;
        }
        x = next;
    }
    x
}

fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let column = |j| (0..rows).map(move |i| x[i * columns + j]);
    (0..columns).flat_map(column).collect()
}

/// `x xᵀ` of `rows` rows. Terms are summed in eight lanes, so that the compiler can use them.
fn gram(x: &[f32], rows: usize) -> Vec<f32> {
    let columns = x.len() / rows;
    let row = |i: usize| &x[i * columns..][..columns];
    let mut out = vec![0.0; rows * rows];
    for i in 0..rows {
        for j in 0..=i {
            let dot = dot(row(i), row(j));
            out[i * rows + j] = dot;
            out[j * rows + i] = dot;
        }
    }
    out
}

fn dot(x: &[f32], y: &[f32]) -> f32 {
    let (x_lanes, x_rest) = x.as_chunks::<8>();
    let (y_lanes, y_rest) = y.as_chunks::<8>();
    let mut sums = [0f32; 8];
    for (x, y) in x_lanes.iter().zip(y_lanes) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

/// `s x` for a square `s` of `rows` rows.
fn product(s: &[f32], x: &[f32], rows: usize) -> Vec<f32> {
    let columns = x.len() / rows;
    let mut out = vec![0.0; x.len()];
    for (out, s) in out.chunks_exact_mut(columns).zip(s.chunks_exact(rows)) {
        for (factor, x) in s.iter().zip(x.chunks_exact(columns)) {
            for (out, x) in out.iter_mut().zip(x) {
                *out += factor * x;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the steps promise: singular values near 1, here seen as `o oᵀ` near the identity.
    #[test]
    fn what_comes_out_is_nearly_orthogonal_for_wide_and_tall() {
        let wave = |n: usize| {
            (0..n)
                .map(|i| ((i * i + 3 * i) as f32 * 0.37).sin())
                .collect()
        };
        for (rows, columns) in [(3, 20), (20, 3), (4, 4), (1, 9)] {
            let x: Vec<f32> = wave(rows * columns);
            let mut out = orthogonalised(x, rows, columns);
            let short = rows.min(columns);
            if rows > columns {
                out = transposed(&out, rows, columns);
            }
            let gram = gram(&out, short);
            let trace: f32 = (0..short).map(|i| gram[i * short + i]).sum::<f32>() / short as f32;
            assert!((0.4..1.5).contains(&trace), "{rows}x{columns}: {trace}");
        }
        assert_eq!(orthogonalised(vec![0.0; 6], 2, 3), [0.0; 6]);
    }
}

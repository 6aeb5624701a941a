//! The formulas, plainly, in f64. `ops.rs` shows that the crate's CPU ops compute the same.

use std::ops::Range;

/// `(y, r)`: `y = r h w`, `r = 1 / sqrt(mean(h²) + eps)`.
pub(crate) fn rms_norm(h: &[f64], w: &[f64], eps: f64) -> (Vec<f64>, Vec<f64>) {
    let n = w.len();
    let inverse =
        |row: &[f64]| 1.0 / (row.iter().map(|x| x * x).sum::<f64>() / n as f64 + eps).sqrt();
    let r: Vec<f64> = h.chunks_exact(n).map(inverse).collect();
    let y = (0..h.len()).map(|i| r[i / n] * h[i] * w[i % n]).collect();
    (y, r)
}

/// `r (w dy) − h r³ mean(h w dy)`.
pub(crate) fn rms_norm_backward(h: &[f64], w: &[f64], dy: &[f64], eps: f64) -> Vec<f64> {
    let n = w.len();
    let (_, r) = rms_norm(h, w, eps);
    let mean = |row: usize| {
        (0..n)
            .map(|i| h[row * n + i] * w[i] * dy[row * n + i])
            .sum::<f64>()
            / n as f64
    };
    let means: Vec<f64> = (0..r.len()).map(mean).collect();
    let gradient = |i: usize| {
        let row = i / n;
        r[row] * w[i % n] * dy[i] - h[i] * r[row].powi(3) * means[row]
    };
    (0..h.len()).map(gradient).collect()
}

/// Rotates heads of `dim` features of rows `[tokens, width]` by `sign` times their angles.
pub(crate) fn rope(
    x: &[f64],
    width: usize,
    positions: &[u32],
    dim: usize,
    theta: f64,
    sign: f64,
) -> Vec<f64> {
    let half = dim / 2;
    let mut y = x.to_vec();
    for (token, &position) in positions.iter().enumerate() {
        for head in 0..width / dim {
            for j in 0..half {
                // f32 as transformers rounds it: frequency, then product.
                let frequency = 1.0 / theta.powf(2.0 * j as f64 / dim as f64) as f32;
                let (s, c) = (sign * f64::from(position as f32 * frequency)).sin_cos();
                let at = token * width + head * dim + j;
                y[at] = x[at] * c - x[at + half] * s;
                y[at + half] = x[at + half] * c + x[at] * s;
            }
        }
    }
    y
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(crate) fn swiglu(gate: &[f64], up: &[f64]) -> Vec<f64> {
    gate.iter()
        .zip(up)
        .map(|(g, u)| g * sigmoid(*g) * u)
        .collect()
}

/// `(dgate, dup)`.
pub(crate) fn swiglu_backward(gate: &[f64], up: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let one = |i: usize| {
        let (g, s) = (gate[i], sigmoid(gate[i]));
        (dy[i] * up[i] * s * (1.0 + g * (1.0 - s)), dy[i] * g * s)
    };
    (0..dy.len()).map(one).unzip()
}

/// `(nll of each row, gradient of scale · their sum)` of logits `[rows, vocab]`.
pub(crate) fn cross_entropy(
    logits: &[f64],
    vocab: usize,
    targets: &[u32],
    scale: f64,
) -> (Vec<f64>, Vec<f64>) {
    let (mut nll, mut gradient) = (Vec::new(), Vec::new());
    for (row, &target) in logits.chunks_exact(vocab).zip(targets) {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|z| (z - top).exp()).sum();
        nll.push(top + sum.ln() - row[target as usize]);
        gradient.extend(row.iter().enumerate().map(|(j, z)| {
            scale * ((z - top).exp() / sum - f64::from(u8::from(j == target as usize)))
        }));
    }
    (nll, gradient)
}

/// A batch of packed sequences with grouped heads of `dim` features.
pub(crate) struct Batch<'a> {
    pub(crate) q: &'a [f64],
    pub(crate) k: &'a [f64],
    pub(crate) v: &'a [f64],
    pub(crate) segments: &'a [Range<usize>],
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) dim: usize,
}

/// Results of attention and, when asked, gradients.
pub(crate) struct Attention {
    pub(crate) out: Vec<f64>,
    pub(crate) lse: Vec<f64>,
    pub(crate) dq: Vec<f64>,
    pub(crate) dk: Vec<f64>,
    pub(crate) dv: Vec<f64>,
}

impl Batch<'_> {
    /// Causal softmax attention and its gradients for `dout`, row by row.
    pub(crate) fn attention(&self, dout: &[f64]) -> Attention {
        let tokens = self.q.len() / (self.heads * self.dim);
        let mut result = Attention {
            out: vec![0.0; self.q.len()],
            lse: vec![0.0; tokens * self.heads],
            dq: vec![0.0; self.q.len()],
            dk: vec![0.0; self.k.len()],
            dv: vec![0.0; self.v.len()],
        };
        for segment in self.segments {
            for head in 0..self.heads {
                for i in segment.clone() {
                    result.lse[head * tokens + i] =
                        self.row(segment.start, head, i, dout, &mut result);
                }
            }
        }
        result
    }

    /// Query `i` of one head; returns its log-sum-exp.
    fn row(
        &self,
        start: usize,
        head: usize,
        i: usize,
        dout: &[f64],
        result: &mut Attention,
    ) -> f64 {
        let (dim, scale) = (self.dim, 1.0 / (self.dim as f64).sqrt());
        let query = (i * self.heads + head) * dim..(i * self.heads + head + 1) * dim;
        let kv = head / (self.heads / self.kv_heads);
        let key = |j: usize| (j * self.kv_heads + kv) * dim..(j * self.kv_heads + kv + 1) * dim;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (q, d) = (&self.q[query.clone()], &dout[query.clone()]);
        let scores: Vec<f64> = (start..=i)
            .map(|j| scale * dot(q, &self.k[key(j)]))
            .collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln();
        let p: Vec<f64> = scores.iter().map(|s| (s - lse).exp()).collect();
        for (j, p) in (start..=i).zip(&p) {
            for (c, v) in self.v[key(j)].iter().enumerate() {
                result.out[query.start + c] += p * v;
            }
        }
        let delta = dot(d, &result.out[query.clone()]);
        for (j, p) in (start..=i).zip(&p) {
            let ds = p * (dot(d, &self.v[key(j)]) - delta) * scale;
            for c in 0..dim {
                result.dv[key(j).start + c] += p * d[c];
                result.dk[key(j).start + c] += ds * q[c];
                result.dq[query.start + c] += ds * self.k[key(j)][c];
            }
        }
        lse
    }
}

/// `a [m, k] · b [k, n]`.
pub(crate) fn product(a: &[f64], b: &[f64], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
    let mut out = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            for j in 0..n {
                out[i * n + j] += a[i * k + l] * b[l * n + j];
            }
        }
    }
    out
}

/// Rows become columns.
pub(crate) fn transposed(a: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..columns)
        .flat_map(|j| (0..rows).map(move |i| a[i * columns + j]))
        .collect()
}

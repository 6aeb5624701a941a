//! Adafactor: the second moments of a matrix kept as one number a row and one a column.
//!
//! Source: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost" (2018),
//! as transformers' `Adafactor` (5.24.0) with `scale_parameter=False, relative_step=False`, which is
//! what its `optim="adafactor"` makes: the rate is the schedule's, there is no first moment. In step
//! `t`, with `β = 1 - t^-0.8` and means over rows and columns:
//!
//! ```text
//! r ← β r + (1 - β) mean_columns(g² + 1e-30)
//! c ← β c + (1 - β) mean_rows(g² + 1e-30)
//! u = g / √(r cᵀ / mean(r))             (a vector: v ← β v + (1 - β) (g² + 1e-30), u = g / √v)
//! u ← u / max(1, rms(u) / 1.0)
//! w ← w (1 - λ η) - η u
//! ```
//!
//! torch's `Adafactor` is another one: it scales the rate by the size of the weights, with which a
//! LoRA's `B`, zero at its start, would hardly leave it.

use super::{Place, Rule, Tensors};

/// Added to squares.
const EPS: f32 = 1e-30;
/// The exponent of `β`'s decay.
const DECAY_RATE: f64 = -0.8;
/// An update's greatest root mean square.
const CLIP_THRESHOLD: f32 = 1.0;

/// It has no numbers of its own that anybody sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdafactorConfig;

impl Rule for AdafactorConfig {
    fn buffers(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
        match *shape {
            [rows, columns] => vec![
                ("exp_avg_sq_col", vec![columns]),
                ("exp_avg_sq_row", vec![rows]),
            ],
            _ => vec![("exp_avg_sq", shape.to_vec())],
        }
    }

    fn update(&self, at: Place<'_>, tensors: Tensors<'_>) {
        let Tensors {
            values,
            gradient,
            memory,
        } = tensors;
        let old = 1.0 - (at.step as f64).powf(DECAY_RATE);
        let (old, new) = (old as f32, (1.0 - old) as f32);
        let mut update = match memory {
            [columns, rows] => {
                take_in(&mut rows.values, &mut columns.values, gradient, (old, new));
                scaled(&rows.values, &columns.values, gradient)
            }
            [squares] => {
                for (v, g) in squares.values.iter_mut().zip(gradient) {
                    *v = old * *v + new * (g * g + EPS);
                }
                let pairs = squares.values.iter().zip(gradient);
                pairs.map(|(v, g)| g / v.sqrt()).collect()
            }
            _ => unreachable!("Adafactor has one or two buffers"),
        };
        let size = (rms(&update) / CLIP_THRESHOLD).max(1.0);
        let rate = at.rate as f32;
        for u in &mut update {
            *u = *u / size * rate;
        }
        let decay = (at.weight_decay * at.rate) as f32;
        for (w, u) in values.iter_mut().zip(&update) {
            *w -= decay * *w;
            *w -= u;
        }
    }
}

/// Takes in a gradient's mean squares; sums are taken in f64.
fn take_in(rows: &mut [f32], columns: &mut [f32], gradient: &[f32], (old, new): (f32, f32)) {
    let (n, m) = (rows.len(), columns.len());
    let mut of_columns = vec![0f64; m];
    for (row, gradient) in rows.iter_mut().zip(gradient.chunks_exact(m.max(1))) {
        let mut sum = 0f64;
        for (of_column, g) in of_columns.iter_mut().zip(gradient) {
            let square = f64::from(g * g + EPS);
            sum += square;
            *of_column += square;
        }
        *row = old * *row + new * (sum / m as f64) as f32;
    }
    for (column, sum) in columns.iter_mut().zip(of_columns) {
        *column = old * *column + new * (sum / n as f64) as f32;
    }
}

/// `g / √(r cᵀ / mean(r))`, its two roots apart, as transformers has them: their product could overflow.
fn scaled(rows: &[f32], columns: &[f32], gradient: &[f32]) -> Vec<f32> {
    let sum: f64 = rows.iter().copied().map(f64::from).sum();
    let mean = (sum / rows.len() as f64) as f32;
    let of_columns: Vec<f32> = columns.iter().map(|c| 1.0 / c.sqrt()).collect();
    let mut out = Vec::with_capacity(gradient.len());
    for (row, gradient) in rows.iter().zip(gradient.chunks_exact(columns.len().max(1))) {
        let of_row = 1.0 / (row / mean).sqrt();
        let pairs = of_columns.iter().zip(gradient);
        out.extend(pairs.map(|(of_column, g)| of_row * of_column * g));
    }
    out
}

fn rms(values: &[f32]) -> f32 {
    let squares: f64 = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    (squares.sqrt() / (values.len() as f64).sqrt()) as f32
}

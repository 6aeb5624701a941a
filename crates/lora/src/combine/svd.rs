//! The nearest product of a smaller rank, without forming `[out, in]`.
//!
//! `B = Q_b R_b` and `Aᵀ = Q_a R_a` by Gram and Schmidt, then the small `R_b R_aᵀ = U S Vᵀ` by
//! one-sided Jacobi rotations (Hestenes 1958), all in f64. `B A = (Q_b U) S (Q_a V)ᵀ` is the singular
//! value decomposition, of which the first terms are kept.

use crate::adapter::Pair;
use crate::error::LoraError;
use candle_core::{DType, Device, Tensor};

/// A matrix as its columns.
type Columns = Vec<Vec<f64>>;

/// Sweeps over all pairs of columns; ten are more than matrices of this size need.
const SWEEPS: usize = 60;
/// Columns whose cosine is below this are orthogonal.
const ORTHOGONAL: f64 = 1e-15;
/// What is left of a column, below which it is a combination of those before.
const DEPENDENT: f64 = 1e-14;

/// The best approximation of `B A` with so many columns of `B` (fewer, if `B A` has no more):
/// `B' = U S`, `A' = Vᵀ`, as PEFT splits them.
pub(super) fn truncated(pair: &Pair, rank: usize) -> Result<Pair, LoraError> {
    let (q_b, r_b) = orthonormal(columns(&pair.b)?);
    let (q_a, r_a) = orthonormal(columns(&pair.a.t()?)?);
    let (us, v) = svd(product(&r_b, &transposed(&r_a)));
    let mut order: Vec<usize> = (0..us.len()).collect();
    let size = |i: &usize| dot(&us[*i], &us[*i]);
    order.sort_by(|i, j| size(j).total_cmp(&size(i)));
    order.truncate(rank);
    let kept = |all: &Columns| order.iter().map(|&i| all[i].clone()).collect::<Columns>();
    let b = tensor(&product(&q_b, &kept(&us)))?;
    let a = tensor(&product(&q_a, &kept(&v)))?;
    Ok(Pair {
        a: a.t()?.contiguous()?,
        b,
        magnitude: None,
    })
}

fn columns(matrix: &Tensor) -> Result<Columns, LoraError> {
    Ok(matrix.to_dtype(DType::F64)?.t()?.to_vec2::<f64>()?)
}

/// `[rows, columns]`, f32.
fn tensor(columns: &Columns) -> Result<Tensor, LoraError> {
    let tensor = Tensor::new(columns.clone(), &Device::Cpu)?.t()?;
    Ok(tensor.to_dtype(DType::F32)?.contiguous()?)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `y += s x`.
fn add(y: &mut [f64], s: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += s * x;
    }
}

/// `left · right`, all by columns.
fn product(left: &Columns, right: &Columns) -> Columns {
    let rows = left.first().map_or(0, Vec::len);
    let column = |weights: &Vec<f64>| {
        let mut sum = vec![0.0; rows];
        for (weight, column) in weights.iter().zip(left) {
            add(&mut sum, *weight, column);
        }
        sum
    };
    right.iter().map(column).collect()
}

fn transposed(columns: &Columns) -> Columns {
    let rows = columns.first().map_or(0, Vec::len);
    (0..rows)
        .map(|row| columns.iter().map(|column| column[row]).collect())
        .collect()
}

/// `Q` with orthonormal columns (zero where a column depends on those before) and `R` with
/// `Q R` the matrix.
fn orthonormal(mut q: Columns) -> (Columns, Columns) {
    let n = q.len();
    let mut r = vec![vec![0.0; n]; n];
    for (j, parts) in r.iter_mut().enumerate() {
        let (done, rest) = q.split_at_mut(j);
        let column = &mut rest[0];
        let before = dot(column, column).sqrt();
        // Once leaves rounding errors of the size of what was taken away, twice does not.
        for _ in 0..2 {
            for (direction, sum) in done.iter().zip(parts.iter_mut()) {
                let part = dot(direction, column);
                *sum += part;
                add(column, -part, direction);
            }
        }
        let left = dot(column, column).sqrt();
        if left <= DEPENDENT * before {
            column.fill(0.0);
        } else {
            parts[j] = left;
            for x in column.iter_mut() {
                *x /= left;
            }
        }
    }
    (q, r)
}

/// `U S` and `V` of a square matrix: rotates pairs of columns until all are orthogonal.
fn svd(mut us: Columns) -> (Columns, Columns) {
    let n = us.len();
    let unit = |i: usize| (0..n).map(|j| f64::from(i == j)).collect();
    let mut v: Columns = (0..n).map(unit).collect();
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for j in 1..n {
            for i in 0..j {
                let (xx, yy) = (dot(&us[i], &us[i]), dot(&us[j], &us[j]));
                let xy = dot(&us[i], &us[j]);
                if xy.abs() <= ORTHOGONAL * (xx * yy).sqrt() {
                    continue;
                }
                rotated = true;
                let zeta = (yy - xx) / (2.0 * xy);
                let t = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                let cosine = 1.0 / t.hypot(1.0);
                rotate(&mut us, i, j, cosine, cosine * t);
                rotate(&mut v, i, j, cosine, cosine * t);
            }
        }
        if !rotated {
            break;
        }
    }
    (us, v)
}

fn rotate(columns: &mut Columns, i: usize, j: usize, cosine: f64, sine: f64) {
    let (first, second) = columns.split_at_mut(j);
    for (x, y) in first[i].iter_mut().zip(&mut second[0]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}

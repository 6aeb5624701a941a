//! Factors that are a part of the weight they stand beside.
//!
//! All of it in f64 and on one thread a weight: a decomposition's bits would depend on how its sums are dealt out.

use super::Place;
use crate::adapter::Pair;
use crate::error::LoraError;
use crate::matrix::mat;
use crate::rng::Key;
use candle_core::DType;
use faer::Mat;
use smollm_model::Checkpoint;

/// `A = √(S_r / s) V_rᵀ`, `B = U_r √(S_r / s)` of `W = U S Vᵀ`, so that `s B A` is the nearest update of rank `r` to `W`
/// (Meng et al. 2024; PEFT's `pissa_init`).
pub(super) fn pissa(place: Place, base: &Checkpoint) -> Result<Pair, LoraError> {
    let weight = read(place, base)?;
    split(place, &largest(place, &weight)?)
}

/// As [`pissa`], of the best approximation within a random subspace of `r` dimensions after `steps` steps of iteration
/// (Halko, Martinsson, Tropp 2011, algorithms 4.4 and 5.1; torch's `svd_lowrank`).
pub(super) fn pissa_niter(
    place: Place,
    base: &Checkpoint,
    steps: usize,
    key: Key,
) -> Result<Pair, LoraError> {
    let weight = read(place, base)?;
    let rank = place.shape.rank;
    // The subspace is one of the shorter side, as in torch.
    let wide = place.out < place.inputs;
    let tall = if wide {
        weight.transpose().to_owned()
    } else {
        weight
    };
    let random = Mat::from_fn(tall.ncols(), rank, |i, j| key.normal((i * rank + j) as u64));
    let mut q = orthonormal(&(&tall * random));
    for _ in 0..steps {
        let back = orthonormal(&(tall.transpose() * &q));
        q = orthonormal(&(&tall * back));
    }
    let mut found = largest(place, &(q.transpose() * &tall))?;
    found.u = &q * found.u;
    if wide {
        std::mem::swap(&mut found.u, &mut found.v);
    }
    split(place, &found)
}

/// `A = R[:r]`, `B = Q[:, :r]` of `W = Q R` (Büyükakyüz 2024; PEFT's `olora_init`, which takes `s B A` out of the base
/// although only `B A` is a part of it).
pub(super) fn olora(place: Place, base: &Checkpoint) -> Result<Pair, LoraError> {
    let weight = read(place, base)?;
    // Q's first columns depend on W's first columns alone, and R = Qᵀ W.
    let q = orthonormal(&weight.subcols(0, place.shape.rank).to_owned());
    let r = q.transpose() * &weight;
    place.pair(|i, j| r[(i, j)], |i, j| q[(i, j)])
}

/// Singular values, largest first, and their vectors as columns.
struct Decomposed {
    u: Mat<f64>,
    s: Vec<f64>,
    v: Mat<f64>,
}

fn largest(place: Place, matrix: &Mat<f64>) -> Result<Decomposed, LoraError> {
    let svd = matrix.thin_svd().map_err(|_| LoraError::Decompose {
        name: place.site.weight_name(),
        reason: "its singular values do not converge".into(),
    })?;
    let s = svd.S().column_vector();
    Ok(Decomposed {
        u: svd.U().to_owned(),
        s: (0..s.nrows()).map(|i| s[i]).collect(),
        v: svd.V().to_owned(),
    })
}

fn split(place: Place, Decomposed { u, s, v }: &Decomposed) -> Result<Pair, LoraError> {
    let root = |r: usize| (s[r] / place.shape.scale).sqrt();
    place.pair(|r, j| root(r) * v[(j, r)], |i, r| u[(i, r)] * root(r))
}

/// An orthonormal basis of a matrix's columns.
fn orthonormal(matrix: &Mat<f64>) -> Mat<f64> {
    matrix.qr().compute_thin_Q()
}

/// The weight beside which the pair stands, `[out, in]`.
fn read(place: Place, base: &Checkpoint) -> Result<Mat<f64>, LoraError> {
    let (name, out, inputs) = (place.weight(base), place.out, place.inputs);
    let weight = base.tensor(&name, &[out, inputs], DType::F32)?;
    let weight = mat(&weight)?;
    for column in weight.col_iter() {
        if let Some(found) = column.iter().find(|value| !value.is_finite()) {
            let reason = format!("it holds {found}, which is no finite number");
            return Err(LoraError::Decompose { name, reason });
        }
    }
    Ok(weight)
}

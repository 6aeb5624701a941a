//! The nearest product of a smaller rank, without forming `[out, in]`.
//!
//! `B = Q_b R_b` and `Aᵀ = Q_a R_a`, then the small `R_b R_aᵀ = U S Vᵀ`, all in f64: `B A = (Q_b U) S (Q_a V)ᵀ` is the
//! singular value decomposition, of which the first terms are kept.

use crate::adapter::Pair;
use crate::error::LoraError;
use crate::matrix::{mat, tensor};

/// The best approximation of `B A` with so many columns of `B` (fewer, if `B A` has no more):
/// `B' = U S`, `A' = Vᵀ`, as PEFT splits them.
pub(super) fn truncated(pair: &Pair, rank: usize) -> Result<Pair, LoraError> {
    let (b, a) = (mat(&pair.b)?.qr(), mat(&pair.a)?.transpose().qr());
    let core = b.thin_R() * a.thin_R().transpose();
    let svd = core.thin_svd().map_err(|_| LoraError::Combine {
        reason: "the singular values of their sum do not converge".into(),
    })?;
    let kept = rank.min(core.nrows().min(core.ncols()));
    let u = b.compute_thin_Q() * svd.U().subcols(0, kept);
    let v = a.compute_thin_Q() * svd.V().subcols(0, kept);
    let s = svd.S().column_vector();
    Ok(Pair {
        a: tensor((kept, v.nrows()), |r, j| v[(j, r)])?,
        b: tensor((u.nrows(), kept), |i, r| u[(i, r)] * s[r])?,
        magnitude: None,
    })
}

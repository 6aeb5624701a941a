//! Sizes and angles of updates, without forming them.
//!
//! An update `ΔW = s·B A` is `[out, in]`, hundreds of times larger than its factors. Inner products
//! need no more than matrices of rank by rank: `⟨s B A, t D C⟩ = s t Σ (Bᵀ D) ∘ (A Cᵀ)`.
//!
//! Of a DoRA adapter this is the low-rank part alone: what its magnitudes do depends on the base's weights.

use crate::adapter::{Adapter, Pair};
use crate::error::LoraError;
use crate::names::Factor;
use candle_core::{DType, Tensor};
use smollm_model::Site;

impl Adapter {
    /// The Frobenius norm of a site's update; 0 where there is none. Computed in f64.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn update_norm(&self, site: Site) -> Result<f64, LoraError> {
        Ok(self.update_square(site)?.sqrt())
    }

    /// The square of [`Adapter::update_norm`]. It is no number where the update is none.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn update_square(&self, site: Site) -> Result<f64, LoraError> {
        let square = self.update_product(self, site)?;
        // Rounding may leave a zero a hair below it. `f64::max` would also make a zero of what is no
        // number, and a diverged adapter look like an untrained one.
        Ok(if square < 0.0 { 0.0 } else { square })
    }

    /// The Frobenius inner product of two adapters' updates of a site; 0 where one has none.
    /// Computed in f64: a difference of norms that is below 1e-8 of them is rounding.
    ///
    /// # Errors
    /// The two are for models of other shapes.
    pub fn update_product(&self, other: &Self, site: Site) -> Result<f64, LoraError> {
        let (Some(ours), Some(theirs)) = (self.pair(site), other.pair(site)) else {
            return Ok(0.0);
        };
        same_module(site, ours, theirs)?;
        let f64s = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let inner = f64s(&ours.a)?.matmul(&f64s(&theirs.a)?.t()?)?;
        let outer = f64s(&ours.b)?.t()?.matmul(&f64s(&theirs.b)?)?;
        let sum = (inner * outer)?.sum_all()?.to_scalar::<f64>()?;
        Ok(self.scale(site) * other.scale(site) * sum)
    }

    /// The factors of a site's update.
    pub fn pair(&self, site: Site) -> Option<&Pair> {
        self.pairs()
            .find_map(|(found, pair)| (found == site).then_some(pair))
    }
}

/// Refuses updates of matrices of different shapes.
pub(crate) fn same_module(site: Site, ours: &Pair, theirs: &Pair) -> Result<(), LoraError> {
    let sides = [
        (Factor::A, &ours.a, &theirs.a, 1),
        (Factor::B, &ours.b, &theirs.b, 0),
    ];
    for (factor, ours, theirs, side) in sides {
        if ours.dims().get(side) != theirs.dims().get(side) {
            let mut expected = theirs.dims().to_vec();
            expected[side] = ours.dims()[side];
            return Err(LoraError::Shape {
                name: factor.tensor_name(site),
                found: theirs.dims().to_vec(),
                expected,
                from: "the other adapter: the two belong to different models",
            });
        }
    }
    Ok(())
}

//! Updates that are taken out of a weight when it is read.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::{LowRank, ModelError};

/// `scale · B A`, ready to be taken out of a weight.
#[derive(Debug)]
pub(super) struct Subtracted {
    rank: usize,
    inputs: usize,
    /// `[rank, in]`
    a: Vec<f32>,
    /// `scale · B`, `[out, rank]`
    b: Vec<f32>,
}

impl Subtracted {
    /// # Errors
    /// If the factors are none of a weight `[out, inputs]`.
    pub(super) fn new(
        name: &str,
        (out, inputs): (usize, usize),
        update: &LowRank,
    ) -> Result<Self, ModelError> {
        let (a, b) = (update.a.dims(), update.b.dims());
        let rank = a.first().copied().unwrap_or(0);
        if rank == 0 || a != [rank, inputs] || b != [out, rank] {
            return Err(ModelError::Argument {
                what: "an update to take out of a weight",
                found: format!("A {a:?} and B {b:?} for {name}"),
                expected: format!("[r, {inputs}] and [{out}, r]"),
            });
        }
        let scale = update.scale as f32;
        let mut b = values(&update.b)?;
        for b in &mut b {
            *b *= scale;
        }
        Ok(Self {
            rank,
            inputs,
            a: values(&update.a)?,
            b,
        })
    }

    /// `W − scale · B A` for `W: [out, in]` of any type, in f32; the terms of a sum are added in the order of ranks.
    pub(super) fn from(&self, weight: &Tensor) -> Result<Tensor, ModelError> {
        let mut rows = values(weight)?;
        rows.par_chunks_mut(self.inputs)
            .zip(self.b.par_chunks(self.rank))
            .for_each(|(row, b)| {
                let mut sum = vec![0f32; row.len()];
                for (factor, a) in b.iter().zip(self.a.chunks_exact(self.inputs)) {
                    for (sum, a) in sum.iter_mut().zip(a) {
                        *sum += factor * a;
                    }
                }
                for (w, sum) in row.iter_mut().zip(sum) {
                    *w -= sum;
                }
            });
        Ok(Tensor::from_vec(rows, weight.dims(), weight.device())?)
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(tensor
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?)
}

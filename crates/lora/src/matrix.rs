//! Between candle's f32 tensors and faer's f64 matrices.

use crate::error::LoraError;
use candle_core::{DType, Device, Tensor};
use faer::Mat;

/// A matrix in f64.
pub(crate) fn mat(matrix: &Tensor) -> Result<Mat<f64>, LoraError> {
    let (rows, columns) = matrix.dims2()?;
    let values = matrix
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    Ok(Mat::from_fn(rows, columns, |i, j| {
        f64::from(values[i * columns + j])
    }))
}

/// An f32 matrix by its elements.
pub(crate) fn tensor(
    (rows, columns): (usize, usize),
    of: impl Fn(usize, usize) -> f64,
) -> Result<Tensor, LoraError> {
    let place = |i: usize| (i / columns, i % columns);
    let values = (0..rows * columns).map(place);
    let values: Vec<f32> = values.map(|(row, column)| of(row, column) as f32).collect();
    Ok(Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)
}

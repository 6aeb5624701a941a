//! Borrowed slices of candle tensors, for ops that compute on plain memory.

use std::marker::PhantomData;

use candle_core::{
    CpuStorage, Layout, Result, Shape, Storage, StorageRef, Tensor, WithDType, bail,
};
use half::bf16;

use super::gemm::{self, Dims, Strided, Threads, Write};

/// The elements of a contiguous CPU tensor.
pub(crate) struct View<'a, T> {
    storage: StorageRef<'a>,
    start: usize,
    len: usize,
    element: PhantomData<T>,
}

impl<'a, T: WithDType> View<'a, T> {
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!(
                "expected a contiguous tensor, found strides {:?}",
                layout.stride()
            );
        };
        match &*storage {
            Storage::Cpu(cpu) => cpu.as_slice::<T>()?,
            _ => bail!(
                "this op has no implementation for {:?} yet",
                tensor.device().location()
            ),
        };
        Ok(Self {
            storage,
            start,
            len: end - start,
            element: PhantomData,
        })
    }

    pub(crate) fn slice(&self) -> &[T] {
        match &*self.storage {
            // `of` has checked the device and the type.
            Storage::Cpu(cpu) => cpu
                .as_slice::<T>()
                .map_or(&[][..], |data| &data[self.start..self.start + self.len]),
            _ => &[],
        }
    }
}

/// The f32 elements that `layout` covers in `storage`.
pub(crate) fn f32s<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!(
            "expected a contiguous tensor, found strides {:?}",
            layout.stride()
        ),
    }
}

/// What a custom op returns from its forward pass.
#[allow(clippy::unnecessary_wraps)] // saves every op the same `Ok((…))`
pub(crate) fn cpu_result(data: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(data), shape.into()))
}

/// A frozen weight `[rows, cols]`, f32 or bf16.
pub(crate) enum Weight<'a> {
    F32(View<'a, f32>),
    Bf16(View<'a, bf16>),
}

impl<'a> Weight<'a> {
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        match tensor.dtype() {
            candle_core::DType::F32 => Ok(Self::F32(View::of(tensor)?)),
            candle_core::DType::BF16 => Ok(Self::Bf16(View::of(tensor)?)),
            other => bail!("a frozen weight is stored as f32 or bf16, found {other:?}"),
        }
    }

    /// `out = x · selfᵀ` for `x: [m, cols]`, `self: [rows, cols]`; see [`gemm::dot`].
    pub(crate) fn dot(&self, dims: Dims, x: &[f32], out: &mut [f32]) {
        let Dims { n, k, .. } = dims;
        match self {
            Self::F32(w) => gemm::dot(Threads::Pool, dims, (x, k), (w.slice(), k), (out, n)),
            Self::Bf16(w) => gemm::dot(Threads::Pool, dims, (x, k), (w.slice(), k), (out, n)),
        }
    }

    /// `out = a · self` for `a: [m, rows]`, `self: [rows, cols]`; see [`gemm::outer`].
    pub(crate) fn outer(&self, dims: Dims, a: &[f32], out: &mut [f32]) {
        let Dims { n, k, .. } = dims;
        let a = Strided::rows(a, k);
        match self {
            Self::F32(w) => {
                gemm::outer(Threads::Pool, dims, a, (w.slice(), n), (out, n), Write::Set);
            }
            Self::Bf16(w) => {
                gemm::outer(Threads::Pool, dims, a, (w.slice(), n), (out, n), Write::Set);
            }
        }
    }
}

//! A frozen linear layer, alone or with a low-rank adapter beside it.
//!
//! ```text
//! Y  = X Wᵀ                                    W: [out, in], frozen
//! Y  = X Wᵀ + s · U Bᵀ,  U = D(X) Aᵀ           A: [r, in], B: [out, r], s: scale, D: dropout
//! dU = s · dY B
//! dX = dY W + D(dU A)
//! dA = dUᵀ D(X)
//! dB = s · dYᵀ U
//! ```
//!
//! candle's `matmul` would also form `dW`: a third more FLOPs and a weight-sized gradient, for a
//! weight that never changes. Here `W` is held by the op and is no argument of it, so no gradient
//! of it can exist. Source of the low-rank form: Hu et al. 2021, "LoRA"; PEFT's `lora.Linear`.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::dropout::Dropout;
use super::gemm::{self, Dims, Strided, Threads, Write};
use super::view::{View, Weight, cpu_result, f32s};

/// `X Wᵀ` for `x: [tokens, in]` f32 and a frozen `weight: [out, in]` (f32 or bf16).
///
/// # Errors
/// If the shapes do not fit or a tensor is not on the CPU.
pub fn frozen_linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    check_input(x, weight)?;
    x.contiguous()?.apply_op1(FrozenLinear {
        weight: weight.clone(),
    })
}

/// `X Wᵀ + scale · D(X) Aᵀ Bᵀ` for `x: [tokens, in]`, frozen `weight: [out, in]`, `a: [r, in]` and
/// `b: [out, r]`, all but the weight f32. Differentiable in `x`, `a` and `b`.
///
/// # Errors
/// If the shapes do not fit or a tensor is not on the CPU.
pub fn low_rank_linear(
    x: &Tensor,
    weight: &Tensor,
    (a, b): (&Tensor, &Tensor),
    scale: f64,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    check_input(x, weight)?;
    let (out, inputs) = weight.dims2()?;
    let rank = a.dim(0)?;
    if a.dims() != [rank, inputs] || b.dims() != [out, rank] {
        bail!(
            "adapter does not fit the weight [{out}, {inputs}]: A is {:?}, B is {:?}; expected [r, {inputs}] and [{out}, r]",
            a.dims(),
            b.dims()
        );
    }
    let op = LowRankLinear {
        weight: weight.clone(),
        scale: scale as f32,
        dropout,
    };
    x.contiguous()?
        .apply_op3(&a.contiguous()?, &b.contiguous()?, op)
}

fn check_input(x: &Tensor, weight: &Tensor) -> Result<()> {
    let ((_, found), (_, inputs)) = (x.dims2()?, weight.dims2()?);
    if found != inputs {
        bail!(
            "linear: input has {found} features, the weight {:?} takes {inputs}",
            weight.dims()
        );
    }
    Ok(())
}

struct FrozenLinear {
    weight: Tensor,
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (m, _) = layout.shape().dims2()?;
        let y = forward(f32s(x, layout)?, &self.weight, m)?;
        cpu_result(y, (m, self.weight.dim(0)?))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let dy = dy.contiguous()?;
        let dx = input_gradient(View::of(&dy)?.slice(), &self.weight, x.dim(0)?)?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// `x · weightᵀ`, `[m, out]`.
fn forward(x: &[f32], weight: &Tensor, m: usize) -> Result<Vec<f32>> {
    let (n, k) = weight.dims2()?;
    let mut y = vec![0f32; m * n];
    Weight::of(weight)?.dot(Dims { m, n, k }, x, &mut y);
    Ok(y)
}

/// `dy · weight`, `[m, in]`.
fn input_gradient(dy: &[f32], weight: &Tensor, m: usize) -> Result<Vec<f32>> {
    let (k, n) = weight.dims2()?;
    let mut dx = vec![0f32; m * n];
    Weight::of(weight)?.outer(Dims { m, n, k }, dy, &mut dx);
    Ok(dx)
}

struct LowRankLinear {
    weight: Tensor,
    scale: f32,
    dropout: Option<Dropout>,
}

impl LowRankLinear {
    /// `D(x)`: `x` itself when there is no dropout.
    fn dropped<'a>(&self, x: &'a [f32]) -> std::borrow::Cow<'a, [f32]> {
        match &self.dropout {
            None => x.into(),
            Some(dropout) => {
                let mut dropped = x.to_vec();
                dropout.apply(&mut dropped);
                dropped.into()
            }
        }
    }
}

/// `x · aᵀ`, `[m, rank]`.
fn down(x: &[f32], a: &[f32], m: usize, rank: usize, inputs: usize) -> Vec<f32> {
    let mut u = vec![0f32; m * rank];
    let dims = Dims {
        m,
        n: rank,
        k: inputs,
    };
    gemm::dot(
        Threads::Pool,
        dims,
        (x, inputs),
        (a, inputs),
        (&mut u, rank),
    );
    u
}

/// `scale · matrixᵀ` for a row-major `[rows, cols]` matrix.
fn transposed(matrix: &[f32], rows: usize, cols: usize, scale: f32) -> Vec<f32> {
    (0..cols)
        .flat_map(|c| (0..rows).map(move |r| scale * matrix[r * cols + c]))
        .collect()
}

impl CustomOp3 for LowRankLinear {
    fn name(&self) -> &'static str {
        "low-rank-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, a, b) = (f32s(x, x_layout)?, f32s(a, a_layout)?, f32s(b, b_layout)?);
        let (m, inputs) = x_layout.shape().dims2()?;
        let (out, rank) = b_layout.shape().dims2()?;
        let mut y = forward(x, &self.weight, m)?;
        let u = down(&self.dropped(x), a, m, rank, inputs);
        let b_t = transposed(b, out, rank, self.scale);
        gemm::outer(
            Threads::Pool,
            Dims { m, n: out, k: rank },
            Strided::rows(&u, rank),
            (&b_t, out),
            (&mut y, out),
            Write::Add,
        );
        cpu_result(y, (m, out))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (m, inputs) = x.dims2()?;
        let (out, rank) = b.dims2()?;
        let (xv, av, bv, dyv) = (View::of(x)?, View::of(a)?, View::of(b)?, View::of(&dy)?);
        let dropped = self.dropped(xv.slice());

        // dU = s · dY B
        let mut du = vec![0f32; m * rank];
        let scaled_b: Vec<f32> = bv.slice().iter().map(|b: &f32| self.scale * b).collect();
        gemm::outer(
            Threads::Pool,
            Dims { m, n: rank, k: out },
            Strided::rows(dyv.slice(), out),
            (&scaled_b, rank),
            (&mut du, rank),
            Write::Set,
        );
        let da = a
            .track_op()
            .then(|| product_over_rows(&du, rank, &dropped, inputs, m));
        let db = b.track_op().then(|| {
            let u = down(&dropped, av.slice(), m, rank, inputs);
            let db_t = product_over_rows(&u, rank, dyv.slice(), out, m);
            transposed(&db_t, rank, out, self.scale)
        });
        let dx = if x.track_op() {
            let mut dx = input_gradient(dyv.slice(), &self.weight, m)?;
            self.add_adapter_gradient(&du, av.slice(), (m, inputs, rank), &mut dx);
            Some(Tensor::from_vec(dx, x.shape(), x.device())?)
        } else {
            None
        };
        let tensor = |data: Option<Vec<f32>>, like: &Tensor| {
            data.map(|data| Tensor::from_vec(data, like.shape(), like.device()))
                .transpose()
        };
        Ok((dx, tensor(da, a)?, tensor(db, b)?))
    }
}

impl LowRankLinear {
    /// `dx += D(dU A)`
    fn add_adapter_gradient(
        &self,
        du: &[f32],
        a: &[f32],
        (m, inputs, rank): (usize, usize, usize),
        dx: &mut [f32],
    ) {
        let dims = Dims {
            m,
            n: inputs,
            k: rank,
        };
        let du = Strided::rows(du, rank);
        let Some(dropout) = &self.dropout else {
            gemm::outer(
                Threads::Pool,
                dims,
                du,
                (a, inputs),
                (dx, inputs),
                Write::Add,
            );
            return;
        };
        let mut adapter = vec![0f32; m * inputs];
        gemm::outer(
            Threads::Pool,
            dims,
            du,
            (a, inputs),
            (&mut adapter, inputs),
            Write::Set,
        );
        dropout.apply(&mut adapter);
        for (dx, adapter) in dx.iter_mut().zip(adapter) {
            *dx += adapter;
        }
    }
}

/// `leftᵀ · right`, `[left_cols, right_cols]`, summed over `m` rows.
fn product_over_rows(
    left: &[f32],
    left_cols: usize,
    right: &[f32],
    right_cols: usize,
    m: usize,
) -> Vec<f32> {
    let mut out = vec![0f32; left_cols * right_cols];
    gemm::outer(
        Threads::Pool,
        Dims {
            m: left_cols,
            n: right_cols,
            k: m,
        },
        Strided::transposed(left, left_cols),
        (right, right_cols),
        (&mut out, right_cols),
        Write::Set,
    );
    out
}

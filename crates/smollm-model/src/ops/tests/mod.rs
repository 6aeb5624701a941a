//! Each op against its formula written with candle's plain differentiable tensor operations:
//! results and gradients, on ragged and awkward shapes.

mod attention;
mod gemm;
mod layers;

use candle_core::{Device, Result, Tensor, Var};

use super::dropout::mix;

/// `n` reproducible values in (−1, 1).
pub(super) fn values(n: usize, key: u64) -> Vec<f32> {
    (0..n)
        .map(|i| (mix(key, i as u64) >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        .collect()
}

pub(super) fn var(shape: &[usize], key: u64) -> Var {
    let n = shape.iter().product();
    Var::from_vec(values(n, key), shape, &Device::Cpu).unwrap()
}

/// Asserts that two tensors agree to `tolerance`, relative to the larger magnitude of the pair's
/// largest element.
pub(super) fn assert_close(name: &str, a: &Tensor, b: &Tensor, tolerance: f32) {
    assert_eq!(a.dims(), b.dims(), "{name}: shapes");
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (a, b) = (flat(a), flat(b));
    let size = b.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
    let worst = a.iter().zip(&b).fold(0f32, |m, (x, y)| {
        assert!(x.is_finite() && y.is_finite(), "{name}: not finite");
        m.max((x - y).abs())
    });
    assert!(
        worst <= tolerance * size,
        "{name}: differs by {worst:e} at a magnitude of {size:e}"
    );
}

/// Runs `op` and `reference` on the same variables and compares the results and the gradients of a
/// weighted sum of them with respect to every variable.
pub(super) fn assert_same_gradients(
    name: &str,
    vars: &[Var],
    op: impl Fn() -> Result<Tensor>,
    reference: impl Fn() -> Result<Tensor>,
) {
    let (y, expected) = (op().unwrap(), reference().unwrap());
    assert_close(&format!("{name}: result"), &y, &expected, 2e-6);
    let weights = Tensor::from_vec(values(y.elem_count(), 99), y.shape(), &Device::Cpu).unwrap();
    let loss = |y: &Tensor| {
        (y * &weights)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap()
    };
    let (found, expected) = (loss(&y), loss(&expected));
    for (i, v) in vars.iter().enumerate() {
        let gradient = found
            .get(v)
            .unwrap_or_else(|| panic!("{name}: no gradient of input {i}"));
        let expected = expected.get(v).unwrap();
        assert_close(
            &format!("{name}: gradient of input {i}"),
            gradient,
            expected,
            4e-6,
        );
    }
}

//! The formulas of `reference.rs` are those of the crate's CPU ops, gradients too: so a kernel that
//! matches the one matches the other.

use candle_core::{Device, Tensor, Var};
use smollm_model::ops::{self, Dropout, Heads, RopeTable};

use crate::reference::{self, Batch, product, transposed};
use crate::support::{assert_close, mix, segments, values, wide};

fn var(shape: &[usize], key: u64) -> (Var, Vec<f64>) {
    let data = values(shape.iter().product(), key);
    let expected = wide(&data);
    (Var::from_vec(data, shape, &Device::Cpu).unwrap(), expected)
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Gradients of `Σ y · weights` with respect to `vars`.
fn gradients(y: &Tensor, weights: &Var, vars: &[&Var]) -> Vec<Vec<f32>> {
    let loss = (y * weights.as_tensor().detach())
        .unwrap()
        .sum_all()
        .unwrap();
    let store = loss.backward().unwrap();
    vars.iter()
        .map(|var| flat(store.get(var).unwrap()))
        .collect()
}

const TOLERANCE: f64 = 2e-6;

#[test]
fn rms_norm() {
    let ((x, xs), (w, ws), (dy, dys)) = (var(&[5, 96], 1), var(&[96], 2), var(&[5, 96], 3));
    let y = ops::rms_norm(&x, &w.as_tensor().detach(), 1e-5).unwrap();
    assert_close(
        "y",
        &flat(&y),
        &reference::rms_norm(&xs, &ws, 1e-5).0,
        TOLERANCE,
    );
    let expected = reference::rms_norm_backward(&xs, &ws, &dys, 1e-5);
    assert_close("dx", &gradients(&y, &dy, &[&x])[0], &expected, TOLERANCE);
}

#[test]
fn rope() {
    let positions = [0u32, 5, 2047];
    let ((x, xs), (dy, dys)) = (var(&[3, 128], 1), var(&[3, 128], 2));
    let y = RopeTable::new(&positions, 64, 1e5).rotate(&x).unwrap();
    let rotate = |x: &[f64], sign| reference::rope(x, 128, &positions, 64, 1e5, sign);
    assert_close("y", &flat(&y), &rotate(&xs, 1.0), TOLERANCE);
    assert_close(
        "dx",
        &gradients(&y, &dy, &[&x])[0],
        &rotate(&dys, -1.0),
        TOLERANCE,
    );
}

#[test]
fn swiglu() {
    let ((g, gs), (u, us), (dy, dys)) = (var(&[3, 40], 1), var(&[3, 40], 2), var(&[3, 40], 3));
    let y = ops::swiglu(&g, &u).unwrap();
    assert_close("y", &flat(&y), &reference::swiglu(&gs, &us), TOLERANCE);
    let (found, expected) = (
        gradients(&y, &dy, &[&g, &u]),
        reference::swiglu_backward(&gs, &us, &dys),
    );
    assert_close("dgate", &found[0], &expected.0, TOLERANCE);
    assert_close("dup", &found[1], &expected.1, TOLERANCE);
}

#[test]
fn attention() {
    let (heads, lengths) = (
        Heads {
            query: 4,
            key_value: 2,
            dim: 64,
        },
        [70, 1, 9],
    );
    let ((q, qs), (dout, douts)) = (var(&[80, 256], 1), var(&[80, 256], 4));
    let ((k, ks), (v, vs)) = (var(&[80, 128], 2), var(&[80, 128], 3));
    let out = ops::attention(&q, &k, &v, heads, segments(&lengths).into()).unwrap();
    let batch = Batch {
        q: &qs,
        k: &ks,
        v: &vs,
        segments: &segments(&lengths),
        heads: 4,
        kv_heads: 2,
        dim: 64,
    };
    let expected = batch.attention(&douts);
    assert_close("out", &flat(&out), &expected.out, TOLERANCE);
    let found = gradients(&out, &dout, &[&q, &k, &v]);
    for (name, found, expected) in [
        ("dq", &found[0], expected.dq),
        ("dk", &found[1], expected.dk),
        ("dv", &found[2], expected.dv),
    ] {
        assert_close(name, found, &expected, 2.0 * TOLERANCE);
    }
}

#[test]
fn cross_entropy() {
    let (vocab, hidden) = (37, 16);
    let ((x, xs), (w, ws)) = (var(&[5, hidden], 1), var(&[vocab, hidden], 2));
    let (rows, targets) = ([0u32, 2, 4], [36u32, 0, 9]);
    let loss = ops::cross_entropy(&x, &w.as_tensor().detach(), &rows, &targets).unwrap();
    let chosen: Vec<f64> = rows
        .iter()
        .flat_map(|&r| xs[r as usize * hidden..][..hidden].to_vec())
        .collect();
    let logits = product(&chosen, &transposed(&ws, vocab, hidden), (3, hidden, vocab));
    let (nll, dlogits) = reference::cross_entropy(&logits, vocab, &targets, 1.0);
    assert_close("nll", &flat(&loss), &[nll.iter().sum()], TOLERANCE);
    let found = flat(loss.backward().unwrap().get(&x).unwrap());
    let mut expected = vec![0.0; 5 * hidden];
    for (row, gradient) in rows
        .iter()
        .zip(product(&dlogits, &ws, (3, vocab, hidden)).chunks_exact(hidden))
    {
        expected[*row as usize * hidden..][..hidden].copy_from_slice(gradient);
    }
    assert_close("dhidden", &found, &expected, TOLERANCE);
}

/// `tests/kernels/lora.rs` tests each product alone; here they are put together as the op does.
#[test]
fn low_rank_linear_with_dropout() {
    let (tokens, inputs, out, rank, p, key, scale) = (7, 24, 10, 8, 0.25, 9, 2.0);
    let ((x, xs), (w, ws)) = (var(&[tokens, inputs], 1), var(&[out, inputs], 2));
    let ((a, a_s), (b, bs)) = (var(&[rank, inputs], 3), var(&[out, rank], 4));
    let (dy, dys) = var(&[tokens, out], 5);
    let dropout = Dropout::new(p, key);
    let y = ops::low_rank_linear(&x, &w.as_tensor().detach(), (&a, &b), scale, dropout).unwrap();

    let factor = |i: usize| match mix(key, i as u64) >> 32 {
        draw if draw < 1 << 30 => 0.0,
        _ => 1.0 / (1.0 - f64::from(p)),
    };
    let dropped: Vec<f64> = xs.iter().enumerate().map(|(i, x)| x * factor(i)).collect();
    let u = product(
        &dropped,
        &transposed(&a_s, rank, inputs),
        (tokens, inputs, rank),
    );
    let add = |mut a: Vec<f64>, b: Vec<f64>, scale: f64| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += scale * b);
        a
    };
    let straight = product(&xs, &transposed(&ws, out, inputs), (tokens, inputs, out));
    let low = product(&u, &transposed(&bs, out, rank), (tokens, rank, out));
    assert_close("y", &flat(&y), &add(straight, low, scale), TOLERANCE);

    let du: Vec<f64> = product(&dys, &bs, (tokens, out, rank))
        .iter()
        .map(|x| scale * x)
        .collect();
    let mut back = product(&du, &a_s, (tokens, rank, inputs));
    back.iter_mut()
        .enumerate()
        .for_each(|(i, x)| *x *= factor(i));
    let dx = add(product(&dys, &ws, (tokens, out, inputs)), back, 1.0);
    let da = product(
        &transposed(&du, tokens, rank),
        &dropped,
        (rank, tokens, inputs),
    );
    let db: Vec<f64> = product(&transposed(&dys, tokens, out), &u, (out, tokens, rank))
        .iter()
        .map(|x| scale * x)
        .collect();
    let found = gradients(&y, &dy, &[&x, &a, &b]);
    assert_close("dx", &found[0], &dx, TOLERANCE);
    assert_close("dA", &found[1], &da, TOLERANCE);
    assert_close("dB", &found[2], &db, TOLERANCE);
}

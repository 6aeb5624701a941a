use candle_core::{DType, Device, Tensor, Var};

use super::{assert_close, assert_same_gradients, values, var};
use crate::ops::{
    Dropout, RopeTable, cross_entropy, frozen_linear, low_rank_linear, rms_norm, swiglu,
};

fn weight(shape: &[usize], key: u64) -> Tensor {
    var(shape, key).as_detached_tensor()
}

#[test]
fn frozen_linear_has_the_gradient_of_its_input_only() {
    for (m, n, k) in [(1, 5, 3), (7, 96, 160), (130, 33, 96)] {
        let (x, w) = (
            var(&[m, k], 1),
            Var::from_tensor(&weight(&[n, k], 2)).unwrap(),
        );
        assert_same_gradients(
            "linear",
            std::slice::from_ref(&x),
            || frozen_linear(&x, &w),
            || x.matmul(&w.t()?),
        );
        let grads = frozen_linear(&x, &w)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        assert!(grads.get(&w).is_none(), "the frozen weight got a gradient");
    }
}

#[test]
fn low_rank_linear_matches_its_formula() {
    for (m, n, k, r) in [(1, 5, 3, 2), (37, 96, 160, 8), (130, 33, 96, 16)] {
        let (x, w) = (var(&[m, k], 1), weight(&[n, k], 2));
        let (a, b) = (var(&[r, k], 3), var(&[n, r], 4));
        assert_same_gradients(
            "low-rank linear",
            &[x.clone(), a.clone(), b.clone()],
            || low_rank_linear(&x, &w, (&a, &b), 2.5, None),
            || x.matmul(&w.t()?)? + (x.matmul(&a.t()?)?.matmul(&b.t()?)? * 2.5)?,
        );
    }
}

#[test]
fn a_magnitude_scales_rows_of_constant_norm() {
    for (m, n, k, r) in [(1, 5, 3, 2), (37, 96, 160, 8)] {
        let (x, weight) = (var(&[m, k], 1), weight(&[n, k], 2));
        let (a, b, magnitude) = (var(&[r, k], 3), var(&[n, r], 4), var(&[n], 5));
        let linear = crate::Linear {
            weight: weight.clone(),
            low_rank: Some(crate::LowRank {
                a: a.as_tensor().clone(),
                b: b.as_tensor().clone(),
                scale: 2.5,
                dropout: 0.0,
                magnitude: Some(magnitude.as_tensor().clone()),
            }),
        };
        let sum = || &weight + (b.matmul(&a)? * 2.5)?;
        assert_same_gradients(
            "linear with a magnitude",
            &[x.clone(), a.clone(), b.clone(), magnitude.clone()],
            || linear.forward(&x, None),
            || {
                let norms = sum()?.detach().sqr()?.sum(1)?.sqrt()?;
                x.matmul(&sum()?.t()?)?
                    .broadcast_mul(&(magnitude.as_tensor() / norms)?)
            },
        );
    }
}

#[test]
fn dropout_acts_on_the_adapter_alone() {
    let (m, n, k, r) = (19, 24, 48, 4);
    let (x, w) = (var(&[m, k], 1), weight(&[n, k], 2));
    let (a, b) = (var(&[r, k], 3), var(&[n, r], 4));
    let dropout = Dropout::new(0.3, 11);
    let mut mask = vec![1f32; m * k];
    dropout.unwrap().apply(&mut mask);
    assert!(mask.contains(&0.0));
    let mask = Tensor::from_vec(mask, (m, k), &Device::Cpu).unwrap();
    assert_same_gradients(
        "low-rank linear with dropout",
        &[x.clone(), a.clone(), b.clone()],
        || low_rank_linear(&x, &w, (&a, &b), 0.5, dropout),
        || {
            let dropped = (x.as_tensor() * &mask)?;
            x.matmul(&w.t()?)? + (dropped.matmul(&a.t()?)?.matmul(&b.t()?)? * 0.5)?
        },
    );
}

#[test]
fn a_zero_b_gives_a_no_gradient_and_b_one() {
    let (x, w) = (weight(&[9, 16], 1), weight(&[12, 16], 2));
    let a = var(&[4, 16], 3);
    let b = Var::zeros((12, 4), DType::F32, &Device::Cpu).unwrap();
    let y = low_rank_linear(&x, &w, (&a, &b), 2.0, None).unwrap();
    let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let largest = |v: &Var| {
        let flat = grads
            .get(v)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        flat.into_iter().fold(0f32, |m, x| m.max(x.abs()))
    };
    assert_eq!(largest(&a), 0.0);
    assert!(largest(&b) > 0.0);
}

#[test]
fn rms_norm_matches_its_formula() {
    for (m, n) in [(1, 3), (5, 96), (70, 37)] {
        let (x, w) = (var(&[m, n], 1), weight(&[n], 2));
        assert_same_gradients(
            "rms_norm",
            std::slice::from_ref(&x),
            || rms_norm(&x, &w, 1e-5),
            || {
                let mean = x.sqr()?.mean_keepdim(1)?;
                x.broadcast_div(&(mean + 1e-5)?.sqrt()?)?.broadcast_mul(&w)
            },
        );
    }
}

#[test]
fn swiglu_matches_its_formula() {
    let (g, u) = (var(&[33, 160], 1), var(&[33, 160], 2));
    assert_same_gradients(
        "swiglu",
        &[g.clone(), u.clone()],
        || swiglu(&(g.as_tensor() * 20.0)?, &u),
        || {
            let g = (g.as_tensor() * 20.0)?;
            (&g / (g.neg()?.exp()? + 1.0)?)? * u.as_tensor()
        },
    );
}

#[test]
fn rope_rotates_pairs_half_a_head_apart_and_back() {
    let (positions, dim) = ([0u32, 1, 2, 700, 5], 8);
    let table = RopeTable::new(&positions, dim, 100_000.0);
    let x = var(&[5, 2 * dim], 1);
    let angle = |t: f32, j: usize| t / 100_000f32.powf(2.0 * j as f32 / dim as f32);
    let parts = |f: fn(f32) -> f32| {
        let angles = positions
            .iter()
            .flat_map(|&t| (0..dim / 2).map(move |j| f(angle(t as f32, j))));
        let half =
            Tensor::from_vec(angles.collect::<Vec<_>>(), (5, 1, dim / 2), &Device::Cpu).unwrap();
        Tensor::cat(&[&half, &half], 2).unwrap()
    };
    let (cos, sin) = (parts(f32::cos), parts(f32::sin));
    let reference = || {
        let heads = x.reshape((5, 2, dim))?;
        let (lower, upper) = (
            heads.narrow(2, 0, dim / 2)?,
            heads.narrow(2, dim / 2, dim / 2)?,
        );
        let rotated = Tensor::cat(&[&upper.neg()?, &lower], 2)?;
        (heads.broadcast_mul(&cos)? + rotated.broadcast_mul(&sin)?)?.reshape((5, 2 * dim))
    };
    // The reference's angles at position 700 are f32 quotients, a rounding away from ours.
    assert_close(
        "rope",
        &table.rotate(&x).unwrap(),
        &reference().unwrap(),
        6e-5,
    );
    let y = table.rotate(&x).unwrap();
    let loss = (&y * &y.detach()).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    // d/dx of y·const(y) is the rotation back of y, which is x.
    assert_close("rope gradient", grads.get(&x).unwrap(), &x, 1e-6);
}

#[test]
fn cross_entropy_matches_log_softmax() {
    let (tokens, width, vocab) = (300, 32, 77);
    let (h, w) = (var(&[tokens, width], 1), weight(&[vocab, width], 2));
    // More rows than a chunk takes, one of them twice.
    let rows: Vec<u32> = (100..300).chain([100]).collect();
    let targets: Vec<u32> = rows
        .iter()
        .map(|row| (row * 7 + 3) % vocab as u32)
        .collect();
    let index = Tensor::new(rows.as_slice(), &Device::Cpu).unwrap();
    let target = Tensor::new(targets.as_slice(), &Device::Cpu)
        .unwrap()
        .unsqueeze(1)
        .unwrap();
    assert_same_gradients(
        "cross entropy",
        std::slice::from_ref(&h),
        || cross_entropy(&h, &w, &rows, &targets),
        || {
            let logits = h.index_select(&index, 0)?.matmul(&w.t()?)?;
            let lse = logits.log_sum_exp(1)?.sum_all()?;
            lse - logits.gather(&target, 1)?.sum_all()?
        },
    );
    assert!(cross_entropy(&h, &w, &[300], &[0]).is_err());
    assert!(cross_entropy(&h, &w, &[0], &[77]).is_err());
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let x = weight(&[4, 6], 1);
    assert!(frozen_linear(&x, &weight(&[3, 5], 2)).is_err());
    let (a, b) = (weight(&[2, 5], 3), weight(&[3, 2], 4));
    assert!(low_rank_linear(&x, &weight(&[3, 6], 2), (&a, &b), 1.0, None).is_err());
    assert!(rms_norm(&x, &weight(&[5], 2), 1e-5).is_err());
    assert!(swiglu(&x, &weight(&[4, 5], 2)).is_err());
    assert!(RopeTable::new(&[0, 1], 4, 1e4).rotate(&x).is_err());
    let _ = values(1, 1);
}

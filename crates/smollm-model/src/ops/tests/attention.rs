use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::{assert_same_gradients, var};
use crate::ops::{Heads, KeyValues, attend_cached, attention};

fn segments(lengths: &[usize]) -> Arc<[Range<usize>]> {
    let mut start = 0;
    let ranges = lengths.iter().map(|&n| {
        start += n;
        start - n..start
    });
    ranges.collect()
}

/// Softmax attention over one whole batch with an explicit `[tokens, tokens]` mask.
fn reference(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: Heads,
    segments: &[Range<usize>],
) -> Result<Tensor> {
    let tokens = q.dim(0)?;
    let visible =
        |i: usize, j: usize| j <= i && segments.iter().any(|s| s.contains(&i) && s.contains(&j));
    let mask: Vec<f32> = (0..tokens * tokens)
        .map(|at| {
            if visible(at / tokens, at % tokens) {
                0.0
            } else {
                f32::NEG_INFINITY
            }
        })
        .collect();
    let mask = Tensor::from_vec(mask, (tokens, tokens), &Device::Cpu)?;
    let group = heads.query / heads.key_value;
    let mut outputs = Vec::new();
    for h in 0..heads.query {
        let head = |t: &Tensor, h: usize| t.narrow(1, h * heads.dim, heads.dim)?.contiguous();
        let (q, k, v) = (head(q, h)?, head(k, h / group)?, head(v, h / group)?);
        let scores = ((q.matmul(&k.t()?)? / (heads.dim as f64).sqrt())? + &mask)?;
        let top = scores.max_keepdim(1)?.detach();
        let e = scores.broadcast_sub(&top)?.exp()?;
        outputs.push(e.broadcast_div(&e.sum_keepdim(1)?)?.matmul(&v)?);
    }
    Tensor::cat(&outputs, 1)
}

#[test]
fn attention_matches_softmax_within_each_segment() {
    let cases: [(Heads, &[usize]); 4] = [
        (
            Heads {
                query: 1,
                key_value: 1,
                dim: 4,
            },
            &[1],
        ),
        (
            Heads {
                query: 3,
                key_value: 1,
                dim: 32,
            },
            &[5, 1, 50],
        ),
        (
            Heads {
                query: 9,
                key_value: 3,
                dim: 64,
            },
            &[49, 97],
        ),
        (
            Heads {
                query: 4,
                key_value: 4,
                dim: 24,
            },
            &[48, 3],
        ),
    ];
    for (heads, lengths) in cases {
        let segments = segments(lengths);
        let tokens = lengths.iter().sum();
        let q = var(&[tokens, heads.query_width()], 1);
        let k = var(&[tokens, heads.key_value_width()], 2);
        let v = var(&[tokens, heads.key_value_width()], 3);
        assert_same_gradients(
            &format!("attention {heads:?} {lengths:?}"),
            &[q.clone(), k.clone(), v.clone()],
            || attention(&(q.as_tensor() * 3.0)?, &k, &v, heads, segments.clone()),
            || reference(&(q.as_tensor() * 3.0)?, &k, &v, heads, &segments),
        );
    }
}

#[test]
fn a_cache_filled_in_pieces_gives_the_same_bits() {
    let heads = Heads {
        query: 3,
        key_value: 1,
        dim: 32,
    };
    let tokens = 70;
    let (q, k, v) = (
        var(&[tokens, 96], 1),
        var(&[tokens, 32], 2),
        var(&[tokens, 32], 3),
    );
    let whole = attention(&q, &k, &v, heads, segments(&[tokens]))
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    for pieces in [vec![70], vec![1; 70], vec![48, 22], vec![3, 50, 17]] {
        let mut cache = KeyValues::default();
        let mut rows = Vec::new();
        let mut start = 0;
        for n in pieces {
            let part = |t: &Tensor| t.narrow(0, start, n).unwrap();
            let (q, k, v) = (part(&q), part(&k), part(&v));
            let range = segments(&[n]);
            let out = attend_cached((&q, &k, &v), heads, &range, &mut [&mut cache]).unwrap();
            rows.extend(out.to_vec2::<f32>().unwrap());
            start += n;
        }
        assert_eq!(rows, whole);
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let heads = Heads {
        query: 3,
        key_value: 2,
        dim: 4,
    };
    let (q, k) = (var(&[5, 12], 1), var(&[5, 8], 2));
    assert!(
        attention(&q, &k, &k, heads, segments(&[5])).is_err(),
        "3 heads over 2"
    );
    let heads = Heads {
        query: 3,
        key_value: 1,
        dim: 4,
    };
    let k = var(&[5, 4], 2);
    assert!(
        attention(&q, &k, &k, heads, segments(&[4])).is_err(),
        "a token without a segment"
    );
    assert!(attention(&q, &var(&[4, 4], 2), &k, heads, segments(&[5])).is_err());
}

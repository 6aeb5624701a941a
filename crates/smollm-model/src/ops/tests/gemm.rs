use half::bf16;

use super::values;
use crate::ops::gemm::{Dims, Strided, Threads, Write, dot, outer};
use crate::simd::tests::at_every_level;
use crate::simd::{Element, Kernel, Simd};

const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (1, 64, 32),
    (2, 3, 5),
    (6, 4, 16),
    (7, 65, 17),
    (13, 96, 160),
    (97, 33, 31),
    (5, 130, 600),
    (200, 192, 96),
];

fn naive(
    m: usize,
    n: usize,
    k: usize,
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f64> {
    let cell = |i: usize, j: usize| {
        (0..k)
            .map(|p| f64::from(a(i, p)) * f64::from(b(p, j)))
            .sum()
    };
    (0..m)
        .flat_map(|i| (0..n).map(move |j| (i, j)))
        .map(|(i, j)| cell(i, j))
        .collect()
}

fn assert_matches(name: &str, found: &[f32], expected: &[f64], k: usize) {
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        let bound = 1e-7 * (k as f64) + 1e-6;
        assert!(
            (f64::from(*x) - y).abs() < bound,
            "{name}, element {i}: {x} against {y}"
        );
    }
}

#[test]
fn dot_matches_the_definition() {
    for (m, n, k) in SHAPES {
        // Rows further apart than they are long.
        let (ldx, ldw) = (k + 3, k + 1);
        let (x, w) = (values(m * ldx, 1), values(n * ldw, 2));
        let mut out = vec![f32::NAN; m * n];
        dot(
            Threads::Pool,
            Dims { m, n, k },
            (&x, ldx),
            (&w, ldw),
            (&mut out, n),
        );
        let expected = naive(m, n, k, |i, p| x[i * ldx + p], |p, j| w[j * ldw + p]);
        assert_matches(&format!("dot {m}×{n}×{k}"), &out, &expected, k);

        let half: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
        dot(
            Threads::Pool,
            Dims { m, n, k },
            (&x, ldx),
            (&half, ldw),
            (&mut out, n),
        );
        let expected = naive(
            m,
            n,
            k,
            |i, p| x[i * ldx + p],
            |p, j| half[j * ldw + p].to_f32(),
        );
        assert_matches(&format!("bf16 dot {m}×{n}×{k}"), &out, &expected, k);
    }
}

#[test]
fn outer_matches_the_definition_plain_and_transposed() {
    for (m, n, k) in SHAPES {
        let ldw = n + 2;
        let (a, w) = (values(m * k, 3), values(k * ldw, 4));
        let half: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
        let mut out = vec![f32::NAN; m * n];
        let dims = Dims { m, n, k };
        outer(
            Threads::Pool,
            dims,
            Strided::rows(&a, k),
            (&w, ldw),
            (&mut out, n),
            Write::Set,
        );
        let expected = naive(m, n, k, |i, p| a[i * k + p], |p, j| w[p * ldw + j]);
        assert_matches(&format!("outer {m}×{n}×{k}"), &out, &expected, k);

        outer(
            Threads::Pool,
            dims,
            Strided::rows(&a, k),
            (&w, ldw),
            (&mut out, n),
            Write::Add,
        );
        let twice: Vec<f64> = expected.iter().map(|x| 2.0 * x).collect();
        assert_matches(&format!("outer added {m}×{n}×{k}"), &out, &twice, 2 * k);

        let a_t = Strided::transposed(&a, m);
        outer(
            Threads::Pool,
            dims,
            a_t,
            (&w, ldw),
            (&mut out, n),
            Write::Set,
        );
        let expected = naive(m, n, k, |i, p| a[p * m + i], |p, j| w[p * ldw + j]);
        assert_matches(&format!("outer transposed {m}×{n}×{k}"), &out, &expected, k);

        outer(
            Threads::Pool,
            dims,
            Strided::rows(&a, k),
            (&half, ldw),
            (&mut out, n),
            Write::Set,
        );
        let expected = naive(
            m,
            n,
            k,
            |i, p| a[i * k + p],
            |p, j| half[p * ldw + j].to_f32(),
        );
        assert_matches(&format!("bf16 outer {m}×{n}×{k}"), &out, &expected, k);
    }
}

#[test]
fn a_row_is_the_same_in_any_batch_and_on_any_thread() {
    let (m, n, k) = (100, 150, 333);
    let (x, w) = (values(m * k, 5), values(n * k, 6));
    let whole = |threads| {
        let mut out = vec![0f32; m * n];
        dot(threads, Dims { m, n, k }, (&x, k), (&w, k), (&mut out, n));
        out
    };
    let out = whole(Threads::Pool);
    assert_eq!(out, whole(Threads::Caller));
    for i in [0, 1, 57, 99] {
        let mut row = vec![0f32; n];
        dot(
            Threads::Caller,
            Dims { m: 1, n, k },
            (&x[i * k..], k),
            (&w, k),
            (&mut row, n),
        );
        assert_eq!(row, out[i * n..][..n], "row {i}");
    }
}

/// A product over awkward extents, as a kernel of its own so that every level can run it.
#[derive(Clone)]
struct RowSums {
    n: usize,
}

impl Kernel for RowSums {
    type Output = Vec<f32>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<f32> {
        let (x, w) = (values(self.n, 7), values(self.n, 8));
        let half: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
        let (mut out, mut scaled) = (Vec::new(), vec![0f32; S::LANES]);
        for (x, h) in x.chunks(S::LANES).zip(half.chunks(S::LANES)) {
            // SAFETY: partial loads and stores are told the chunk's length; whole ones have it.
            unsafe {
                let whole = x.len() == S::LANES;
                let xv = if whole {
                    S::load(x.as_ptr())
                } else {
                    S::load_n(x.as_ptr(), x.len())
                };
                let hv = if whole {
                    bf16::load::<S>(h.as_ptr())
                } else {
                    bf16::load_n::<S>(h.as_ptr(), h.len())
                };
                let y = S::fma(xv, hv, S::splat(1.0));
                scaled.fill(f32::NAN);
                if whole {
                    S::store(scaled.as_mut_ptr(), y);
                } else {
                    S::store_n(scaled.as_mut_ptr(), y, x.len());
                    assert!(
                        scaled[x.len()..].iter().all(|v| v.is_nan()),
                        "stored past the end"
                    );
                }
                out.extend_from_slice(&scaled[..x.len()]);
                out.push(S::sum(S::fma(xv, hv, S::zero())));
            }
        }
        // One sum for the whole, so that levels with other lane counts can be compared.
        vec![out.iter().sum()]
    }
}

#[test]
fn every_instruction_set_gives_the_same_to_rounding() {
    for n in [1, 7, 8, 9, 15, 16, 17, 31, 200] {
        let per_level = at_every_level(&RowSums { n });
        for found in &per_level {
            let bound = 1e-5 * n as f32;
            assert!(
                (found[0] - per_level[0][0]).abs() < bound,
                "n = {n}: {per_level:?}"
            );
        }
    }
}

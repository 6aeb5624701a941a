//! Norms, rotary embedding, the gated activation, dropout, gathering.

use smollm_model::cuda::args::{
    Dropout, GatherRows, RmsNormBackward, RmsNormForward, Rope, SwiGluBackward, SwiGluForward,
};
use smollm_model::cuda::{Kernel, rope_table};

use crate::reference;
use crate::support::{assert_close, mix, on_every_element, read_floats, wide};

/// Rows and width: one row, ragged numbers of rows, the models' widths, one pass and many.
const SHAPES: [(usize, usize); 5] = [(1, 8), (3, 96), (5, 576), (9, 960), (2, 2056)];
const EPS: f32 = 1e-5;

#[test]
fn rms_norm_adds_to_the_residual_and_normalises() {
    on_every_element(|b| {
        for (rows, width) in SHAPES {
            for with_delta in [false, true] {
                let (x, delta) = (b.values(rows * width, 1), b.values(rows * width, 2));
                let weight = b.values(width, 3);
                let h = if with_delta {
                    b.rounded(&x.iter().zip(&delta).map(|(x, d)| x + d).collect::<Vec<_>>())
                } else {
                    x.clone()
                };
                let (xs, ds, ws) = (b.tensor(&x), b.tensor(&delta), b.tensor(&weight));
                let (sum, y, rms) = (b.unset(x.len()), b.unset(x.len()), b.unset_floats(rows));
                b.run(&RmsNormForward {
                    x: xs.address(),
                    delta: if with_delta { ds.address() } else { 0 },
                    weight: ws.address(),
                    sum: sum.address(),
                    y: y.address(),
                    rms: rms.address(),
                    rows: rows as u32,
                    width: width as u32,
                    eps: EPS,
                });
                let name = b.named(&format!("rms_norm {rows} x {width}"));
                let (expected, r) = reference::rms_norm(&wide(&h), &wide(&weight), EPS.into());
                assert_close(&name, &b.read(&y), &expected, b.once());
                assert_close(&name, &read_floats(&rms), &r, 2e-6);
                if with_delta {
                    assert_eq!(b.read(&sum), h, "{name}: the sum");
                }
            }
        }
    });
}

#[test]
fn rms_norm_backward_adds_the_gradient_of_the_residual() {
    on_every_element(|b| {
        for (rows, width) in SHAPES {
            for with_residual in [false, true] {
                let n = rows * width;
                let (h, dy, dres) = (b.values(n, 1), b.values(n, 2), b.values(n, 4));
                let weight = b.values(width, 3);
                let (_, r) = reference::rms_norm(&wide(&h), &wide(&weight), EPS.into());
                let r: Vec<f32> = r.iter().map(|&x| x as f32).collect();
                let (hs, ws, dys) = (b.tensor(&h), b.tensor(&weight), b.tensor(&dy));
                let (dress, rms, dh) = (b.tensor(&dres), b.floats(&r), b.unset(n));
                b.run(&RmsNormBackward {
                    h: hs.address(),
                    weight: ws.address(),
                    dy: dys.address(),
                    dres: if with_residual { dress.address() } else { 0 },
                    rms: rms.address(),
                    dh: dh.address(),
                    rows: rows as u32,
                    width: width as u32,
                });
                let mut expected =
                    reference::rms_norm_backward(&wide(&h), &wide(&weight), &wide(&dy), EPS.into());
                if with_residual {
                    expected
                        .iter_mut()
                        .zip(&dres)
                        .for_each(|(e, d)| *e += f64::from(*d));
                }
                let name = b.named(&format!("rms_norm backward {rows} x {width}"));
                assert_close(&name, &b.read(&dh), &expected, b.once());
            }
        }
    });
}

#[test]
fn rope_rotates_part_of_a_packed_row_and_back() {
    on_every_element(|b| {
        let (dim, heads, packed, theta) = (64, 3, 5, 100_000.0);
        let positions = [0u32, 1, 7, 2047, 63, 64];
        let (tokens, width, stride) = (positions.len(), heads * dim, packed * dim);
        let table = b.floats(&rope_table(2048, dim, theta));
        let x = b.values(tokens * stride, 5);
        let (xs, y, places) = (b.tensor(&x), b.unset(tokens * width), b.ids(&positions));
        let mut args = Rope {
            x: xs.address(),
            y: y.address(),
            positions: places.address(),
            table: table.address(),
            tokens: tokens as u32,
            heads: heads as u32,
            dim: dim as u32,
            x_stride: stride as u32,
            y_stride: width as u32,
            sign: 1.0,
        };
        b.run(&args);
        let rows: Vec<f32> = x
            .chunks_exact(stride)
            .flat_map(|row| row[..width].to_vec())
            .collect();
        let expected = reference::rope(&wide(&rows), width, &positions, dim, theta, 1.0);
        assert_close(&b.named("rope"), &b.read(&y), &expected, b.once());

        args = Rope {
            x: y.address(),
            x_stride: width as u32,
            sign: -1.0,
            ..args
        };
        b.run(&args); // in place
        assert_close(
            &b.named("rope and back"),
            &b.read(&y),
            &wide(&rows),
            2.0 * b.once(),
        );
    });
}

#[test]
fn swiglu_and_its_gradients_on_packed_halves() {
    on_every_element(|b| {
        for (rows, width) in [(1, 8), (3, 1536), (7, 160)] {
            let both = b.rounded(
                &b.values(2 * rows * width, 6)
                    .iter()
                    .map(|x| 6.0 * x)
                    .collect::<Vec<_>>(),
            );
            let dy = b.values(rows * width, 7);
            let half = |first: usize| -> Vec<f64> {
                let rows = both.chunks_exact(2 * width);
                rows.flat_map(|row| wide(&row[first..first + width]))
                    .collect()
            };
            let (gate, up) = (half(0), half(width));
            let (packed, dys) = (b.tensor(&both), b.tensor(&dy));
            let (y, gradient) = (b.unset(rows * width), b.unset(2 * rows * width));
            let second = (width * b.element.bytes()) as u64;
            b.run(&SwiGluForward {
                gate: packed.address(),
                up: packed.address() + second,
                y: y.address(),
                rows: rows as u32,
                width: width as u32,
                in_stride: 2 * width as u32,
                out_stride: width as u32,
            });
            b.run(&SwiGluBackward {
                gate: packed.address(),
                up: packed.address() + second,
                dy: dys.address(),
                dgate: gradient.address(),
                dup: gradient.address() + second,
                rows: rows as u32,
                width: width as u32,
                in_stride: 2 * width as u32,
                out_stride: width as u32,
            });
            let name = b.named(&format!("swiglu {rows} x {width}"));
            assert_close(&name, &b.read(&y), &reference::swiglu(&gate, &up), b.once());
            let (dgate, dup) = reference::swiglu_backward(&gate, &up, &wide(&dy));
            let row =
                |r: usize| [&dgate[r * width..][..width], &dup[r * width..][..width]].concat();
            let expected: Vec<f64> = (0..rows).flat_map(row).collect();
            assert_close(&name, &b.read(&gradient), &expected, b.once());
        }
    });
}

#[test]
fn dropout_has_the_masks_of_the_cpu() {
    on_every_element(|b| {
        for (n, p) in [(1, 0.5f32), (7, 0.5), (4099, 0.1), (2048, 1.0)] {
            let x = b.values(n, 8);
            let (xs, y, key) = (b.tensor(&x), b.unset(n), 77);
            let threshold = (f64::from(p) * (1u64 << 32) as f64) as u64;
            b.run(&Dropout {
                x: xs.address(),
                y: y.address(),
                n: n as u64,
                key,
                threshold,
                keep: if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 },
            });
            let expected: Vec<f64> = (x.iter().enumerate())
                .map(|(i, x)| match mix(key, i as u64) >> 32 {
                    draw if draw < threshold => 0.0,
                    _ => f64::from(*x) / (1.0 - f64::from(p)),
                })
                .collect();
            let found = b.read(&y);
            assert_close(
                &b.named(&format!("dropout {n}, p {p}")),
                &found,
                &expected,
                b.once(),
            );
            assert!(
                found
                    .iter()
                    .zip(&expected)
                    .all(|(a, b)| (*a == 0.0) == (*b == 0.0))
            );
        }
    });
}

#[test]
fn rows_are_gathered_by_id() {
    on_every_element(|b| {
        let (rows, width) = (11, 96);
        let table = b.values(rows * width, 9);
        let ids = [10u32, 0, 3, 3, 7];
        let (tables, places, out) = (b.tensor(&table), b.ids(&ids), b.unset(ids.len() * width));
        b.run(&GatherRows {
            table: tables.address(),
            ids: places.address(),
            out: out.address(),
            rows: ids.len() as u32,
            width: width as u32,
        });
        let expected: Vec<f32> = ids
            .iter()
            .flat_map(|&id| table[id as usize * width..][..width].to_vec())
            .collect();
        assert_eq!(b.read(&out), expected, "{}", b.named("gather"));
    });
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let norm = RmsNormForward {
        rows: 1,
        width: 100,
        ..RmsNormForward::default()
    };
    let error = norm
        .plan(smollm_model::cuda::Element::Bf16)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "rms_norm: width is 100; expected a multiple of 8, at least 8"
    );
}

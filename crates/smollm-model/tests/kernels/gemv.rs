//! A few rows times a quantised weight, dequantised here by the definition of GGUF's blocks.

use half::f16;
use smollm_model::cuda::args::{Gemv, GemvQ4, GemvQ8};
use smollm_model::cuda::{Memory, Parted, part_q4_1, part_q8_0};

use crate::support::{Bench, assert_close, mix, on_every_element, wide};

/// `count` blocks of GGUF's bytes with arbitrary integers, and the weights they mean.
fn blocks(count: usize, q8: bool) -> (Vec<u8>, Vec<f64>) {
    let (mut data, mut weights) = (Vec::new(), Vec::new());
    for block in 0..count as u64 {
        let draw = |i: u64| mix(block, i);
        let scale = f16::from_f32(0.001 + (draw(0) % 100) as f32 * 1e-4);
        let minimum = f16::from_f32((draw(1) % 100) as f32 * 1e-3 - 0.05);
        let bytes: Vec<u8> = (0..if q8 { 32 } else { 16 })
            .map(|i| (draw(2 + i) >> 32) as u8)
            .collect();
        data.extend(scale.to_le_bytes());
        let (d, m) = (scale.to_f64(), minimum.to_f64());
        if q8 {
            weights.extend(bytes.iter().map(|&q| d * f64::from(q.cast_signed())));
        } else {
            data.extend(minimum.to_le_bytes());
            weights.extend(bytes.iter().map(|q| d * f64::from(q & 15) + m));
            weights.extend(bytes.iter().map(|q| d * f64::from(q >> 4) + m));
        }
        data.extend(bytes);
    }
    (data, weights)
}

fn run(
    b: Bench<'_>,
    parted: &Parted,
    x: &[f32],
    add: Option<&[f32]>,
    (n, k): (usize, usize),
    q8: bool,
) -> Vec<f32> {
    let rows = x.len() / k;
    let (xs, quants, scales) = (
        b.tensor(x),
        b.bytes(&parted.quants),
        b.bytes(&parted.scales),
    );
    let (added, y) = (add.map(|add| b.tensor(add)), b.unset(rows * n));
    let args = Gemv {
        x: xs.address(),
        quants: quants.address(),
        scales: scales.address(),
        add: added.as_ref().map_or(0, Memory::address),
        y: y.address(),
        rows: rows as u32,
        n: n as u32,
        k: k as u32,
    };
    if q8 {
        b.run(&GemvQ8(args));
    } else {
        b.run(&GemvQ4(args));
    }
    b.read(&y)
}

#[test]
fn quantised_products_match_dequantised_weights_for_any_number_of_rows() {
    on_every_element(|b| {
        for q8 in [true, false] {
            for (rows, n, k) in [(1, 9, 32), (1, 16, 576), (5, 7, 960), (4, 8, 2048)] {
                let (data, weights) = blocks(n * k / 32, q8);
                let parted = if q8 {
                    part_q8_0(&data)
                } else {
                    part_q4_1(&data)
                }
                .unwrap();
                let (x, add) = (b.values(rows * k, 1), b.values(rows * n, 2));
                let name = b.named(&format!(
                    "{} {rows} x {n} x {k}",
                    if q8 { "Q8_0" } else { "Q4_1" }
                ));
                let found = run(b, &parted, &x, Some(&add), (n, k), q8);
                let xs = wide(&x);
                let dot = |i: usize| -> f64 {
                    let (row, column) = (i / n, i % n);
                    (0..k)
                        .map(|l| xs[row * k + l] * weights[column * k + l])
                        .sum()
                };
                let expected: Vec<f64> =
                    (0..rows * n).map(|i| dot(i) + f64::from(add[i])).collect();
                assert_close(&name, &found, &expected, b.once());
                let plain = run(b, &parted, &x, None, (n, k), q8);
                for (row, x) in x.chunks_exact(k).enumerate() {
                    let alone = run(b, &parted, x, None, (n, k), q8);
                    assert_eq!(
                        alone,
                        plain[row * n..][..n],
                        "{name}: row {row} alone and in a batch"
                    );
                }
            }
        }
    });
}

#[test]
fn blocks_that_are_cut_short_are_an_error() {
    let error = part_q8_0(&[0; 35]).unwrap_err().to_string();
    assert_eq!(error, "gemv: 35 bytes are no whole blocks of 34");
}

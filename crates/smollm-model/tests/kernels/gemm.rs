//! Products with frozen weights, forward and back, on sizes that fill no tile; a row's bits in any batch.

use smollm_model::cuda::args::{MatrixProduct, Product, ProductBack, RowsProduct, RowsSum};

use crate::reference::{product, transposed};
use crate::support::{Bench, assert_close, on_every_element, wide};

/// Rows, inner and outer width: what a sum runs over, and what it gives.
const SIZES: [(usize, usize, usize); 6] = [
    (1, 64, 64),
    (3, 8, 24),
    (70, 96, 200),
    (129, 576, 72),
    (37, 192, 333),
    (300, 40, 130),
];

/// Rows of `width` values padded with zeros to a multiple of 16 bytes.
fn padded(b: Bench<'_>, values: &[f32], width: usize) -> (Vec<f32>, usize) {
    let stride = width.next_multiple_of(b.element.pack() as usize);
    let pad = vec![0f32; stride - width];
    let rows = values.chunks_exact(width);
    let all = rows.flat_map(|row| [row, &pad].concat()).collect();
    (all, stride)
}

/// `[rows, outer]` from `x: [rows, inner]` and W, `[outer, inner]` or, back, `[inner, outer]`. What stands in the padding
/// of the result must be zero.
fn run(
    b: Bench<'_>,
    back: bool,
    x: &[f32],
    w: &[f32],
    (rows, inner, outer): (usize, usize, usize),
) -> Vec<f32> {
    let (x, x_stride) = padded(b, x, inner);
    let w_width = if back { outer } else { inner };
    let (w, w_stride) = padded(b, w, w_width);
    let y_stride = outer.next_multiple_of(b.element.pack() as usize);
    let (x, w, y) = (b.tensor(&x), b.tensor(&w), b.unset(rows * y_stride));
    let args = MatrixProduct {
        x: x.address(),
        w: w.address(),
        y: y.address(),
        rows: rows as u32,
        width: outer as u32,
        inner: inner as u32,
        x_stride: x_stride as u32,
        w_stride: w_stride as u32,
        y_stride: y_stride as u32,
    };
    if back {
        b.run(&ProductBack(args));
    } else {
        b.run(&Product(args));
    }
    let found = b.read(&y);
    let rows = found.chunks_exact(y_stride);
    assert!(
        rows.clone()
            .all(|row| row[outer..].iter().all(|x| *x == 0.0)),
        "padding"
    );
    rows.flat_map(|row| row[..outer].to_vec()).collect()
}

#[test]
fn products_are_sums_of_products() {
    on_every_element(|b| {
        for (rows, inner, outer) in SIZES {
            let (x, w) = (b.values(rows * inner, 1), b.values(outer * inner, 2));
            let (xs, ws) = (wide(&x), wide(&w));
            let name = b.named(&format!("{rows} rows, {inner} to {outer}"));
            // Weights are rows of what a sum runs over, or of what it gives; the latter needs whole pieces.
            if inner % b.element.pack() as usize == 0 {
                let expected = product(&xs, &transposed(&ws, outer, inner), (rows, inner, outer));
                let found = run(b, false, &x, &w, (rows, inner, outer));
                assert_close(&name, &found, &expected, b.once());
            }
            let expected = product(&xs, &ws, (rows, inner, outer));
            let found = run(b, true, &x, &w, (rows, inner, outer));
            assert_close(&format!("{name}, back"), &found, &expected, b.once());
            if outer % b.element.pack() as usize == 0 && rows > 1 {
                let w = b.values(rows * outer, 3);
                let x = b.values(2 * rows, 4);
                let expected = product(&wide(&x), &wide(&w), (2, rows, outer));
                let found = run(b, true, &x, &w, (2, rows, outer));
                assert_close(&format!("{name}, an odd sum"), &found, &expected, b.once());
            }
        }
    });
}

#[test]
fn a_row_has_the_same_bits_in_any_batch() {
    on_every_element(|b| {
        let (rows, inner, outer) = (131, 192, 136);
        let (x, w) = (b.values(rows * inner, 1), b.values(outer * inner, 2));
        for back in [false, true] {
            let together = run(b, back, &x, &w, (rows, inner, outer));
            for row in [0, 63, 64, 130] {
                let alone = run(b, back, &x[row * inner..][..inner], &w, (1, inner, outer));
                assert_eq!(
                    alone,
                    together[row * outer..][..outer],
                    "row {row}, {}",
                    b.named("product")
                );
            }
        }
    });
}

/// The product of a few rows, its pieces added up where there are several.
fn run_rows(
    b: Bench<'_>,
    x: &[f32],
    w: &[f32],
    (rows, inner, outer): (usize, usize, usize),
) -> Vec<f32> {
    let stride = outer.next_multiple_of(b.element.pack() as usize);
    let (piece, splits) = RowsProduct::pieces(outer as u32, inner as u32);
    let (x, w, y) = (b.tensor(x), b.tensor(w), b.unset(rows * stride));
    let partial = b.unset_floats(splits as usize * rows * outer);
    b.run(&RowsProduct {
        x: x.address(),
        w: w.address(),
        y: y.address(),
        partial: partial.address(),
        rows: rows as u32,
        width: outer as u32,
        inner: inner as u32,
        piece,
        splits,
        y_stride: stride as u32,
    });
    if splits > 1 {
        b.run(&RowsSum {
            partial: partial.address(),
            y: y.address(),
            rows: rows as u32,
            width: outer as u32,
            splits,
            y_stride: stride as u32,
        });
    }
    let found = b.read(&y);
    let rows = found.chunks_exact(stride);
    rows.flat_map(|row| row[..outer].to_vec()).collect()
}

#[test]
fn products_of_a_few_rows_are_sums_of_products_with_the_same_bits_in_any_batch() {
    on_every_element(|b| {
        // One piece, several, a last one that is not full; widths that fill no block; more rows than a block takes.
        for (rows, inner, outer) in [
            (1, 64, 64),
            (17, 96, 200),
            (5, 576, 72),
            (66, 1040, 40),
            (3, 192, 333),
        ] {
            let (x, w) = (b.values(rows * inner, 1), b.values(outer * inner, 2));
            let weights = transposed(&wide(&w), outer, inner);
            let expected = product(&wide(&x), &weights, (rows, inner, outer));
            let found = run_rows(b, &x, &w, (rows, inner, outer));
            let (_, splits) = RowsProduct::pieces(outer as u32, inner as u32);
            let name = b.named(&format!(
                "{rows} rows, {inner} to {outer} in {splits} pieces"
            ));
            assert_close(&name, &found, &expected, b.once());
            let last = rows - 1;
            let alone = run_rows(b, &x[last * inner..], &w, (1, inner, outer));
            assert_eq!(alone, found[last * outer..], "{name}: the last row alone");
        }
    });
}

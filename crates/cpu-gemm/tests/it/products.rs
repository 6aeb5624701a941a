//! Products through the safe interface.

use cpu_gemm::{Arithmetic, Format, Operand, PackedMatrix};

fn ramp(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

fn product(matrix: &PackedMatrix, arithmetic: Arithmetic, x: &[f32]) -> Vec<f32> {
    let rows = x.len() / matrix.k();
    let mut operand = Operand::default();
    operand.fill(matrix.operand_kind(arithmetic), x, rows, matrix.k());
    let mut out = vec![0.0; rows * matrix.n()];
    matrix.multiply(&operand, &mut out);
    out
}

#[test]
fn threads_do_not_change_a_bit() {
    let (n, k, rows) = (1000, 576, 20);
    let (weights, x) = (ramp(n * k), ramp(rows * k));
    for format in [
        Format::F32,
        Format::Bf16,
        Format::Q8_0,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
    ] {
        let matrix = PackedMatrix::from_f32(&weights, n, k, format).unwrap();
        for arithmetic in [Arithmetic::Float, Arithmetic::Integer] {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                pool.unwrap().install(|| product(&matrix, arithmetic, &x))
            };
            assert_eq!(run(1), run(3), "{format}");
        }
    }
}

#[test]
fn a_stack_is_its_parts_one_after_the_other() {
    let (k, x) = (64, ramp(3 * 64));
    for format in [Format::F32, Format::Q4_1] {
        let part = |n: usize| PackedMatrix::from_f32(&ramp(n * k), n, k, format).unwrap();
        let stack = PackedMatrix::stack(vec![part(32), part(16), part(5)]).unwrap();
        assert_eq!((stack.n(), stack.k(), stack.panels()), (53, k, 4));
        let whole = product(&stack, Arithmetic::Integer, &x);
        let mut from = 0;
        for n in [32, 16, 5] {
            let alone = product(&part(n), Arithmetic::Integer, &x);
            for (whole, alone) in whole.chunks(53).zip(alone.chunks(n)) {
                assert_eq!(&whole[from..from + n], alone);
            }
            from += n;
        }
    }
}

#[test]
fn rows_come_back_and_may_be_permuted() {
    let (n, k) = (35, 64);
    let weights = ramp(n * k);
    let bytes: Vec<u8> = weights.iter().flat_map(|x| x.to_le_bytes()).collect();
    let matrix = PackedMatrix::from_ggml(Format::F32, &bytes, n, k, &|i| n - 1 - i).unwrap();
    let mut row = vec![0.0; k];
    for i in 0..n {
        matrix.row(i, &mut row);
        assert_eq!(row, weights[(n - 1 - i) * k..][..k]);
    }
}

#[test]
fn bf16_rows_are_not_rounded_again() {
    let wide = ramp(20 * 33);
    let rows: Vec<_> = wide.iter().map(|x| half::bf16::from_f32(*x)).collect();
    let mut row = vec![0.0; 33];
    for format in [Format::F32, Format::Bf16] {
        let matrix = PackedMatrix::from_bf16(&rows, 20, 33, format).unwrap();
        matrix.row(19, &mut row);
        let expected: Vec<f32> = rows[19 * 33..].iter().map(|x| x.to_f32()).collect();
        assert_eq!(row, expected);
    }
}

#[test]
fn an_operand_is_a_buffer_to_reuse() {
    let matrix = PackedMatrix::from_f32(&ramp(16 * 32), 16, 32, Format::Q8_0).unwrap();
    let (few, many) = (ramp(32), ramp(40 * 32));
    let kind = matrix.operand_kind(Arithmetic::Integer);
    let mut operand = Operand::default();
    operand.fill(kind, &many, 40, 32);
    operand.fill(kind, &few, 1, 32);
    assert_eq!((operand.rows(), operand.k(), operand.kind()), (1, 32, kind));
    let mut out = [0.0; 16];
    matrix.multiply(&operand, &mut out);
    assert_eq!(out.to_vec(), product(&matrix, Arithmetic::Integer, &few));
    operand.shape(kind, 0, 32);
    matrix.multiply(&operand, &mut []);
}

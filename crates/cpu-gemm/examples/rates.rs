//! Prints what the kernels reach on this machine: GFLOP/s and GB/s for each format and arithmetic,
//! on the shapes of SmolLM2-135M and one of the 1.7B, beside peaks measured in the same run.
//!
//! `cargo run --release -p cpu-gemm --example rates [-- FORMAT]`. The machine may be shared, so each
//! figure is the best of many short runs.

use std::time::{Duration, Instant};

use cpu_gemm::{Arithmetic, Format, Operand, PackedMatrix, capabilities};

const SHAPES: [(usize, usize); 6] = [
    (960, 576),
    (576, 576),
    (3072, 576),
    (576, 1536),
    (49152, 576),
    (2048, 2048),
];

/// Weights that no cache holds: one row is measured over a ring of matrices this large.
const COLD_BYTES: usize = 400 << 20;

fn main() -> Result<(), cpu_gemm::GemmError> {
    let only = std::env::args().nth(1);
    println!("{}", capabilities());
    for threads in [1, 2] {
        let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let Ok(pool) = built else { continue };
        pool.install(|| -> Result<(), cpu_gemm::GemmError> {
            println!("{threads} thread(s): read {:.1} GB/s", read_bandwidth());
            for format in [Format::F32, Format::Bf16]
                .into_iter()
                .chain(Format::QUANTISED)
            {
                if only.as_ref().is_none_or(|o| *o == format.name()) {
                    table(format)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// One format, all shapes, both arithmetics, 1, 15 and 512 rows.
fn table(format: Format) -> Result<(), cpu_gemm::GemmError> {
    let arithmetics: &[Arithmetic] = if format.is_quantised() {
        &[Arithmetic::Float, Arithmetic::Integer]
    } else {
        &[Arithmetic::Float]
    };
    let whole = SHAPES
        .iter()
        .filter(|(_, k)| k % format.block_inputs() == 0);
    for &(n, k) in whole {
        let matrix = matrix(format, n, k)?;
        let copies = COLD_BYTES.div_ceil(matrix.bytes()).clamp(1, 400);
        let ring: Vec<_> = (0..copies)
            .map(|_| PackedMatrix::stack(vec![matrix.clone()]))
            .collect::<Result<_, _>>()?;
        for arithmetic in arithmetics {
            print!(
                "{format:>5} {:>7} {n:>5} x {k:<4}",
                format!("{arithmetic:?}").to_lowercase()
            );
            for rows in [1, 15, 512] {
                let ring = if rows == 512 { &ring[..1] } else { &ring[..] };
                let seconds = best(ring, *arithmetic, rows);
                let flops = 2.0 * (rows * n * k) as f64 / seconds / 1e9;
                let bytes = matrix.bytes() as f64 / seconds / 1e9;
                print!("  | {rows:>3}: {flops:>7.1} GF/s {bytes:>6.1} GB/s");
            }
            println!();
        }
    }
    Ok(())
}

/// Weights between -1 and 1; where there is no quantiser, blocks of bytes of which none makes a half infinite.
fn matrix(format: Format, n: usize, k: usize) -> Result<PackedMatrix, cpu_gemm::GemmError> {
    if format.has_quantiser() {
        let weight = |i: usize| ((i * 37) % 255) as f32 / 127.0 - 1.0;
        let weights: Vec<f32> = (0..n * k).map(weight).collect();
        return PackedMatrix::from_f32(&weights, n, k, format);
    }
    let bytes = n * k / format.block_inputs() * format.block_bytes();
    let blocks: Vec<u8> = (0..bytes).map(|i| (i * 37 % 251) as u8 & 0x3b).collect();
    PackedMatrix::from_ggml(format, &blocks, n, k, &|i| i)
}

/// Seconds of one product, the best of many, over a ring of equal matrices.
fn best(ring: &[PackedMatrix], arithmetic: Arithmetic, rows: usize) -> f64 {
    let (n, k) = (ring[0].n(), ring[0].k());
    let x: Vec<f32> = (0..rows * k)
        .map(|i| ((i * 53) % 101) as f32 / 50.0 - 1.0)
        .collect();
    let mut operand = Operand::default();
    operand.fill(ring[0].operand_kind(arithmetic), &x, rows, k);
    let mut out = vec![0.0; rows * n];
    let mut best = f64::INFINITY;
    let (start, mut i) = (Instant::now(), 0);
    // Slices of a few hundred microseconds, so that some fall between other processes.
    let per_slice = (3_000_000 / (ring[0].bytes() * rows.div_ceil(8))).clamp(1, ring.len().max(8));
    while start.elapsed() < Duration::from_millis(400) {
        let slice = Instant::now();
        for _ in 0..per_slice {
            ring[i % ring.len()].multiply(&operand, &mut out);
            i += 1;
        }
        best = best.min(slice.elapsed().as_secs_f64() / per_slice as f64);
    }
    best
}

/// Best rate at which all threads of the pool read memory that no cache holds.
fn read_bandwidth() -> f64 {
    const SLICE: usize = 4 << 20;
    use rayon::prelude::*;
    let memory = vec![1u64; COLD_BYTES / 8];
    let mut best = 0f64;
    for _ in 0..4 {
        for slice in memory.chunks_exact(SLICE / 8) {
            let start = Instant::now();
            let part = slice.len() / rayon::current_num_threads();
            let sum: u64 = slice
                .par_chunks_exact(part)
                .map(|part| part.iter().fold(0u64, |a, x| a ^ x))
                .reduce(|| 0, |a, b| a ^ b);
            std::hint::black_box(sum);
            best = best.max(SLICE as f64 / start.elapsed().as_secs_f64() / 1e9);
        }
    }
    best
}

//! What the machine can do at best.

use std::time::Instant;

use cpu_gemm::{Arithmetic, Format, GemmError, Operand, PackedMatrix};
use rayon::prelude::*;
use serde::Serialize;

/// Measured peaks, with as many threads as the model has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Peaks {
    /// GB/s of reading memory that no cache holds.
    pub peak_gbps: f64,
    /// GFLOP/s of a large product of packed weights.
    pub peak_gflops: f64,
}

/// Times each is tried; the best counts.
const TRIES: usize = 5;

impl Peaks {
    /// With weights of `format`; takes about two seconds.
    pub(crate) fn measure(threads: usize, format: Format) -> Result<Self, GemmError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let measure = || {
            Ok(Self {
                peak_gbps: bandwidth(),
                peak_gflops: product(format)?,
            })
        };
        match pool {
            Ok(pool) => pool.install(measure),
            Err(_) => measure(),
        }
    }
}

fn best(mut one: impl FnMut() -> f64) -> f64 {
    (0..TRIES).map(|_| one()).fold(0.0, f64::max)
}

fn bandwidth() -> f64 {
    // Beyond every cache of a server's last level that a machine this program runs on shares.
    let words = vec![1u64; 512 << 17];
    let part = words.len().div_ceil(rayon::current_num_threads());
    best(|| {
        let started = Instant::now();
        let sum: u64 = words
            .par_chunks(part)
            .map(|part| part.iter().fold(0u64, |sum, word| sum ^ word))
            .reduce(|| 0, |a, b| a ^ b);
        std::hint::black_box(sum);
        (words.len() * 8) as f64 / started.elapsed().as_secs_f64() / 1e9
    })
}

fn product(format: Format) -> Result<f64, GemmError> {
    let (m, n, k) = (512, 3072, 1536);
    let weights: Vec<f32> = (0..n * k).map(|i| (i % 251) as f32 / 251.0 - 0.5).collect();
    let matrix = PackedMatrix::from_f32(&weights, n, k, format)?;
    let mut x = Operand::default();
    x.fill(
        matrix.operand_kind(Arithmetic::Float),
        &weights[..m * k],
        m,
        k,
    );
    let mut y = vec![0.0; m * n];
    Ok(best(|| {
        let started = Instant::now();
        matrix.multiply(&x, &mut y);
        (2 * m * n * k) as f64 / started.elapsed().as_secs_f64() / 1e9
    }))
}

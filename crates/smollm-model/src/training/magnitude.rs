//! DoRA beside packed weights: outputs scaled row by row of the weight. Formula: [`crate::ops::adapted_row_norms`].
//!
//! ```text
//! z = x Wᵀ + s · D(x) Aᵀ Bᵀ,   y = c ∘ z,   c = m / n         n: norms of the rows of W + s B A, constants
//! dz = c ∘ dy,   dm = Σ_t dy ∘ z / n
//! ```
//! Norms are needed once a call. No row is formed for them:
//! `‖W_j + s B_j A‖² = ‖W_j‖² + 2 s B_j · (A W_jᵀ) + s² B_j (A Aᵀ) B_jᵀ`. The first term never changes, the second is one
//! product of the packed weights with as many inputs as `A` has rows, the third is small.

use cpu_gemm::Operand;
use rayon::prelude::*;

use super::low_rank::LowRankSite;
use super::products::multiply;
use super::rows::TASK_ROWS;
use super::weights::Place;
use crate::buffer::grow;
use crate::ops::{divisor, norm};
use crate::simd::{Kernel, Simd, dispatch};

/// What scales a site's outputs.
#[derive(Debug)]
pub(super) struct Scales {
    /// `c`, `[out]`
    scales: Vec<f32>,
    /// `n`, `[out]`; infinite where it would be zero, so that such a row gives and learns nothing.
    divisors: Vec<f32>,
}

/// The scales of sites that have one input and stand beside one packed matrix, where they have a magnitude.
pub(super) fn measure(sites: &mut [(Place<'_>, &mut LowRankSite<'_>)]) {
    let Some((place, _)) = sites.first() else {
        return;
    };
    let (weights, squares) = (place.weights, place.squares());
    let (n, k) = (weights.matrix.n(), weights.matrix.k());
    let inputs: Vec<f32> = sites.iter().flat_map(|(_, site)| site.a.to_vec()).collect();
    let mut products = vec![0f32; inputs.len() / k * n];
    multiply(weights, &inputs, &mut Operand::default(), &mut products);
    let mut rows = products.chunks_exact(n);
    for (place, site) in sites {
        let crossed: Vec<&[f32]> = rows.by_ref().take(site.rank).collect();
        let squares = &squares[place.column..][..site.outputs];
        site.scales = site
            .magnitude
            .map(|magnitude| Scales::new(site, magnitude, squares, &crossed, place.column));
    }
}

impl Scales {
    /// From the squared norms of the weight's rows and `A Wᵀ`, whose columns for this site begin at `column`.
    fn new(
        site: &LowRankSite<'_>,
        magnitude: &[f32],
        squares: &[f64],
        crossed: &[&[f32]],
        column: usize,
    ) -> Self {
        let gram = gram(site.a, site.rank);
        let mut divisors = vec![0f32; site.outputs];
        divisors
            .par_chunks_mut(TASK_ROWS)
            .enumerate()
            .for_each(|(task, divisors)| {
                let (mut b, mut room) = (vec![0f64; site.rank], vec![0f64; site.rank]);
                for (i, to) in divisors.iter_mut().enumerate() {
                    let j = task * TASK_ROWS + i;
                    // s B_j
                    for (r, b) in b.iter_mut().enumerate() {
                        *b = f64::from(site.b[r * site.outputs + j]);
                    }
                    let cross = b.iter().zip(crossed);
                    let cross: f64 = cross.map(|(b, row)| b * f64::from(row[column + j])).sum();
                    let own = dispatch(Quadratic {
                        gram: &gram,
                        x: &b,
                        room: &mut room,
                    });
                    *to = divisor(norm(squares[j] + 2.0 * cross + own));
                }
            });
        let both = magnitude.iter().zip(&divisors);
        Self {
            scales: both.map(|(m, n)| m / n).collect(),
            divisors,
        }
    }

    /// Keeps `z`, and makes `y = c ∘ z` of it; rows of `y` are `stride` apart, the first begins with the slice.
    pub(super) fn forward(&self, (y, stride): (&mut [f32], usize), z: &mut Vec<f32>) {
        let width = self.scales.len();
        let z = grow(z, y.len().div_ceil(stride) * width);
        y.par_chunks_mut(TASK_ROWS * stride)
            .zip(z.par_chunks_mut(TASK_ROWS * width))
            .for_each(|(y, z)| {
                for (y, z) in y.chunks_mut(stride).zip(z.chunks_exact_mut(width)) {
                    let y = &mut y[..width];
                    z.copy_from_slice(y);
                    self.scale_row(y);
                }
            });
    }

    /// Turns `dy` into `dz` where it stands, and adds to `dm`.
    pub(super) fn backward(&self, (dy, stride): (&mut [f32], usize), z: &[f32], dm: &mut [f32]) {
        self.add_magnitude_gradient((&*dy, stride), z, dm);
        let width = self.scales.len();
        dy.par_chunks_mut(TASK_ROWS * stride).for_each(|rows| {
            for row in rows.chunks_mut(stride) {
                self.scale_row(&mut row[..width]);
            }
        });
    }

    fn scale_row(&self, row: &mut [f32]) {
        dispatch(Multiply {
            x: &self.scales,
            y: row,
        });
    }

    /// `dm += Σ_t dy ∘ z / n`; each column is summed by one thread, token after token.
    fn add_magnitude_gradient(&self, (dy, stride): (&[f32], usize), z: &[f32], dm: &mut [f32]) {
        let width = self.scales.len();
        dm.par_chunks_mut(COLUMNS)
            .zip(self.divisors.par_chunks(COLUMNS))
            .enumerate()
            .for_each(|(task, (dm, divisors))| {
                let (start, count) = (task * COLUMNS, dm.len());
                let (mut sums, mut part) = ([0f64; COLUMNS], [0f32; COLUMNS]);
                let blocks = dy.chunks(TASK_ROWS * stride);
                for (dy, z) in blocks.zip(z.chunks(TASK_ROWS * width)) {
                    part.fill(0.0);
                    for (dy, z) in dy.chunks(stride).zip(z.chunks_exact(width)) {
                        let (x, y) = (&dy[start..][..count], &z[start..][..count]);
                        let sum = &mut part[..count];
                        dispatch(AddProduct { x, y, sum });
                    }
                    for (sum, part) in sums.iter_mut().zip(part) {
                        *sum += f64::from(part);
                    }
                }
                for ((dm, n), sum) in dm.iter_mut().zip(divisors).zip(sums) {
                    *dm += (sum / f64::from(*n)) as f32;
                }
            });
    }
}

/// Columns of one task: a few lines of memory of each row.
const COLUMNS: usize = 64;

/// `A Aᵀ`, `[rank, rank]`, in f64.
fn gram(a: &[f32], rank: usize) -> Vec<f64> {
    let rows: Vec<&[f32]> = a.chunks_exact(a.len() / rank).collect();
    let product = |x: &[f32], y: &[f32]| -> f64 {
        let both = x.iter().zip(y);
        both.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let pairs = rows.par_iter();
    pairs
        .flat_map_iter(|x| rows.iter().map(move |y| product(x, y)))
        .collect()
}

/// `x G xᵀ` for a square `G`, row by row; `room` is as long as `x`.
struct Quadratic<'a> {
    gram: &'a [f64],
    x: &'a [f64],
    room: &'a mut [f64],
}

impl Kernel for Quadratic<'_> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f64 {
        let Self { gram, x, room } = self;
        room.fill(0.0);
        for (factor, row) in x.iter().zip(gram.chunks_exact(x.len())) {
            for (sum, g) in room.iter_mut().zip(row) {
                *sum += factor * g;
            }
        }
        room.iter().zip(x).map(|(sum, x)| sum * x).sum()
    }
}

/// `y ← x ∘ y`
struct Multiply<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y *= x;
        }
    }
}

/// `sum += x ∘ y`
struct AddProduct<'a> {
    x: &'a [f32],
    y: &'a [f32],
    sum: &'a mut [f32],
}

impl Kernel for AddProduct<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for ((sum, x), y) in self.sum.iter_mut().zip(self.x).zip(self.y) {
            *sum += x * y;
        }
    }
}

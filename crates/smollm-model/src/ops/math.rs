//! Scalar functions written as straight-line arithmetic, so that loops over them vectorise, and
//! sums in one fixed order.

/// `eˣ` within 2 ulp; results below 2⁻¹²⁶ flush to about that. Cephes' `expf` (Moshier 1992).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // 1.5 · 2²³: adding it rounds to an integer that then stands in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HI - n * LN2_LO;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let exponent = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127);
    (p * r * r + r + 1.0) * f32::from_bits(exponent << 23)
}

/// Logistic function `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The nearest bf16, ties to even; straight-line, so that loops over it vectorise. A NaN stays one.
#[inline(always)]
pub(crate) fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if x.is_nan() {
        bits >> 16 | 0x40
    } else {
        rounded
    }) as u16
}

/// `p = e^(scale · (s − max s))` as bf16 for the first `seen` raw scores of a row, zero for the masked rest. Returns
/// `scale · max s` and the sum of the rounded `p`, so that they add up to one as they are used.
#[inline(always)]
pub(crate) fn rounded_probabilities(
    scores: &[f32],
    p: &mut [u16],
    seen: usize,
    scale: f32,
) -> (f32, f32) {
    let top = max(&scores[..seen]) * scale;
    let mut lanes = [0f32; 16];
    let (whole, masked) = p.split_at_mut(seen);
    masked.fill(0);
    for (s, p) in scores[..seen].chunks(16).zip(whole.chunks_mut(16)) {
        for ((s, p), lane) in s.iter().zip(p).zip(&mut lanes) {
            *p = to_bf16(exp(*s * scale - top));
            *lane += f32::from_bits(u32::from(*p) << 16);
        }
    }
    (top, lanes.iter().sum())
}

/// `Σ f(i)` for `i < n`, in sixteen interleaved partial sums: vectorises, and the order depends on
/// `n` alone.
#[inline(always)]
pub(crate) fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; 16];
    let full = n / 16 * 16;
    for start in (0..full).step_by(16) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    for i in full..n {
        lanes[i - full] += f(i);
    }
    lanes.iter().sum()
}

/// The largest element; −∞ for an empty slice.
#[inline(always)]
pub(crate) fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = if x > *lane { x } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        for i in -87_000..88_000 {
            let x = i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.4e-7, "exp({x}): relative error {error:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 1.3e-38);
    }

    #[test]
    fn sum_and_max_see_every_element() {
        for n in [0usize, 1, 15, 16, 17, 100] {
            let expected = (n * n.saturating_sub(1) / 2) as f32;
            assert_eq!(sum(n, |i| i as f32), expected, "n = {n}");
            let values: Vec<f32> = (0..n).map(|i| -(i as f32)).collect();
            assert_eq!(max(&values), if n == 0 { f32::NEG_INFINITY } else { 0.0 });
        }
    }
}

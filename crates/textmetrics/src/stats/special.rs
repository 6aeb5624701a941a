//! The few special functions that the tests need, to about 1e-12: a statistics library would bring a linear-algebra
//! stack for these hundred lines. Checked against `scipy.special` and `scipy.stats` goldens.

/// Steps after which a series or continued fraction stops; enough for half a million degrees of freedom.
const MAX_STEPS: usize = 20_000;
/// Relative size of a last term that no longer matters.
const EPS: f64 = 1e-16;
/// Stands for zero in Lentz's method.
const TINY: f64 = 1e-300;

/// `ln Γ(x)` for `x > 0`: Lanczos' approximation (g = 7, nine terms).
pub fn ln_gamma(x: f64) -> f64 {
    const G: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let sum = G
        .iter()
        .enumerate()
        .skip(1)
        .fold(G[0], |acc, (i, g)| acc + g / (x + i as f64));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// The regularised incomplete beta function `I_x(a, b)` for `a, b > 0` (continued fraction, Lentz's method; Numerical
/// Recipes §6.4). `x` outside `[0, 1]` is clamped.
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let guard = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for step in 1..MAX_STEPS {
        let m = step as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / guard(1.0 + term * d);
            c = guard(1.0 + term / c);
            change = c * d;
            value *= change;
        }
        if (change - 1.0).abs() < EPS {
            break;
        }
    }
    value
}

/// `Φ(x)`, the standard normal distribution function, accurate in both tails.
pub fn normal_cdf(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let tail = 0.5 * erfc_positive(z);
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// `erfc(z)` for `z >= 0`: Kummer's series (all terms positive) near zero, a continued fraction in the tail.
fn erfc_positive(z: f64) -> f64 {
    let gauss = (-z * z).exp() / std::f64::consts::PI.sqrt();
    if z < 2.5 {
        let (mut term, mut sum) = (z, z);
        for n in 1..MAX_STEPS {
            term *= 2.0 * z * z / (2 * n + 1) as f64;
            sum += term;
            if term < EPS * sum {
                break;
            }
        }
        return 1.0 - 2.0 * gauss * sum;
    }
    // erfc(z) = e^{-z²}/√π · 1/(z + (1/2)/(z + (2/2)/(z + (3/2)/(z + …)))), from the innermost term outwards.
    gauss
        / (1..=120)
            .rev()
            .fold(z, |inner, k| z + f64::from(k) * 0.5 / inner)
}

/// The quantile of the standard normal distribution: `Φ(result) = p`, for `0 < p < 1`.
pub fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        -invert(normal_cdf, 1.0 - p)
    } else {
        invert(normal_cdf, p)
    }
}

/// Student's t distribution function with `df > 0` degrees of freedom.
pub fn t_cdf(t: f64, df: f64) -> f64 {
    let tail = 0.5 * incomplete_beta(df / 2.0, 0.5, df / (df + t * t));
    if t > 0.0 { 1.0 - tail } else { tail }
}

/// The quantile of Student's t distribution with `df > 0` degrees of freedom, for `0 < p < 1`.
pub fn t_quantile(p: f64, df: f64) -> f64 {
    if p > 0.5 {
        -invert(|t| t_cdf(t, df), 1.0 - p)
    } else {
        invert(|t| t_cdf(t, df), p)
    }
}

/// Solves `cdf(x) = p` for an increasing `cdf` with median 0 and `p <= 1/2`, by bisection on `(-∞, 0]`.
fn invert(cdf: impl Fn(f64) -> f64, p: f64) -> f64 {
    let mut low = -1.0;
    while cdf(low) > p && low > -1e150 {
        low *= 2.0;
    }
    bisect(low, 0.0, |x| cdf(x) < p)
}

/// The point in `[low, high]` where `below` turns from true to false.
pub(super) fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high || high - low < 1e-14 * middle.abs() {
            break;
        }
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

//! Random numbers that are a pure function of a key and a counter.
//!
//! A tensor's initial values must not depend on the order in which tensors are visited, so each
//! draw is addressed (seed, name, index) instead of taken from a stream. The mixer is the finaliser
//! of `SplitMix64` (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).

/// 2^64 divided by the golden ratio: the increment of `SplitMix64`.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An addressable source of random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(u64);

impl Key {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(GAMMA)))
    }

    /// A key of its own for a number.
    pub(crate) fn number(self, n: u64) -> Self {
        Self(mix(self.0 ^ mix(n.wrapping_mul(GAMMA).wrapping_add(GAMMA))))
    }

    /// A key of its own for a name.
    pub(crate) fn name(self, name: &str) -> Self {
        name.bytes()
            .fold(self.number(name.len() as u64), |key, byte| {
                key.number(u64::from(byte))
            })
    }

    /// The `index`-th draw: 64 random bits.
    pub(crate) fn bits(self, index: u64) -> u64 {
        mix(self.0.wrapping_add(index.wrapping_mul(GAMMA)))
    }

    /// The `index`-th draw, uniform in `[-bound, bound)`.
    pub(crate) fn uniform(self, index: u64, bound: f64) -> f32 {
        // 53 bits make every f64 in [0, 1) of that spacing equally likely.
        let unit = (self.bits(index) >> 11) as f64 / (1u64 << 53) as f64;
        ((2.0 * unit - 1.0) * bound) as f32
    }

    /// The `index`-th normal draw, with mean 0 and standard deviation 1 (Box and Muller 1958); it takes the place of
    /// draws `2 index` and `2 index + 1`.
    pub(crate) fn normal(self, index: u64) -> f64 {
        // In (0, 1], of which there is a logarithm, and in [0, 1).
        let unit = |bits: u64| (bits >> 11) as f64 / (1u64 << 53) as f64;
        let radius = 1.0 - unit(self.bits(2 * index));
        let turn = unit(self.bits(2 * index + 1));
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
    }

    /// The order `0..n` shuffled (Fisher and Yates).
    pub(crate) fn permutation(self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            // The high half of a 64 x 64 bit product: uniform in 0..=i up to one part in 2^64 / n.
            let j = (u128::from(self.bits(i as u64)) * (i as u128 + 1)) >> 64;
            order.swap(i, j as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn draws_depend_on_seed_name_and_index() {
        let of = |seed, name, index| Key::new(seed).name(name).bits(index);
        assert_eq!(of(1, "a", 0), of(1, "a", 0));
        assert_ne!(of(1, "a", 0), of(2, "a", 0));
        assert_ne!(of(1, "a", 0), of(1, "b", 0));
        assert_ne!(of(1, "a", 0), of(1, "a", 1));
        assert_ne!(of(1, "ab", 0), of(1, "ba", 0));
    }

    #[test]
    fn uniform_fills_its_interval() {
        let key = Key::new(7).name("x");
        let draws: Vec<f64> = (0..20_000)
            .map(|i| f64::from(key.uniform(i, 0.5)))
            .collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(draws.iter().all(|x| x.abs() <= 0.5));
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 1.0 / 12.0).abs() < 0.002, "{variance}");
    }

    #[test]
    fn normal_draws_have_the_moments_and_tails_of_the_normal_distribution() {
        let key = Key::new(7).name("x");
        let draws: Vec<f64> = (0..100_000).map(|i| key.normal(i)).collect();
        let moment = |n| draws.iter().map(|x| x.powi(n)).sum::<f64>() / 1e5;
        // Four standard errors of each.
        for (n, expected, far) in [
            (1, 0.0, 0.013),
            (2, 1.0, 0.018),
            (3, 0.0, 0.05),
            (4, 3.0, 0.13),
        ] {
            assert!((moment(n) - expected).abs() < far, "{n}: {}", moment(n));
        }
        for (bound, expected) in [(1.0, 0.3173), (2.0, 0.0455), (3.0, 0.0027)] {
            let beyond = draws.iter().filter(|x| x.abs() > bound).count() as f64 / 1e5;
            assert!(
                (beyond - expected).abs() < 0.006 * bound.recip(),
                "{bound}: {beyond}"
            );
        }
    }

    proptest! {
        #[test]
        fn permutation_keeps_every_index(seed in any::<u64>(), n in 0usize..200) {
            let mut order = Key::new(seed).permutation(n);
            order.sort_unstable();
            prop_assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }
}

//! A small generator for shuffling: `SplitMix64`.

/// What the generator adds to its state for each number (Steele, Lea and Flood 2014).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Numbers that depend on seed and epoch alone. Not for secrets.
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The epoch is mixed in by a round of its own, so that seed 1, epoch 2 and seed 2, epoch 1 have
    /// nothing in common.
    pub(super) fn new(seed: u64, epoch: u64) -> Self {
        Self {
            state: mix(seed ^ mix(epoch.wrapping_add(STEP))),
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// Every order equally likely (Fisher and Yates), to within the generator's 64 bits.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// A number below `bound`, which must not be 0, without bias (Lemire 2019).
    fn below(&mut self, bound: u64) -> u64 {
        loop {
            let product = u128::from(self.next()) * u128::from(bound);
            if product as u64 >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }
}

fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Random;

    /// The published sequence of seed 1234567.
    #[test]
    fn numbers_are_those_of_splitmix64() {
        let mut random = Random { state: 1_234_567 };
        let numbers = [random.next(), random.next(), random.next()];
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(numbers, published);
    }

    /// Each of the 24 orders of four, within five standard deviations of its share.
    #[test]
    fn every_order_is_as_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            Random::new(7, epoch).shuffle(&mut items);
            *counts.entry(items).or_insert(0_i32) += 1;
        }
        assert_eq!(counts.len(), 24);
        assert!(
            counts.values().all(|n| (n - 1000).abs() < 155),
            "{counts:?}"
        );
    }
}

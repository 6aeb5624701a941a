//! PCG64 as NumPy uses it: a 128-bit LCG with the XSL-RR output function, and a 32-bit draw that
//! takes the lower half of a word first and keeps the upper half for the next one.
//!
//! M. E. O'Neill, "PCG: A family of simple fast space-efficient statistically good algorithms for
//! random number generation" (2014).

use super::seed_sequence;

const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

pub(super) struct Pcg64 {
    state: u128,
    increment: u128,
    kept: Option<u32>,
}

impl Pcg64 {
    pub(super) fn new(seed: u64) -> Self {
        let words = seed_sequence::state(seed);
        let wide = |high: u64, low: u64| (u128::from(high) << 64) | u128::from(low);
        let mut rng = Self {
            state: 0,
            increment: (wide(words[2], words[3]) << 1) | 1,
            kept: None,
        };
        rng.step();
        rng.state = rng.state.wrapping_add(wide(words[0], words[1]));
        rng.step();
        rng
    }

    fn step(&mut self) {
        self.state = self
            .state
            .wrapping_mul(MULTIPLIER)
            .wrapping_add(self.increment);
    }

    fn next_u64(&mut self) -> u64 {
        self.step();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    fn next_u32(&mut self) -> u32 {
        if let Some(upper) = self.kept.take() {
            return upper;
        }
        let word = self.next_u64();
        self.kept = Some((word >> 32) as u32);
        word as u32
    }

    /// A draw from `0..=max`, as NumPy's `random_interval`: words masked to the bits of `max`, drawn
    /// again while they exceed it. A range of 32 bits takes 32-bit words; `max == 0` takes none.
    pub(super) fn at_most(&mut self, max: u64) -> u64 {
        let mask = u64::MAX.checked_shr(max.leading_zeros()).unwrap_or(0);
        let narrow = u32::try_from(max).is_ok();
        if max == 0 {
            return 0;
        }
        loop {
            let word = if narrow {
                u64::from(self.next_u32())
            } else {
                self.next_u64()
            };
            if word & mask <= max {
                return word & mask;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pcg64;

    /// `numpy.random.PCG64(42).random_raw(3)`, NumPy 2.4.6.
    #[test]
    fn words_are_numpys() {
        let mut rng = Pcg64::new(42);
        let drawn = [(); 3].map(|()| rng.at_most(u64::MAX));
        assert_eq!(
            drawn,
            [
                0xc621_fbcd_16d9_2688,
                0x705a_5661_a791_ffc1,
                0xdbcd_12c2_6eda_1624
            ]
        );
    }
}

//! NumPy's `SeedSequence` (after M. E. O'Neill's `seed_seq_fe`): a hash that spreads the entropy of
//! a seed over as many words as the generator wants.

const POOL: usize = 4;
const INIT_A: u32 = 0x43b0_d7e5;
const MULT_A: u32 = 0x931e_8875;
const INIT_B: u32 = 0x8b51_f9dd;
const MULT_B: u32 = 0x58f3_8ded;
const MIX_LEFT: u32 = 0xca01_f9dd;
const MIX_RIGHT: u32 = 0x4973_f715;
const SHIFT: u32 = 16;

/// A multiplicative hash whose constant changes with every word.
struct Hash {
    constant: u32,
    multiplier: u32,
}

impl Hash {
    fn next(&mut self, word: u32) -> u32 {
        let mixed = word ^ self.constant;
        self.constant = self.constant.wrapping_mul(self.multiplier);
        let mixed = mixed.wrapping_mul(self.constant);
        mixed ^ (mixed >> SHIFT)
    }
}

fn mix(x: u32, y: u32) -> u32 {
    let mixed = MIX_LEFT
        .wrapping_mul(x)
        .wrapping_sub(MIX_RIGHT.wrapping_mul(y));
    mixed ^ (mixed >> SHIFT)
}

/// `SeedSequence(seed).generate_state(4, uint64)`.
///
/// NumPy splits the seed into 32-bit words, lowest first. A `u64` has at most two of them, fewer
/// than the pool, and NumPy hashes a zero for each word that is missing: so the upper word needs
/// no special case when it is zero.
pub(super) fn state(seed: u64) -> [u64; 4] {
    let entropy = [seed as u32, (seed >> 32) as u32, 0, 0];
    let mut hash = Hash {
        constant: INIT_A,
        multiplier: MULT_A,
    };
    let mut pool = entropy.map(|word| hash.next(word));
    for source in 0..POOL {
        for target in 0..POOL {
            if source != target {
                pool[target] = mix(pool[target], hash.next(pool[source]));
            }
        }
    }
    let mut hash = Hash {
        constant: INIT_B,
        multiplier: MULT_B,
    };
    let mut words = [0u32; 8];
    for (word, source) in words.iter_mut().zip(pool.iter().cycle()) {
        *word = hash.next(*source);
    }
    std::array::from_fn(|i| u64::from(words[2 * i]) | (u64::from(words[2 * i + 1]) << 32))
}

#[cfg(test)]
mod tests {
    use super::state;

    /// `numpy.random.SeedSequence(s).generate_state(4, numpy.uint64)`, NumPy 2.4.6.
    #[test]
    fn state_words_are_numpys() {
        assert_eq!(
            state(0),
            [
                0xdb2c_d7e7_b0f4_78be,
                0xabf4_641a_2c71_ba49,
                0x20c6_ed6d_9d7b_8d41,
                0x2c40_99de_223c_39d4
            ]
        );
        assert_eq!(
            state(42),
            [
                0x9f1e_2e6d_cd54_0ab7,
                0xd578_73dc_79fb_94b6,
                0x7d28_2a1b_64d4_20b7,
                0x3365_7971_4692_d5ff
            ]
        );
        assert_eq!(
            state((1 << 32) + 5),
            [
                0xf9c1_5bd6_e249_d9ac,
                0xb202_1b40_3632_0ed7,
                0x9388_b47f_e6dc_f739,
                0x5eeb_a8d9_ad64_39e1
            ]
        );
        assert_eq!(
            state(u64::MAX),
            [
                0xaebc_a151_928c_ad0d,
                0x119c_3044_8638_dc7a,
                0x1bbb_1556_59e6_42a7,
                0xa76b_11e3_e8c4_a8f6
            ]
        );
    }
}

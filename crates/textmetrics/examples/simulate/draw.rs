//! Made-up rows, drawn from a seed.

/// `SplitMix64`: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds must not give overlapping streams.
        let mut mixed = Self(seed);
        Self(mixed.bits())
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn coin(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// 1 or -1.
    pub(crate) fn sign(&mut self) -> f64 {
        if self.coin(0.5) { 1.0 } else { -1.0 }
    }

    /// A token F1 as short answers give it: often 0 or 1, else a fraction with a small denominator.
    pub(crate) fn f1(&mut self) -> f64 {
        match self.below(10) {
            0..=2 => 0.0,
            3 => 1.0,
            _ => {
                let tokens = 4 + self.below(12);
                2.0 * self.below(tokens) as f64 / (2 * tokens) as f64
            }
        }
    }

    /// The difference of two systems on one row; a third of all rows have none.
    pub(crate) fn difference(&mut self) -> f64 {
        if self.coin(1.0 / 3.0) {
            0.0
        } else {
            self.f1() - self.f1()
        }
    }
}

//! Damage to model files that aims at what a reader trusts: counts, lengths, offsets, names.

/// What stands in a field when somebody means harm, or forgot something.
const NUMBERS: [u64; 25] = [
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    31,
    33,
    255,
    1 << 16,
    1 << 28,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    1 << 40,
    1 << 61,
    i64::MAX as u64,
    u64::MAX - 31,
    u64::MAX,
    // As f32: not a number, infinity, -1, the smallest.
    0x7fc0_0000,
    0x7f80_0000,
    0xbf80_0000,
    1,
];

/// A file, the places in it that are worth hitting, and other files to take pieces from.
pub(crate) struct Victim<'a> {
    pub(crate) bytes: &'a [u8],
    /// Where names of keys and tensors begin, and their lengths.
    pub(crate) names: Vec<(usize, usize)>,
    /// Bytes before the weights.
    pub(crate) header: usize,
    pub(crate) donors: Vec<&'a [u8]>,
}

/// `SplitMix64`: the same seed does the same damage on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

impl<'a> Victim<'a> {
    /// `names` are looked for in the first `header` bytes, each where it stands first.
    pub(crate) fn new<S: AsRef<str>>(
        bytes: &'a [u8],
        header: usize,
        names: impl IntoIterator<Item = S>,
        donors: Vec<&'a [u8]>,
    ) -> Self {
        let find = |name: S| {
            let name = name.as_ref().as_bytes();
            let mut windows = bytes.get(..header)?.windows(name.len().max(1));
            windows.position(|w| w == name).map(|at| (at, name.len()))
        };
        let names = names.into_iter().filter_map(find).collect();
        Self {
            bytes,
            names,
            header,
            donors,
        }
    }

    /// The file with one to four kinds of damage.
    pub(crate) fn damaged(&self, seed: u64) -> Vec<u8> {
        let mut random = Random(seed);
        let mut bytes = self.bytes.to_vec();
        for _ in 0..=random.below(4) {
            match random.below(10) {
                0 => bytes.truncate(random.below(bytes.len() + 1)),
                1 | 2 => self.flip(&mut bytes, &mut random),
                3 => self.splice(&mut bytes, &mut random),
                4 => self.shift(&mut bytes, &mut random),
                5 => self.rename(&mut bytes, &mut random),
                _ => self.set_field(&mut bytes, &mut random),
            }
        }
        bytes
    }

    /// A place in the header nearly always: the weights may hold anything.
    fn place(&self, random: &mut Random, len: usize) -> usize {
        match random.below(16) {
            0 => random.below(len),
            1 => random.below(24.min(len)),
            _ => random.below(self.header.min(len)),
        }
    }

    fn flip(&self, bytes: &mut [u8], random: &mut Random) {
        for _ in 0..=random.below(8) {
            let at = self.place(random, bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
    }

    /// Writes a number of 4 or 8 bytes around a name: its length, or what follows it.
    fn set_field(&self, bytes: &mut [u8], random: &mut Random) {
        let at = match self.names.get(random.below(self.names.len() + 1)) {
            Some((at, len)) => match random.below(3) {
                0 => at.saturating_sub(8),
                _ => at + len + random.below(12) * 4,
            },
            None => random.below(6) * 4,
        };
        let width = [4, 8][random.below(2)];
        let Some(field) = bytes.get_mut(at..at + width) else {
            return;
        };
        let mut old = [0; 8];
        old[..width].copy_from_slice(field);
        let old = u64::from_le_bytes(old);
        let new = match random.below(6) {
            0 => old.wrapping_add(1),
            1 => old.wrapping_sub(1),
            2 => old.wrapping_mul(2),
            _ => NUMBERS[random.below(NUMBERS.len())],
        };
        field.copy_from_slice(&new.to_le_bytes()[..width]);
    }

    /// Writes a piece of another file, or of this one, over a place.
    fn splice(&self, bytes: &mut [u8], random: &mut Random) {
        let donor = self.donors.get(random.below(self.donors.len() + 1));
        let donor = donor.copied().unwrap_or(self.bytes);
        let len = 1 + random.below(256);
        let from = random.below(self.header.min(donor.len()));
        let at = self.place(random, bytes.len());
        let piece = donor.get(from..).unwrap_or_default();
        let place = bytes.get_mut(at..).unwrap_or_default();
        let len = len.min(piece.len()).min(place.len());
        place[..len].copy_from_slice(&piece[..len]);
    }

    /// Puts bytes in or takes bytes out, so that everything after stands elsewhere.
    fn shift(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let at = self.place(random, bytes.len()).min(bytes.len());
        let len = 1 + random.below(40);
        if random.below(2) == 0 {
            bytes.splice(at..at, std::iter::repeat_n(random.below(256) as u8, len));
        } else {
            bytes.drain(at..(at + len).min(bytes.len()));
        }
    }

    /// Writes one name over another of the same length, if there is one: a name that is there twice.
    fn rename(&self, bytes: &mut [u8], random: &mut Random) {
        let Some(&(from, len)) = self.names.get(random.below(self.names.len())) else {
            return;
        };
        let equal: Vec<_> = self.names.iter().filter(|name| name.1 == len).collect();
        let (to, _) = *equal[random.below(equal.len())];
        if from.max(to) + len <= bytes.len() {
            bytes.copy_within(from..from + len, to);
        }
    }
}

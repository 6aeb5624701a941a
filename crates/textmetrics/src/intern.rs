//! Words as small integers, so that everything after reading compares numbers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A hash map with the hasher below.
pub(crate) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<WordHasher>>;

/// How many words are kept before everything is forgotten, so that memory stays bounded.
const LIMIT: usize = 1 << 18;

/// A multiply-and-rotate hash in eight-byte steps: words are short, and the keys are not secret.
#[derive(Default)]
pub(crate) struct WordHasher(u64);

impl WordHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<8>();
        for block in blocks {
            self.mix(u64::from_le_bytes(*block));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
    }

    fn write_usize(&mut self, length: usize) {
        self.mix(length as u64);
    }

    fn finish(&self) -> u64 {
        // The table takes its bucket from the low bits and its tag from the high ones.
        self.0 ^ (self.0 >> 32)
    }
}

/// Gives each different word an id, counted from 0.
#[derive(Default)]
pub(crate) struct Interner {
    ids: FastMap<Box<[u8]>, u32>,
}

impl Interner {
    /// The id of `word`.
    pub(crate) fn id(&mut self, word: &[u8]) -> u32 {
        if let Some(&id) = self.ids.get(word) {
            return id;
        }
        let id = self.ids.len() as u32;
        self.ids.insert(word.into(), id);
        id
    }

    /// One more than the largest id.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Forgets every word once there are too many; call it where no id is in use.
    pub(crate) fn trim(&mut self) -> bool {
        let full = self.ids.len() > LIMIT;
        if full {
            self.ids.clear();
        }
        full
    }
}

/// Counts of ids, all zero between two uses.
#[derive(Default)]
pub(crate) struct Counts(Vec<u32>);

impl Counts {
    /// Makes room for ids below `ids` and counts those of `tokens`.
    pub(crate) fn add(&mut self, tokens: &[u32], ids: usize) {
        if self.0.len() < ids {
            self.0.resize(ids, 0);
        }
        for &t in tokens {
            self.0[t as usize] += 1;
        }
    }

    /// Takes one of `token`, if there is one.
    pub(crate) fn take(&mut self, token: u32) -> bool {
        let count = &mut self.0[token as usize];
        let some = *count > 0;
        *count -= u32::from(some);
        some
    }

    /// Sets the counts of `tokens` back to zero.
    pub(crate) fn clear(&mut self, tokens: &[u32]) {
        for &t in tokens {
            self.0[t as usize] = 0;
        }
    }

    /// The size of the multiset intersection of `a` and `b`, whose ids are below `ids`.
    pub(crate) fn overlap(&mut self, a: &[u32], b: &[u32], ids: usize) -> usize {
        self.add(a, ids);
        let common = b.iter().filter(|&&t| self.take(t)).count();
        self.clear(a);
        common
    }
}

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

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, length: usize) {
        self.mix(length as u64);
    }

    fn finish(&self) -> u64 {
        // The table takes its bucket from the low bits and its tag from the high ones.
        self.0 ^ (self.0 >> 32)
    }
}

/// What is known of each word.
///
/// Words of up to 15 bytes, nearly all there are, are their own keys: no pointer to follow, no call to
/// compare two of them.
#[derive(Default)]
pub(crate) struct WordMap<V> {
    short: FastMap<(u64, u64), V>,
    long: FastMap<Box<[u8]>, V>,
}

impl<V: Copy> WordMap<V> {
    pub(crate) fn get(&self, word: &[u8]) -> Option<V> {
        match short_key(word) {
            Some(key) => self.short.get(&key).copied(),
            None => self.long.get(word).copied(),
        }
    }

    pub(crate) fn insert(&mut self, word: &[u8], value: V) {
        match short_key(word) {
            Some(key) => self.short.insert(key, value),
            None => self.long.insert(word.into(), value),
        };
    }

    pub(crate) fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    pub(crate) fn clear(&mut self) {
        self.short.clear();
        self.long.clear();
    }
}

/// Up to 15 bytes and how many they are.
fn short_key(word: &[u8]) -> Option<(u64, u64)> {
    let n = word.len();
    if n > 15 {
        return None;
    }
    // Two reads that overlap, the second one shifted past what the first one has.
    let (low, high) = if let (Some(first), Some(last)) =
        (word.first_chunk::<8>(), word.last_chunk::<8>())
    {
        let last = u128::from(u64::from_le_bytes(*last));
        (u64::from_le_bytes(*first), (last >> (8 * (16 - n))) as u64)
    } else if let (Some(first), Some(last)) = (word.first_chunk::<4>(), word.last_chunk::<4>()) {
        let last = u64::from(u32::from_le_bytes(*last));
        let first = u64::from(u32::from_le_bytes(*first));
        (first | last >> (8 * (8 - n)) << 32, 0)
    } else {
        let bytes = word.iter().rev();
        (bytes.fold(0, |low, &b| low << 8 | u64::from(b)), 0)
    };
    Some((low, high | (n as u64) << 56))
}

/// Gives each different word an id, counted from 0.
#[derive(Default)]
pub(crate) struct Interner {
    ids: WordMap<u32>,
}

impl Interner {
    /// The id of `word`.
    pub(crate) fn id(&mut self, word: &[u8]) -> u32 {
        if let Some(id) = self.ids.get(word) {
            return id;
        }
        let id = self.ids.len() as u32;
        self.ids.insert(word, id);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn different_words_have_different_keys() {
        let letters = [0, b'a', b'b', 0xff];
        let mut words = vec![Vec::new()];
        // All words of up to 5 letters, and longer ones that differ in one place.
        for n in 0..5 {
            let longer: Vec<Vec<u8>> = words
                .iter()
                .filter(|w| w.len() == n)
                .flat_map(|w| letters.map(|l| [w.as_slice(), &[l]].concat()))
                .collect();
            words.extend(longer);
        }
        for n in 6..16 {
            words.push(vec![b'a'; n]);
            for at in 0..n {
                for letter in [0, b'b', 0xff] {
                    let mut word = vec![b'a'; n];
                    word[at] = letter;
                    words.push(word);
                }
            }
        }
        let keys: HashSet<_> = words.iter().map(|w| short_key(w).unwrap()).collect();
        assert_eq!(keys.len(), words.len());
        assert_eq!(short_key(&[b'a'; 16]), None);
    }

    #[test]
    fn long_words_have_ids_too() {
        let mut words = Interner::default();
        let (a, b) = ([b'a'; 15], [b'a'; 16]);
        assert_eq!([words.id(&a), words.id(&b), words.id(&a)], [0, 1, 0]);
        assert_eq!((words.id(&b), words.len()), (1, 2));
    }
}

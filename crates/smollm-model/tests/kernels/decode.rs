//! The paged cache and attention over it, against attention over whole sequences.

use smollm_model::cuda::args::{DecodeAttention, DecodeCombine, QkvAppend};
use smollm_model::cuda::{Element, Memory, rope_table};

use crate::reference::{Batch, rope};
use crate::support::{Bench, assert_close, mix, on_every_element, segments, wide};

const DIM: usize = 64;
const PAGE: usize = 64;
const SPLIT: usize = 256;
const THETA: f64 = 100_000.0;

/// A cache of one layer and its page table: sequences of `lengths` tokens, pages dealt out of order.
struct Cache<'m> {
    b: Bench<'m>,
    heads: usize,
    kv_heads: usize,
    keys: Memory<'m>,
    values: Memory<'m>,
    pages: Memory<'m>,
    max_pages: usize,
}

impl<'m> Cache<'m> {
    fn new(b: Bench<'m>, heads: usize, kv_heads: usize, lengths: &[usize]) -> Self {
        let max_pages = lengths.iter().max().unwrap().div_ceil(PAGE);
        let count = lengths.len() * max_pages;
        let mut order: Vec<u32> = (0..count as u32).collect();
        order.sort_by_key(|&page| mix(3, page.into()));
        let floats = count * kv_heads * PAGE * DIM;
        Self {
            b,
            heads,
            kv_heads,
            keys: b.unset(floats),
            values: b.unset(floats),
            pages: b.ids(&order),
            max_pages,
        }
    }

    /// Appends packed rows; returns the rotated queries.
    fn append(&self, qkv: &[f32], positions: &[u32], slots: &[u32]) -> Memory<'m> {
        let b = self.b;
        let table = b.floats(&rope_table(positions.iter().max().unwrap() + 1, DIM, THETA));
        let (packed, places, slots) = (b.tensor(qkv), b.ids(positions), b.ids(slots));
        let q = b.unset(positions.len() * self.heads * DIM);
        b.run(&QkvAppend {
            qkv: packed.address(),
            q: q.address(),
            keys: self.keys.address(),
            values: self.values.address(),
            positions: places.address(),
            slots: slots.address(),
            pages: self.pages.address(),
            table: table.address(),
            tokens: positions.len() as u32,
            q_heads: self.heads as u32,
            kv_heads: self.kv_heads as u32,
            dim: DIM as u32,
            max_pages: self.max_pages as u32,
        });
        q.read().unwrap(); // the launch is done before its inputs go
        q
    }

    /// Attention of one query a row at `positions` of `slots`.
    fn attend(&self, q: &Memory<'_>, positions: &[u32], slots: &[u32]) -> Vec<f32> {
        let (b, rows) = (self.b, positions.len());
        let splits = (self.max_pages * PAGE).div_ceil(SPLIT);
        let items = rows * self.heads * splits;
        let (partial, statistics) = (b.unset_floats(items * DIM), b.unset_floats(items * 2));
        let (places, slots, out) = (
            b.ids(positions),
            b.ids(slots),
            b.unset(rows * self.heads * DIM),
        );
        b.run(&DecodeAttention {
            q: q.address(),
            keys: self.keys.address(),
            values: self.values.address(),
            out: partial.address(),
            statistics: statistics.address(),
            positions: places.address(),
            slots: slots.address(),
            pages: self.pages.address(),
            rows: rows as u32,
            q_heads: self.heads as u32,
            kv_heads: self.kv_heads as u32,
            max_pages: self.max_pages as u32,
            splits: splits as u32,
        });
        b.run(&DecodeCombine {
            partial: partial.address(),
            statistics: statistics.address(),
            positions: places.address(),
            out: out.address(),
            rows: rows as u32,
            q_heads: self.heads as u32,
            splits: splits as u32,
        });
        b.read(&out)
    }
}

/// Rotated queries and keys, and values, of one sequence of packed rows.
fn parts(qkv: &[f64], heads: usize, kv_heads: usize) -> [Vec<f64>; 3] {
    let stride = (heads + 2 * kv_heads) * DIM;
    let columns = |first: usize, n: usize| -> Vec<f64> {
        qkv.chunks_exact(stride)
            .flat_map(|row| row[first * DIM..(first + n) * DIM].to_vec())
            .collect()
    };
    let positions: Vec<u32> = (0..(qkv.len() / stride) as u32).collect();
    let rotated = |x: Vec<f64>, n: usize| rope(&x, n * DIM, &positions, DIM, THETA, 1.0);
    [
        rotated(columns(0, heads), heads),
        rotated(columns(heads, kv_heads), kv_heads),
        columns(heads + kv_heads, kv_heads),
    ]
}

#[test]
fn decoding_equals_the_last_row_of_whole_attention_in_any_batch() {
    on_every_element(|b| {
        for (heads, kv_heads) in [(2, 2), (3, 1), (4, 1), (4, 2)] {
            let lengths = [1usize, 64, 300];
            let cache = Cache::new(b, heads, kv_heads, &lengths);
            let stride = (heads + 2 * kv_heads) * DIM;
            let sequences: Vec<Vec<f32>> = (0..3)
                .map(|i| b.values(lengths[i] * stride, 20 + i as u64))
                .collect();
            // Prefill: all tokens of all sequences in one call.
            let positions: Vec<u32> = lengths.iter().flat_map(|&n| 0..n as u32).collect();
            let slots: Vec<u32> = (0..3u32)
                .flat_map(|s| vec![s; lengths[s as usize]])
                .collect();
            let q = cache.append(&sequences.concat(), &positions, &slots);
            let q = b.read(&q);
            let last: Vec<usize> = lengths
                .iter()
                .scan(0, |end, n| {
                    *end += n;
                    Some(*end - 1)
                })
                .collect();
            let width = heads * DIM;
            let rows: Vec<f32> = last
                .iter()
                .flat_map(|&t| q[t * width..][..width].to_vec())
                .collect();
            let ends: Vec<u32> = lengths.iter().map(|&n| n as u32 - 1).collect();
            let found = cache.attend(&b.tensor(&rows), &ends, &[0, 1, 2]);

            let tolerance = if b.element == Element::F32 {
                3e-6
            } else {
                2.0 * b.once()
            };
            for slot in 0..3 {
                let name = b.named(&format!("{heads}/{kv_heads} heads, {} keys", lengths[slot]));
                let [q, k, v] = parts(&wide(&sequences[slot]), heads, kv_heads);
                let batch = Batch {
                    q: &q,
                    k: &k,
                    v: &v,
                    segments: &segments(&lengths[slot..=slot]),
                    heads,
                    kv_heads,
                    dim: DIM,
                };
                let whole = batch.attention(&vec![0.0; q.len()]).out;
                let row = &found[slot * width..][..width];
                assert_close(&name, row, &whole[whole.len() - width..], tolerance);
                let alone = &rows[slot * width..][..width];
                let alone = cache.attend(&b.tensor(alone), &ends[slot..=slot], &[slot as u32]);
                assert_eq!(alone, row, "{name}: alone and in a batch");
            }
        }
    });
}

#[test]
fn prefill_gives_the_cache_that_single_steps_give() {
    on_every_element(|b| {
        let (heads, kv_heads, length) = (3, 1, 70);
        let stride = (heads + 2 * kv_heads) * DIM;
        let qkv = b.values(length * stride, 30);
        let positions: Vec<u32> = (0..length as u32).collect();
        let whole = Cache::new(b, heads, kv_heads, &[length]);
        let q = b.read(&whole.append(&qkv, &positions, &vec![0; length]));
        let steps = Cache::new(b, heads, kv_heads, &[length]);
        let mut queries = Vec::new();
        for (t, row) in qkv.chunks_exact(stride).enumerate() {
            queries.extend(b.read(&steps.append(row, &[t as u32], &[0])));
        }
        assert_eq!(q, queries, "{}", b.named("queries"));
        // NaN where no token is: compare bits.
        for (a, b) in [(&whole.keys, &steps.keys), (&whole.values, &steps.values)] {
            assert_eq!(a.read().unwrap(), b.read().unwrap());
        }
    });
}

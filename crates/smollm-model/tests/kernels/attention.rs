//! Flash attention, forward and backward, on ragged batches; its determinism and batch invariance.

use smollm_model::cuda::args::{
    AttentionBackward, AttentionDelta, AttentionForward, AttentionKeys, AttentionQueries, Heads,
};
use smollm_model::cuda::{BACKWARD_ROWS, Element, FORWARD_ROWS, Memory, sequence_tiles};

use crate::reference::{Attention, Batch};
use crate::support::{Bench, assert_close, on_every_element, read_floats, segments, wide};

const DIM: usize = 64;

/// Query heads, key-value heads, sequence lengths.
const CASES: [(usize, usize, &[usize]); 5] = [
    (1, 1, &[1, 2]),
    (3, 1, &[5, 1, 70]),
    (2, 2, &[64, 128]),
    (6, 2, &[63, 65]),
    (4, 4, &[130]),
];

/// Inputs of one case. Queries are three times as large as keys, so that rows are far from uniform.
struct Inputs {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    dout: Vec<f32>,
    heads: usize,
    kv_heads: usize,
    lengths: Vec<usize>,
}

/// What the kernels gave, read back.
#[derive(Debug, PartialEq)]
struct Found {
    out: Vec<f32>,
    lse: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

impl Inputs {
    fn new(b: Bench<'_>, heads: usize, kv_heads: usize, lengths: &[usize]) -> Self {
        let tokens: usize = lengths.iter().sum();
        let (n, kv) = (tokens * heads * DIM, tokens * kv_heads * DIM);
        let q: Vec<f32> = b.values(n, 1).iter().map(|x| 3.0 * x).collect();
        Self {
            q: b.rounded(&q),
            k: b.values(kv, 2),
            v: b.values(kv, 3),
            dout: b.values(n, 4),
            heads,
            kv_heads,
            lengths: lengths.to_vec(),
        }
    }

    fn reference(&self) -> Attention {
        let (q, k, v) = (wide(&self.q), wide(&self.k), wide(&self.v));
        let batch = Batch {
            q: &q,
            k: &k,
            v: &v,
            segments: &segments(&self.lengths),
            heads: self.heads,
            kv_heads: self.kv_heads,
            dim: DIM,
        };
        batch.attention(&wide(&self.dout))
    }

    /// Forward and backward, the inputs packed as one row of q, k and v as the model packs them.
    fn run(&self, b: Bench<'_>) -> Found {
        let tokens: usize = self.lengths.iter().sum();
        let (width, kv_width) = (self.heads * DIM, self.kv_heads * DIM);
        let stride = width + 2 * kv_width;
        let row = |t: usize| {
            let part = |x: &[f32], n: usize| x[t * n..(t + 1) * n].to_vec();
            [
                part(&self.q, width),
                part(&self.k, kv_width),
                part(&self.v, kv_width),
            ]
            .concat()
        };
        let packed = b.tensor(&(0..tokens).flat_map(row).collect::<Vec<_>>());
        let dout = b.tensor(&self.dout);
        let list = |rows: u32| {
            let tiles = sequence_tiles(&segments(&self.lengths), rows);
            let words = tiles
                .iter()
                .flat_map(|t| [t.start, t.length, t.row, t.unused]);
            (b.ids(&words.collect::<Vec<_>>()), tiles.len() as u32)
        };
        let (out, gradient) = (b.unset(tokens * width), b.unset(tokens * stride));
        let statistics = [
            b.unset_floats(tokens * self.heads),
            b.unset_floats(tokens * self.heads),
        ];
        let memory = Buffers {
            packed: &packed,
            dout: &dout,
            forward: &list(FORWARD_ROWS),
            backward: &list(BACKWARD_ROWS),
            out: &out,
            lse: &statistics[0],
            delta: &statistics[1],
            gradient: &gradient,
        };
        self.launch(b, &memory);
        let gradient = b.read(&gradient);
        let columns = |first: usize, n: usize| -> Vec<f32> {
            let rows = gradient.chunks_exact(stride);
            rows.flat_map(|row| row[first..first + n].to_vec())
                .collect()
        };
        Found {
            out: b.read(&out),
            lse: read_floats(&statistics[0]),
            dq: columns(0, width),
            dk: columns(width, kv_width),
            dv: columns(width + kv_width, kv_width),
        }
    }

    fn launch(&self, b: Bench<'_>, memory: &Buffers<'_>) {
        let tokens = self.lengths.iter().sum::<usize>() as u32;
        let (width, kv_width) = ((self.heads * DIM) as u32, (self.kv_heads * DIM) as u32);
        let stride = width + 2 * kv_width;
        let bytes = b.element.bytes() as u64;
        let heads = Heads {
            query: self.heads as u32,
            key_value: self.kv_heads as u32,
        };
        let at = |memory: &Memory<'_>, column: u32| memory.address() + u64::from(column) * bytes;
        b.run(&AttentionForward {
            q: at(memory.packed, 0),
            k: at(memory.packed, width),
            v: at(memory.packed, width + kv_width),
            out: memory.out.address(),
            lse: memory.lse.address(),
            tiles: memory.forward.0.address(),
            heads,
            tile_count: memory.forward.1,
            tokens,
            q_stride: stride,
            kv_stride: stride,
            out_stride: width,
        });
        b.run(&AttentionDelta {
            out: memory.out.address(),
            dout: memory.dout.address(),
            delta: memory.delta.address(),
            heads: heads.query,
            tokens,
            stride: width,
        });
        let backward = AttentionBackward {
            q: at(memory.packed, 0),
            k: at(memory.packed, width),
            v: at(memory.packed, width + kv_width),
            dout: memory.dout.address(),
            lse: memory.lse.address(),
            delta: memory.delta.address(),
            dq: at(memory.gradient, 0),
            dk: at(memory.gradient, width),
            dv: at(memory.gradient, width + kv_width),
            tiles: memory.backward.0.address(),
            heads,
            tile_count: memory.backward.1,
            tokens,
            q_stride: stride,
            kv_stride: stride,
            dout_stride: width,
            dq_stride: stride,
            dkv_stride: stride,
        };
        b.run(&AttentionKeys(backward));
        b.run(&AttentionQueries(backward));
    }
}

struct Buffers<'a> {
    packed: &'a Memory<'a>,
    dout: &'a Memory<'a>,
    /// Tiles and how many there are.
    forward: &'a (Memory<'a>, u32),
    backward: &'a (Memory<'a>, u32),
    out: &'a Memory<'a>,
    lse: &'a Memory<'a>,
    delta: &'a Memory<'a>,
    gradient: &'a Memory<'a>,
}

#[test]
fn attention_and_its_gradients_match_softmax_within_each_sequence() {
    on_every_element(|b| {
        // Probabilities and dS are rounded to the element type before the second product.
        let (tolerance, gradient) = match b.element {
            Element::F32 => (2e-6, 4e-6),
            Element::Bf16 => (4e-3, 8e-3),
            Element::F16 => (6e-4, 1e-3),
        };
        for (heads, kv_heads, lengths) in CASES {
            let inputs = Inputs::new(b, heads, kv_heads, lengths);
            let (found, expected) = (inputs.run(b), inputs.reference());
            let name = |what| b.named(&format!("{what}, {heads}/{kv_heads} heads, {lengths:?}"));
            assert_close(&name("out"), &found.out, &expected.out, tolerance);
            assert_close(&name("lse"), &found.lse, &expected.lse, 1e-5);
            assert_close(&name("dq"), &found.dq, &expected.dq, gradient);
            assert_close(&name("dk"), &found.dk, &expected.dk, gradient);
            assert_close(&name("dv"), &found.dv, &expected.dv, gradient);
        }
    });
}

#[test]
fn a_sequence_has_the_same_bits_alone_and_in_a_batch_and_every_time() {
    on_every_element(|b| {
        let (heads, kv_heads) = (3, 1);
        let whole = Inputs::new(b, heads, kv_heads, &[70, 5]);
        let found = whole.run(b);
        assert_eq!(found, whole.run(b), "{}", b.named("a second run"));
        let part = |x: &[f32], width: usize, range: std::ops::Range<usize>| {
            x[range.start * width * DIM..range.end * width * DIM].to_vec()
        };
        for range in segments(&[70, 5]) {
            let cut = |x: &[f32], width| part(x, width, range.clone());
            let alone = Inputs {
                q: cut(&whole.q, heads),
                k: cut(&whole.k, kv_heads),
                v: cut(&whole.v, kv_heads),
                dout: cut(&whole.dout, heads),
                lengths: vec![range.len()],
                ..whole
            };
            let alone = alone.run(b);
            let name = b.named(&format!("tokens {range:?}"));
            assert_eq!(alone.out, cut(&found.out, heads), "{name}: out");
            assert_eq!(alone.dq, cut(&found.dq, heads), "{name}: dq");
            assert_eq!(alone.dk, cut(&found.dk, kv_heads), "{name}: dk");
            assert_eq!(alone.dv, cut(&found.dv, kv_heads), "{name}: dv");
        }
    });
}

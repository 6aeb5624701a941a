//! One case a kernel: SmolLM2-1.7B (hidden 2,048, 32 heads of 64, ffn 8,192, vocabulary 49,152) in
//! bf16, 16,384 tokens for training, and decoding.

#[allow(clippy::wildcard_imports)] // one struct a kernel
use smollm_model::cuda::args::*;
use smollm_model::cuda::{BACKWARD_ROWS, Element, FORWARD_ROWS, sequence_tiles};

use crate::{Bench, Work};

const TOKENS: usize = 16_384;
const HIDDEN: usize = 2048;
const FFN: usize = 8192;
const HEADS: usize = 32;
const SEQUENCE: usize = 2048;
const VOCAB: usize = 49_152;
const T: Element = Element::Bf16;

fn bytes(elements: usize) -> Work {
    Work {
        bytes: 2.0 * elements as f64,
        operations: 0.0,
    }
}

pub(crate) fn all(bench: &Bench) {
    norms(bench);
    rope(bench);
    gates(bench);
    loss(bench);
    optimizer(bench);
    lora(bench);
    attention(bench, 32, 32);
    attention(bench, 9, 3);
    for rows in [1, 128] {
        decode(bench, rows, 32, 32);
        decode(bench, rows, 9, 3);
    }
    for rows in [1, 4] {
        gemv(bench, rows);
    }
}

fn norms(bench: &Bench) {
    let n = TOKENS * HIDDEN;
    let [x, delta, sum, y] = std::array::from_fn(|_| bench.random(T, n));
    let (weight, rms) = (bench.random(T, HIDDEN), bench.random(Element::F32, TOKENS));
    let (rows, width) = (TOKENS as u32, HIDDEN as u32);
    let forward = RmsNormForward {
        x: x.address(),
        delta: delta.address(),
        weight: weight.address(),
        sum: sum.address(),
        y: y.address(),
        rms: rms.address(),
        rows,
        width,
        eps: 1e-5,
    };
    bench.row("rms_norm + residual, forward", bytes(4 * n), T, &forward);
    let backward = RmsNormBackward {
        h: x.address(),
        weight: weight.address(),
        dy: delta.address(),
        dres: sum.address(),
        rms: rms.address(),
        dh: y.address(),
        rows,
        width,
    };
    bench.row("rms_norm + residual, backward", bytes(4 * n), T, &backward);
}

fn rope(bench: &Bench) {
    let stride = 3 * HIDDEN;
    let x = bench.random(T, TOKENS * stride);
    let positions = bench.ids((0..TOKENS).map(|t| (t % SEQUENCE) as u32));
    let table = bench.random(Element::F32, SEQUENCE * 64);
    let rope = Rope {
        x: x.address(),
        y: x.address(),
        positions: positions.address(),
        table: table.address(),
        tokens: TOKENS as u32,
        heads: 2 * HEADS as u32,
        dim: 64,
        x_stride: stride as u32,
        y_stride: stride as u32,
        sign: 1.0,
    };
    bench.row(
        "rope of q and k, in place",
        bytes(4 * TOKENS * HIDDEN),
        T,
        &rope,
    );
}

fn gates(bench: &Bench) {
    let n = TOKENS * FFN;
    let both = bench.random(T, 2 * n);
    let y = bench.random(T, n);
    let (rows, width, in_stride) = (TOKENS as u32, FFN as u32, 2 * FFN as u32);
    let forward = SwiGluForward {
        gate: both.address(),
        up: both.address() + 2 * FFN as u64,
        y: y.address(),
        rows,
        width,
        in_stride,
        out_stride: width,
    };
    bench.row("swiglu, forward", bytes(3 * n), T, &forward);
    let backward = SwiGluBackward {
        gate: forward.gate,
        up: forward.up,
        dy: y.address(),
        dgate: forward.gate,
        dup: forward.up,
        rows,
        width,
        in_stride,
        out_stride: width,
    };
    bench.row("swiglu, backward in place", bytes(5 * n), T, &backward);
    let dropout = Dropout {
        x: y.address(),
        y: y.address(),
        n: n as u64,
        key: 7,
        threshold: 1 << 29,
        keep: 8.0 / 7.0,
    };
    bench.row("dropout, in place", bytes(2 * n), T, &dropout);
}

fn loss(bench: &Bench) {
    let rows = 2048;
    let (logits, nll) = (
        bench.random(T, rows * VOCAB),
        bench.unset(Element::F32, rows),
    );
    let targets = bench.ids((0..rows as u32).map(|row| row * 23));
    let entropy = CrossEntropy {
        logits: logits.address(),
        targets: targets.address(),
        nll: nll.address(),
        rows: rows as u32,
        vocab: VOCAB as u32,
        stride: VOCAB as u32,
        with_gradient: 1,
        scale: 1e-3,
    };
    // Read and written once: the second read should come from L2.
    bench.row(
        "cross-entropy with gradient, 2,048 rows",
        bytes(2 * rows * VOCAB),
        T,
        &entropy,
    );
    let argmax = Argmax {
        logits: logits.address(),
        ids: targets.address(),
        rows: rows as u32,
        vocab: VOCAB as u32,
        stride: VOCAB as u32,
    };
    bench.row("argmax, 2,048 rows", bytes(rows * VOCAB), T, &argmax);
}

fn optimizer(bench: &Bench) {
    let n = 1usize << 26;
    let [p, m, v, g] = std::array::from_fn(|_| bench.random(Element::F32, n));
    let step = bench.random(Element::F32, 7);
    let adamw = AdamW {
        p: p.address(),
        m: m.address(),
        v: v.address(),
        g: g.address(),
        step: step.address(),
        clip: 0,
        n: n as u64,
    };
    bench.row("adamw, 67M parameters", bytes(14 * n), T, &adamw);
    let partial = bench.unset(Element::F32, n / 16_384);
    let squares = Squares {
        x: g.address(),
        partial: partial.address(),
        n: n as u64,
    };
    bench.row("sum of squares, 67M", bytes(2 * n), T, &squares);
}

/// Rank 8 beside a square projection, dropout 0.05.
fn lora(bench: &Bench) {
    let (rank, n) = (8usize, TOKENS * HIDDEN);
    let (x, y) = (bench.random(T, n), bench.random(T, n));
    let (w, u) = (
        bench.random(Element::F32, rank * HIDDEN),
        bench.random(Element::F32, TOKENS * rank),
    );
    let keys = bench.ids(0..2);
    let mask = Mask {
        keys: keys.address(),
        threshold: (1 << 32) / 20,
        keep: 20.0 / 19.0,
    };
    let (tokens, width) = (TOKENS as u32, HIDDEN as u32);
    for (name, mask) in [("U = D(X) A'", mask), ("dU = dY B", Mask::default())] {
        let project = LoraProject {
            x: x.address(),
            w: w.address(),
            u: u.address(),
            mask,
            tokens,
            width,
            x_stride: width,
            rank: rank as u32,
            adapters: 1,
            scale: 1.0,
        };
        bench.row(&format!("lora {name}"), bytes(n), T, &project);
    }
    for (name, mask) in [("Y += U B'", Mask::default()), ("dX += D(dU A)", mask)] {
        let expand = LoraExpand {
            u: u.address(),
            w: w.address(),
            y: y.address(),
            mask,
            tokens,
            width,
            y_stride: width,
            rank: rank as u32,
            adapters: 1,
            scale: 1.0,
        };
        bench.row(&format!("lora {name}"), bytes(2 * n), T, &expand);
    }
    let pieces = LoraGradient::pieces(tokens);
    let partial = bench.unset(Element::F32, pieces as usize * rank * HIDDEN);
    let gradient = LoraGradient {
        x: x.address(),
        u: u.address(),
        partial: partial.address(),
        mask,
        tokens,
        width,
        x_stride: width,
        rank: rank as u32,
        adapters: 1,
    };
    bench.row("lora dA = dU' D(X), pieces", bytes(n), T, &gradient);
    let reduce = LoraReduce {
        partial: partial.address(),
        gradient: w.address(),
        pieces,
        width,
        ranks: rank as u32,
        scale: 1.0,
    };
    bench.row(
        "lora dA, sum of pieces",
        bytes(2 * pieces as usize * rank * HIDDEN),
        T,
        &reduce,
    );
}

fn attention(bench: &Bench, heads: usize, kv_heads: usize) {
    let (width, kv_width) = (heads * 64, kv_heads * 64);
    let stride = width + 2 * kv_width;
    let segments: Vec<_> = (0..TOKENS / SEQUENCE)
        .map(|i| i * SEQUENCE..(i + 1) * SEQUENCE)
        .collect();
    let list = |rows: u32| {
        let tiles = sequence_tiles(&segments, rows);
        let words = tiles.iter().flat_map(|t| [t.start, t.length, t.row, 0]);
        (bench.ids(words), tiles.len() as u32)
    };
    let (forward_tiles, backward_tiles) = (list(FORWARD_ROWS), list(BACKWARD_ROWS));
    let (qkv, gradient) = (
        bench.random(T, TOKENS * stride),
        bench.unset(T, TOKENS * stride),
    );
    let (out, dout) = (
        bench.unset(T, TOKENS * width),
        bench.random(T, TOKENS * width),
    );
    let [lse, delta] = std::array::from_fn(|_| bench.unset(Element::F32, TOKENS * heads));
    let at = |base: u64, column: usize| base + 2 * column as u64;
    let (q, k, v) = (
        qkv.address(),
        at(qkv.address(), width),
        at(qkv.address(), width + kv_width),
    );
    let pairs = (TOKENS / SEQUENCE * heads) as f64 * (SEQUENCE * (SEQUENCE + 1) / 2) as f64;
    let work = |products: f64| Work {
        bytes: 0.0,
        operations: products * 2.0 * 64.0 * pairs,
    };
    let count = Heads {
        query: heads as u32,
        key_value: kv_heads as u32,
    };
    let name = |what: &str| format!("attention {heads}/{kv_heads} x 2,048, {what}");
    let forward = AttentionForward {
        q,
        k,
        v,
        out: out.address(),
        lse: lse.address(),
        tiles: forward_tiles.0.address(),
        heads: count,
        tile_count: forward_tiles.1,
        tokens: TOKENS as u32,
        q_stride: stride as u32,
        kv_stride: stride as u32,
        out_stride: width as u32,
    };
    bench.row(&name("forward"), work(2.0), T, &forward);
    let deltas = AttentionDelta {
        out: out.address(),
        dout: dout.address(),
        delta: delta.address(),
        heads: count.query,
        tokens: TOKENS as u32,
        stride: width as u32,
    };
    bench.row(&name("delta"), bytes(2 * TOKENS * width), T, &deltas);
    let backward = AttentionBackward {
        q,
        k,
        v,
        dout: dout.address(),
        lse: lse.address(),
        delta: delta.address(),
        dq: gradient.address(),
        dk: at(gradient.address(), width),
        dv: at(gradient.address(), width + kv_width),
        tiles: backward_tiles.0.address(),
        heads: count,
        tile_count: backward_tiles.1,
        tokens: TOKENS as u32,
        q_stride: stride as u32,
        kv_stride: stride as u32,
        dout_stride: width as u32,
        dq_stride: stride as u32,
        dkv_stride: stride as u32,
    };
    bench.row(&name("dK and dV"), work(4.0), T, &AttentionKeys(backward));
    bench.row(&name("dQ"), work(3.0), T, &AttentionQueries(backward));
}

/// One step's attention of `rows` sequences of 512 tokens.
fn decode(bench: &Bench, rows: usize, heads: usize, kv_heads: usize) {
    let (context, pages) = (512usize, 8usize);
    let cache = rows * pages * kv_heads * 64 * 64;
    let [keys, values] = std::array::from_fn(|_| bench.random(T, cache));
    let q = bench.random(T, rows * heads * 64);
    let out = bench.unset(T, rows * heads * 64);
    let (splits, items) = (2, rows * heads * 2);
    let [partial, statistics] = [64, 2].map(|n| bench.unset(Element::F32, items * n));
    let positions = bench.ids((0..rows).map(|_| context as u32 - 1));
    let (slots, table) = (
        bench.ids(0..rows as u32),
        bench.ids(0..(rows * pages) as u32),
    );
    let name = |what: &str| format!("decode {heads}/{kv_heads}, {rows} rows of 512, {what}");
    let attend = DecodeAttention {
        q: q.address(),
        keys: keys.address(),
        values: values.address(),
        out: partial.address(),
        statistics: statistics.address(),
        positions: positions.address(),
        slots: slots.address(),
        pages: table.address(),
        rows: rows as u32,
        q_heads: heads as u32,
        kv_heads: kv_heads as u32,
        max_pages: pages as u32,
        splits,
    };
    bench.row(
        &name("attention"),
        bytes(2 * rows * context * kv_heads * 64),
        T,
        &attend,
    );
    let combine = DecodeCombine {
        partial: partial.address(),
        statistics: statistics.address(),
        positions: positions.address(),
        out: out.address(),
        rows: rows as u32,
        q_heads: heads as u32,
        splits,
    };
    bench.row(&name("combine"), bytes(2 * items * 64), T, &combine);
}

/// The down projection's size. Its 18 MB fit into L2, so twelve layers' worth are one launch.
fn gemv(bench: &Bench, rows: usize) {
    let (n, k) = (12 * HIDDEN, FFN);
    let (x, y) = (bench.random(T, rows * k), bench.unset(T, rows * n));
    let (quants, scales) = (
        bench.random(Element::F32, n * k / 4),
        bench.random(Element::F16, n * k / 16),
    );
    let args = Gemv {
        x: x.address(),
        quants: quants.address(),
        scales: scales.address(),
        add: 0,
        y: y.address(),
        rows: rows as u32,
        n: n as u32,
        k: k as u32,
    };
    let work = |per_block: usize| Work {
        bytes: (n * k / 32 * per_block) as f64,
        operations: 0.0,
    };
    bench.row(
        &format!("gemv Q8_0 24,576 x 8,192, {rows} rows"),
        work(34),
        T,
        &GemvQ8(args),
    );
    bench.row(
        &format!("gemv Q4_1 24,576 x 8,192, {rows} rows"),
        work(20),
        T,
        &GemvQ4(args),
    );
}

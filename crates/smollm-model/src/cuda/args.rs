//! The structs that kernels take, field by field as in `kernels/*.cu`, where they are explained.
//! An address of 0 means that an optional tensor is absent.

#![allow(missing_docs)] // the .cu file of each kernel documents its fields

macro_rules! args {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default)]
            pub struct $name { $(pub $field: $type),* }
        )*
    };
}

args! {
    /// `rms_norm.cu`
    RmsNormForward { x: u64, delta: u64, weight: u64, sum: u64, y: u64, rms: u64, rows: u32, width: u32, eps: f32 }
    /// `rms_norm.cu`
    RmsNormBackward { h: u64, weight: u64, dy: u64, dres: u64, rms: u64, dh: u64, rows: u32, width: u32 }
    /// `rope.cu`
    Rope { x: u64, y: u64, positions: u64, table: u64, tokens: u32, heads: u32, dim: u32, x_stride: u32, y_stride: u32, sign: f32 }
    /// `swiglu.cu`
    SwiGluForward { gate: u64, up: u64, y: u64, rows: u32, width: u32, in_stride: u32, out_stride: u32 }
    /// `swiglu.cu`
    SwiGluBackward { gate: u64, up: u64, dy: u64, dgate: u64, dup: u64, rows: u32, width: u32, in_stride: u32, out_stride: u32 }
    /// `dropout.cu`
    Dropout { x: u64, y: u64, n: u64, key: u64, threshold: u64, keep: f32 }
    /// `cross_entropy.cu`
    CrossEntropy { logits: u64, targets: u64, nll: u64, rows: u32, vocab: u32, stride: u32, with_gradient: u32, scale: f32 }
    /// `optimizer.cu`: `SquaresArgs`
    Squares { x: u64, partial: u64, n: u64 }
    /// `optimizer.cu`: `ClipArgs`
    Clip { partial: u64, out: u64, pieces: u32, max_norm: f32 }
    /// `optimizer.cu`: `SumArgs`
    Sum { x: u64, out: u64, n: u32, add: u32 }
    /// `optimizer.cu`: what lies in device memory behind [`AdamW::step`]
    Step { lr: f32, beta1: f32, beta2: f32, eps: f32, weight_decay: f32, correction1: f32, correction2: f32 }
    /// `optimizer.cu`: `AdamWArgs`
    AdamW { p: u64, m: u64, v: u64, g: u64, step: u64, clip: u64, n: u64 }
    /// `lora.cu`
    Mask { keys: u64, threshold: u64, keep: f32 }
    /// `lora.cu`
    LoraProject { x: u64, w: u64, u: u64, mask: Mask, tokens: u32, width: u32, x_stride: u32, rank: u32, adapters: u32, scale: f32 }
    /// `lora.cu`
    LoraExpand { u: u64, w: u64, y: u64, mask: Mask, tokens: u32, width: u32, y_stride: u32, rank: u32, adapters: u32, scale: f32 }
    /// `lora.cu`
    LoraGradient { x: u64, u: u64, partial: u64, mask: Mask, tokens: u32, width: u32, x_stride: u32, rank: u32, adapters: u32 }
    /// `lora.cu`
    LoraReduce { partial: u64, gradient: u64, pieces: u32, width: u32, ranks: u32, scale: f32 }
    /// `attention.cuh`
    SequenceTile { start: u32, length: u32, row: u32, unused: u32 }
    /// `attention.cuh`
    Heads { query: u32, key_value: u32 }
    /// `attention.cuh`
    AttentionForward { q: u64, k: u64, v: u64, out: u64, lse: u64, tiles: u64, heads: Heads, tile_count: u32, tokens: u32, q_stride: u32, kv_stride: u32, out_stride: u32 }
    /// `attention.cuh`
    AttentionDelta { out: u64, dout: u64, delta: u64, heads: u32, tokens: u32, stride: u32 }
    /// `attention.cuh`
    AttentionBackward { q: u64, k: u64, v: u64, dout: u64, lse: u64, delta: u64, dq: u64, dk: u64, dv: u64, tiles: u64, heads: Heads, tile_count: u32, tokens: u32, q_stride: u32, kv_stride: u32, dout_stride: u32, dq_stride: u32, dkv_stride: u32 }
    /// `decode.cu`
    QkvAppend { qkv: u64, q: u64, keys: u64, values: u64, positions: u64, slots: u64, pages: u64, table: u64, tokens: u32, q_heads: u32, kv_heads: u32, dim: u32, max_pages: u32 }
    /// `decode.cu`
    Argmax { logits: u64, ids: u64, rows: u32, vocab: u32, stride: u32 }
    /// `decode.cu`
    GatherRows { table: u64, ids: u64, out: u64, rows: u32, width: u32 }
    /// `decode_attention.cu`
    DecodeAttention { q: u64, keys: u64, values: u64, out: u64, statistics: u64, positions: u64, slots: u64, pages: u64, rows: u32, q_heads: u32, kv_heads: u32, max_pages: u32, splits: u32 }
    /// `decode_attention.cu`
    DecodeCombine { partial: u64, statistics: u64, positions: u64, out: u64, rows: u32, q_heads: u32, splits: u32 }
    /// `gemm.cu`
    MatrixProduct { x: u64, w: u64, y: u64, rows: u32, width: u32, inner: u32, x_stride: u32, w_stride: u32, y_stride: u32 }
    /// `gemm_rows.cu`
    RowsProduct { x: u64, w: u64, y: u64, partial: u64, rows: u32, width: u32, inner: u32, piece: u32, splits: u32, y_stride: u32 }
    /// `gemm_rows.cu`
    RowsSum { partial: u64, y: u64, rows: u32, width: u32, splits: u32, y_stride: u32 }
    /// `gemv.cu`
    Gemv { x: u64, quants: u64, scales: u64, add: u64, y: u64, rows: u32, n: u32, k: u32 }
}

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident($args:ident))*) => {
        $(
            $(#[$doc])*
            #[repr(transparent)]
            #[derive(Clone, Copy, Debug)]
            pub struct $name(pub $args);
        )*
    };
}

roles! {
    /// dK and dV: `attention_keys`.
    AttentionKeys(AttentionBackward)
    /// dQ: `attention_queries`.
    AttentionQueries(AttentionBackward)
    /// `Y = X Wᵀ`.
    Product(MatrixProduct)
    /// `dX = dY W`.
    ProductBack(MatrixProduct)
    /// `Q8_0` weights.
    GemvQ8(Gemv)
    /// `Q4_1` weights.
    GemvQ4(Gemv)
}

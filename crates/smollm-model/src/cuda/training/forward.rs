//! One block forward on the device, and what is kept of it.

use super::pass::{Norm, Pass};
use super::{Buffers, adapters};
use crate::cuda::args::{AttentionForward, GatherRows, Heads, Rope, SwiGluForward};
use crate::cuda::low_rank::Rows;
use crate::cuda::room::Room;
use crate::cuda::{KernelError, Machine};
use crate::{Checkpointing, Projection};

/// What a block's backward pass needs beside the block's input.
pub(super) struct Saved<'m> {
    /// Rotated queries and keys, and values: `[tokens, q | k | v]`.
    pub(super) qkv: Room<'m>,
    /// Attention's output, `[tokens, query width]`.
    pub(super) attended: Room<'m>,
    /// Log-sum-exp of each query's scores, `[query heads, tokens]`, f32.
    pub(super) lse: Room<'m>,
    /// The stream between attention and the feed-forward part, `[tokens, hidden]`.
    pub(super) middle: Room<'m>,
    /// `[tokens, gate | up]`; the backward pass writes its gradient over it.
    pub(super) gate_up: Room<'m>,
    /// `1 / rms` of each row at both norms, f32.
    pub(super) rms: [Room<'m>; 2],
}

impl<'m> Saved<'m> {
    pub(super) fn new(machine: &'m dyn Machine) -> Self {
        let room = || Room::new(machine);
        Self {
            qkv: room(),
            attended: room(),
            lse: room(),
            middle: room(),
            gate_up: room(),
            rms: [room(), room()],
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let rooms = [
            &self.qkv,
            &self.attended,
            &self.lse,
            &self.middle,
            &self.gate_up,
        ];
        let rooms = rooms.into_iter().chain(&self.rms);
        rooms.map(Room::bytes).sum()
    }
}

/// Buffers that blocks share.
pub(super) struct Forward<'m> {
    /// `[tokens, hidden]`
    pub(super) normed: Room<'m>,
    /// `[tokens, intermediate]`
    pub(super) activated: Room<'m>,
    /// What is added to the stream next, `[tokens, hidden]`.
    pub(super) branch: Room<'m>,
}

impl<'m> Forward<'m> {
    pub(super) fn new(machine: &'m dyn Machine) -> Self {
        let room = || Room::new(machine);
        Self {
            normed: room(),
            activated: room(),
            branch: room(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let rooms = [&self.normed, &self.activated, &self.branch];
        rooms.map(Room::bytes).iter().sum()
    }
}

/// The stream before a block: `x`, or `x + delta`, which the block's first norm then writes to its input.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    pub(super) x: u64,
    pub(super) delta: u64,
}

impl Buffers<'_> {
    /// All blocks. The last one leaves the stream as its middle and what is to be added to it.
    pub(super) fn forward(&mut self, pass: &Pass<'_, '_>) -> Result<(), KernelError> {
        let mut stream = self.embed(pass)?;
        for layer in 0..pass.weights.layers.len() {
            stream = self.forward_block(pass, layer, stream, true)?;
        }
        Ok(())
    }

    /// What is kept of a layer.
    pub(super) fn kept(pass: &Pass<'_, '_>, layer: usize) -> usize {
        let each = pass.keep && pass.checkpointing == Checkpointing::None;
        if each { layer } else { 0 }
    }

    /// The number of the room that holds a block's input.
    fn input(pass: &Pass<'_, '_>, layer: usize) -> usize {
        if pass.keep { layer } else { 0 }
    }

    /// The embeddings of the batch's tokens.
    fn embed(&mut self, pass: &Pass<'_, '_>) -> Result<Stream, KernelError> {
        let bytes = pass.rows(pass.config.hidden_size);
        let input = self.blocks[0].of(bytes)?;
        let (out, delta) = match pass.batch.noise {
            Some(noise) => (self.forward.branch.of(bytes)?, noise),
            None => (input, 0),
        };
        pass.start(&GatherRows {
            table: pass.weights.embed.address(),
            ids: pass.batch.ids,
            out,
            rows: pass.tokens() as u32,
            width: pass.config.hidden_size as u32,
        })?;
        Ok(Stream { x: out, delta })
    }

    /// One block; with `whole` down to what it adds to the stream, else what its backward pass needs.
    pub(super) fn forward_block(
        &mut self,
        pass: &Pass<'_, '_>,
        layer: usize,
        stream: Stream,
        whole: bool,
    ) -> Result<Stream, KernelError> {
        let (hidden, ffn) = (pass.config.hidden_size, pass.config.intermediate_size);
        let (query, width) = (pass.config.query_width(), pass.qkv_width());
        let block = &pass.weights.layers[layer];
        let saved = &mut self.saved[Self::kept(pass, layer)];
        let normed = self.forward.normed.of(pass.rows(hidden))?;
        let input = self.blocks[Self::input(pass, layer)].of(pass.rows(hidden))?;
        let norm = Norm {
            x: stream.x,
            delta: stream.delta,
            sum: input,
            weight: block.input_layernorm.address(),
            y: normed,
            rms: saved.rms[0].of(pass.statistics(1))?,
        };
        pass.norm(pass.tokens(), &norm)?;
        let qkv = saved.qkv.of(pass.rows(width))?;
        pass.multiply((normed, block.qkv.address(), qkv), (width, hidden))?;
        let adapt = |parts: &[(Projection, usize)], x, (y, stride)| {
            adapt(pass, &self.adapters, (layer, parts), x, (y, stride))
        };
        adapt(&qkv_parts(pass), normed, (qkv, width))?;
        pass.rotate(qkv, 1.0)?;
        let attended = saved.attended.of(pass.rows(query))?;
        let lse = saved
            .lse
            .of(pass.statistics(pass.config.num_attention_heads))?;
        pass.attend(qkv, attended, lse)?;
        // The last block's branch may be what `stream` adds: it is read by now.
        let branch = self.forward.branch.of(pass.rows(hidden))?;
        pass.multiply((attended, block.o.address(), branch), (hidden, query))?;
        adapt(&[(Projection::O, 0)], attended, (branch, hidden))?;
        let middle = saved.middle.of(pass.rows(hidden))?;
        let norm = Norm {
            x: stream.input(input),
            delta: branch,
            sum: middle,
            weight: block.post_attention_layernorm.address(),
            y: normed,
            rms: saved.rms[1].of(pass.statistics(1))?,
        };
        pass.norm(pass.tokens(), &norm)?;
        let gate_up = saved.gate_up.of(pass.rows(2 * ffn))?;
        pass.multiply(
            (normed, block.gate_up.address(), gate_up),
            (2 * ffn, hidden),
        )?;
        let parts = [(Projection::Gate, 0), (Projection::Up, ffn)];
        adapt(&parts, normed, (gate_up, 2 * ffn))?;
        let activated = self.forward.activated.of(pass.rows(ffn))?;
        if whole {
            pass.activate(gate_up, activated)?;
            pass.multiply((activated, block.down.address(), branch), (hidden, ffn))?;
            adapt(&[(Projection::Down, 0)], activated, (branch, hidden))?;
        } else if let Some(site) = pass.sites.get(layer, Projection::Down) {
            pass.activate(gate_up, activated)?;
            let size = (pass.element, pass.tokens());
            self.adapters
                .project((&pass.sites, site), size, activated)?;
        }
        Ok(Stream {
            x: middle,
            delta: branch,
        })
    }
}

impl Stream {
    /// Where the block's input is after its first norm.
    fn input(self, written: u64) -> u64 {
        if self.delta == 0 { self.x } else { written }
    }
}

/// q, k and v with their columns.
pub(super) fn qkv_parts(pass: &Pass<'_, '_>) -> [(Projection, usize); 3] {
    let (query, key_value) = (pass.config.query_width(), pass.config.key_value_width());
    [
        (Projection::Q, 0),
        (Projection::K, query),
        (Projection::V, query + key_value),
    ]
}

/// Adds what the adapters of projections with one input give, each at its column of `y`.
fn adapt(
    pass: &Pass<'_, '_>,
    adapters: &adapters::Adapters<'_>,
    (layer, parts): (usize, &[(Projection, usize)]),
    x: u64,
    (y, stride): (u64, usize),
) -> Result<(), KernelError> {
    for (projection, column) in parts {
        if let Some(site) = pass.sites.get(layer, *projection) {
            let y = Rows {
                address: pass.after(y, *column),
                stride,
            };
            adapters.forward((&pass.sites, site), (pass.element, pass.tokens()), x, y)?;
        }
    }
    Ok(())
}

impl Pass<'_, '_> {
    /// Turns every row's queries and keys where they stand; `sign` −1 turns them back.
    pub(super) fn rotate(&self, qkv: u64, sign: f32) -> Result<(), KernelError> {
        let heads = self.config.num_attention_heads + self.config.num_key_value_heads;
        let stride = self.qkv_width() as u32;
        self.start(&Rope {
            x: qkv,
            y: qkv,
            positions: self.batch.positions,
            table: self.rope,
            tokens: self.tokens() as u32,
            heads: heads as u32,
            dim: self.config.head_dim as u32,
            x_stride: stride,
            y_stride: stride,
            sign,
        })
    }

    pub(super) fn heads(&self) -> Heads {
        Heads {
            query: self.config.num_attention_heads as u32,
            key_value: self.config.num_key_value_heads as u32,
        }
    }

    fn attend(&self, qkv: u64, out: u64, lse: u64) -> Result<(), KernelError> {
        let (query, key_value) = (self.config.query_width(), self.config.key_value_width());
        let stride = self.qkv_width() as u32;
        self.start(&AttentionForward {
            q: qkv,
            k: self.after(qkv, query),
            v: self.after(qkv, query + key_value),
            out,
            lse,
            tiles: self.batch.forward_tiles.address,
            heads: self.heads(),
            tile_count: self.batch.forward_tiles.count,
            tokens: self.tokens() as u32,
            q_stride: stride,
            kv_stride: stride,
            out_stride: query as u32,
        })
    }

    /// `silu(gate) ∘ up`
    pub(super) fn activate(&self, gate_up: u64, y: u64) -> Result<(), KernelError> {
        let ffn = self.config.intermediate_size;
        self.start(&SwiGluForward {
            gate: gate_up,
            up: self.after(gate_up, ffn),
            y,
            rows: self.tokens() as u32,
            width: ffn as u32,
            in_stride: 2 * ffn as u32,
            out_stride: ffn as u32,
        })
    }
}

//! One pass over the layers, in memory that is kept for the next.

use super::pass::{Batch, Pass, Placed};
use crate::Projection;
use crate::cuda::args::{DecodeAttention, DecodeCombine, QkvAppend, SwiGluForward};
use crate::cuda::room::Room;
use crate::cuda::{KernelError, Machine, WORD, logits_stride};

/// Memory of a pass, kept for the next.
pub(super) struct Buffers<'m> {
    ids: Room<'m>,
    positions: Room<'m>,
    slots: Room<'m>,
    pages: Room<'m>,
    wanted: Room<'m>,
    /// The stream at both norms of a block, and what is added to it: `[rows, hidden]`.
    stream: [Room<'m>; 2],
    branch: Room<'m>,
    normed: Room<'m>,
    rms: Room<'m>,
    qkv: Room<'m>,
    queries: Room<'m>,
    attended: Room<'m>,
    /// Attention's splits and their maxima and sums, f32.
    splits: Room<'m>,
    statistics: Room<'m>,
    gate_up: Room<'m>,
    activated: Room<'m>,
    /// Pieces of products of a few rows, and `U` of adapters, f32.
    partial: Room<'m>,
    u: Room<'m>,
    /// Of rows whose logits are wanted.
    last: [Room<'m>; 3],
    logits: Room<'m>,
}

impl<'m> Buffers<'m> {
    pub(super) fn new(machine: &'m dyn Machine) -> Self {
        let room = || Room::new(machine);
        Self {
            ids: room(),
            positions: room(),
            slots: room(),
            pages: room(),
            wanted: room(),
            stream: [room(), room()],
            branch: room(),
            normed: room(),
            rms: room(),
            qkv: room(),
            queries: room(),
            attended: room(),
            splits: room(),
            statistics: room(),
            gate_up: room(),
            activated: room(),
            partial: room(),
            u: room(),
            last: [room(), room(), room()],
            logits: room(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let rooms = [
            &self.ids,
            &self.positions,
            &self.slots,
            &self.pages,
            &self.wanted,
            &self.branch,
            &self.normed,
            &self.rms,
            &self.qkv,
            &self.queries,
            &self.attended,
            &self.splits,
            &self.statistics,
            &self.gate_up,
            &self.activated,
            &self.partial,
            &self.u,
            &self.logits,
        ];
        let pairs = self.stream.iter().chain(&self.last);
        rooms.into_iter().chain(pairs).map(Room::bytes).sum()
    }

    /// Copies a batch to the device.
    pub(super) fn copy(&mut self, batch: &Batch) -> Result<Placed, KernelError> {
        let bytes =
            |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
        let width = batch.max_pages();
        let mut pages = vec![0; batch.tables.len() * width];
        for (row, table) in pages.chunks_exact_mut(width.max(1)).zip(&batch.tables) {
            row[..table.len()].copy_from_slice(table);
        }
        Ok(Placed {
            ids: self.ids.copy(&bytes(&batch.ids))?,
            positions: self.positions.copy(&bytes(&batch.positions))?,
            slots: self.slots.copy(&bytes(&batch.slots))?,
            pages: self.pages.copy(&bytes(&pages))?,
            wanted: self.wanted.copy(&bytes(&batch.wanted))?,
        })
    }

    /// All layers and the logits of the rows that want them.
    pub(super) fn run(&mut self, pass: &Pass<'_, '_>) -> Result<(), KernelError> {
        let hidden = pass.config.hidden_size;
        let x = self.stream[0].of(pass.bytes(hidden))?;
        pass.gather(
            (pass.weights.embed.address(), pass.placed.ids, x),
            pass.rows(),
        )?;
        let mut stream = (x, 0);
        for layer in 0..pass.weights.layers.len() {
            stream = self.block(pass, layer, stream)?;
        }
        self.logits(pass, stream)
    }

    /// One block over the stream `x + delta`; returns the same for the next.
    fn block(
        &mut self,
        pass: &Pass<'_, '_>,
        layer: usize,
        (x, delta): (u64, u64),
    ) -> Result<(u64, u64), KernelError> {
        let (hidden, ffn) = (pass.config.hidden_size, pass.config.intermediate_size);
        let (query, width) = (pass.config.query_width(), pass.qkv_width());
        let key_value = pass.config.key_value_width();
        let block = &pass.weights.layers[layer];
        let bytes = pass.bytes(hidden);
        let (h, middle) = (self.stream[0].of(bytes)?, self.stream[1].of(bytes)?);
        let (normed, branch) = (self.normed.of(bytes)?, self.branch.of(bytes)?);
        let rms = self.rms.of(pass.rows() * WORD)?;
        let norm = |weight: u64, x, delta, sum| {
            pass.norm(pass.rows(), weight, (x, delta), (sum, normed), rms)
        };
        norm(block.input_layernorm.address(), x, delta, h)?;
        let qkv = self.qkv.of(pass.bytes(width))?;
        let partial = &mut self.partial;
        pass.multiply((normed, block.qkv.address(), qkv), (width, hidden), partial)?;
        let parts = [
            (Projection::Q, 0),
            (Projection::K, query),
            (Projection::V, query + key_value),
        ];
        pass.adapt((layer, &parts), (normed, hidden), (qkv, width), &mut self.u)?;
        let attended = self.attention(pass, layer, qkv)?;
        let partial = &mut self.partial;
        pass.multiply(
            (attended, block.o.address(), branch),
            (hidden, query),
            partial,
        )?;
        let parts = [(Projection::O, 0)];
        pass.adapt(
            (layer, &parts),
            (attended, query),
            (branch, hidden),
            &mut self.u,
        )?;
        norm(block.post_attention_layernorm.address(), h, branch, middle)?;
        let gate_up = self.gate_up.of(pass.bytes(2 * ffn))?;
        let matrices = (normed, block.gate_up.address(), gate_up);
        pass.multiply(matrices, (2 * ffn, hidden), &mut self.partial)?;
        let parts = [(Projection::Gate, 0), (Projection::Up, ffn)];
        pass.adapt(
            (layer, &parts),
            (normed, hidden),
            (gate_up, 2 * ffn),
            &mut self.u,
        )?;
        let activated = self.activated.of(pass.bytes(ffn))?;
        pass.start(&SwiGluForward {
            gate: gate_up,
            up: pass.after(gate_up, ffn),
            y: activated,
            rows: pass.rows() as u32,
            width: ffn as u32,
            in_stride: 2 * ffn as u32,
            out_stride: ffn as u32,
        })?;
        let matrices = (activated, block.down.address(), branch);
        pass.multiply(matrices, (hidden, ffn), &mut self.partial)?;
        let parts = [(Projection::Down, 0)];
        pass.adapt(
            (layer, &parts),
            (activated, ffn),
            (branch, hidden),
            &mut self.u,
        )?;
        Ok((middle, branch))
    }

    /// Adds keys and values to the caches; every row's attention over its own.
    fn attention(
        &mut self,
        pass: &Pass<'_, '_>,
        layer: usize,
        qkv: u64,
    ) -> Result<u64, KernelError> {
        let (rows, query) = (pass.rows(), pass.config.query_width());
        let heads = pass.config.num_attention_heads;
        let kv_heads = pass.config.num_key_value_heads as u32;
        let [keys, values] = pass.cache.layer(layer);
        let (q, attended) = (
            self.queries.of(pass.bytes(query))?,
            self.attended.of(pass.bytes(query))?,
        );
        let (splits, max_pages) = (pass.batch.splits(), pass.batch.max_pages() as u32);
        pass.start(&QkvAppend {
            qkv,
            q,
            keys,
            values,
            positions: pass.placed.positions,
            slots: pass.placed.slots,
            pages: pass.placed.pages,
            table: pass.rope,
            tokens: rows as u32,
            q_heads: heads as u32,
            kv_heads,
            dim: pass.config.head_dim as u32,
            max_pages,
        })?;
        let items = rows * heads * splits;
        let partial = self.splits.of(items * pass.config.head_dim * WORD)?;
        let statistics = self.statistics.of(items * 2 * WORD)?;
        pass.start(&DecodeAttention {
            q,
            keys,
            values,
            out: partial,
            statistics,
            positions: pass.placed.positions,
            slots: pass.placed.slots,
            pages: pass.placed.pages,
            rows: rows as u32,
            q_heads: heads as u32,
            kv_heads,
            max_pages,
            splits: splits as u32,
        })?;
        pass.start(&DecodeCombine {
            partial,
            statistics,
            positions: pass.placed.positions,
            out: attended,
            rows: rows as u32,
            q_heads: heads as u32,
            splits: splits as u32,
        })?;
        Ok(attended)
    }

    fn logits(&mut self, pass: &Pass<'_, '_>, (x, delta): (u64, u64)) -> Result<(), KernelError> {
        let rows = pass.batch.wanted.len();
        if rows == 0 {
            return Ok(());
        }
        let (hidden, vocab) = (pass.config.hidden_size, pass.config.vocab_size);
        let bytes = rows * hidden * pass.element.bytes();
        let [last, added, sum] = &mut self.last;
        let (last, added, sum) = (last.of(bytes)?, added.of(bytes)?, sum.of(bytes)?);
        pass.gather((x, pass.placed.wanted, last), rows)?;
        pass.gather((delta, pass.placed.wanted, added), rows)?;
        let normed = self.normed.of(bytes)?;
        let rms = self.rms.of(rows * WORD)?;
        let weight = pass.weights.norm.address();
        pass.norm(rows, weight, (last, added), (sum, normed), rms)?;
        let stride = logits_stride(vocab);
        let logits = self.logits.of(rows * stride * pass.element.bytes())?;
        let matrices = (normed, pass.weights.head().address(), logits);
        pass.multiply_rows(rows, matrices, (vocab, hidden, stride), &mut self.partial)
    }

    /// The logits of the last pass, `[rows, vocab]`; waits for the device.
    pub(super) fn read_logits(
        &self,
        pass: &Pass<'_, '_>,
        rows: usize,
        to: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        let (vocab, element) = (pass.config.vocab_size, pass.element);
        let row = logits_stride(vocab) * element.bytes();
        let bytes = self.logits.read(rows * row)?;
        for row in bytes.chunks_exact(row) {
            element.decode(&row[..vocab * element.bytes()], to);
        }
        Ok(())
    }
}

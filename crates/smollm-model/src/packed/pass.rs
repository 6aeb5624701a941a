//! One forward pass: the same walk on every thread of a [`Team`](super::team::Team).
//!
//! Formulas: [`crate::Llama`]. Rows of prompts stand before rows of answers, because quantised weights meet them in
//! different arithmetic: prompts in bf16 (the weights are widened once for all rows), answers in int8 (few rows, and the
//! weights are read as they are stored).

use std::sync::atomic::{AtomicUsize, Ordering};

use cpu_gemm::Operand;

use super::adapter::PackedAdapter;
use super::attention::{self, Job, Piece};
use super::cache::{LayerPointers, Shape};
use super::stacked::Stacked;
use super::team::Worker;
use super::weights::{Block, Weights};
use crate::ops::{RopeTable, rms_norm_row, swiglu_row};
use crate::{Projection, Site};

/// One token of the pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The token.
    pub(super) id: u32,
    /// Which sequence it continues.
    pub(super) segment: usize,
    /// Its place in the sequence.
    pub(super) position: usize,
}

/// The new rows of one sequence.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    /// Its first row in the pass.
    pub(super) first_row: usize,
    /// That row's position.
    pub(super) first_position: usize,
    /// Adapter that computes it.
    pub(super) adapter: Option<usize>,
    /// Its keys and values, layer by layer.
    pub(super) cache: Vec<LayerPointers>,
}

/// Floats of all rows, written by several threads at different rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) start: *mut f32,
    pub(super) width: usize,
}

impl Rows {
    /// # Safety
    /// The row exists, and no other thread touches it while the slice lives.
    #[allow(clippy::mut_from_ref)] // rows are handed out, not `self`
    unsafe fn row(&self, row: usize) -> &mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.width), self.width) }
    }
}

/// Inputs of products, for rows of prompts and of answers.
#[derive(Debug, Default)]
pub(super) struct Operands {
    pub(super) prompts: Operand,
    pub(super) answers: Operand,
}

/// Everything that the threads share.
pub(super) struct Pass<'a> {
    pub(super) weights: &'a Weights,
    pub(super) rows: &'a [Row],
    /// Rows below this are of prompts.
    pub(super) prompts: usize,
    pub(super) sequences: &'a [Sequence],
    pub(super) pieces: &'a [Piece],
    /// The next piece of each layer that nobody has taken.
    pub(super) next_piece: &'a [AtomicUsize],
    pub(super) rope: RopeTable,
    /// Rows whose logits are wanted.
    pub(super) wanted: &'a [usize],
    pub(super) buffers: Buffers<'a>,
}

// SAFETY: the raw pointers are into buffers that the caller of the pass holds; `Pass::run` states how threads share them.
unsafe impl Sync for Pass<'_> {}

/// Where a pass computes.
#[derive(Clone, Copy)]
pub(super) struct Buffers<'a> {
    /// The residual stream, `[rows, hidden]`.
    pub(super) h: Rows,
    /// Normalised, `[rows, hidden]`.
    pub(super) x: Rows,
    /// `[rows, q | k | v]`
    pub(super) qkv: Rows,
    /// Outputs of attention, `[rows, query width]`.
    pub(super) attended: Rows,
    /// `[rows, gate | up]`
    pub(super) gate_up: Rows,
    /// `[rows, intermediate]`
    pub(super) activated: Rows,
    /// What is added to the residual stream next, `[rows, hidden]`.
    pub(super) y: Rows,
    pub(super) of_x: &'a Operands,
    pub(super) of_attended: &'a Operands,
    pub(super) of_activated: &'a Operands,
    pub(super) of_last: &'a Operand,
    /// `[wanted, vocab]`
    pub(super) logits: *mut f32,
    /// One for each thread.
    pub(super) own: *mut Own,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(super) struct Own {
    attention: attention::Scratch,
    u: Vec<f32>,
}

impl Pass<'_> {
    /// The whole pass, to be run by all threads of a team at once.
    ///
    /// # Safety
    /// Every buffer has the extents that its field's comment says; nobody else uses buffers, operands, caches and logits
    /// before all threads have returned. Between two meetings each thread writes rows, columns or pieces of its own.
    pub(super) unsafe fn run(&self, worker: Worker<'_>) {
        let b = &self.buffers;
        // SAFETY: there is one for each thread of the team, and this thread takes its own.
        let own = unsafe { &mut *b.own.add(worker.index) };
        for row in worker.share(self.rows.len(), 1) {
            // SAFETY: rows are shared out among the workers, here and in every phase by rows below.
            let h = unsafe { b.h.row(row) };
            let id = self.rows[row].id;
            self.weights.embed.row(id as usize, h);
            let adapter = self.sequences[self.rows[row].segment].adapter;
            if let Some(adapter) = adapter {
                self.weights.adapters[adapter].add_embedding(id, h);
            }
        }
        for (layer, block) in self.weights.layers.iter().enumerate() {
            // SAFETY: as above; the phases are separated by meetings.
            unsafe {
                self.attention_block(layer, block, worker, own);
                self.feed_forward(layer, block, worker, own);
            }
        }
        // SAFETY: as above.
        unsafe { self.logits(worker, own) };
    }

    /// `h ← h + O · attention(rope(Q n), rope(K n), V n)`, `n = rms_norm(h)`; what is added stays in `y`.
    unsafe fn attention_block(
        &self,
        layer: usize,
        block: &Block,
        worker: Worker<'_>,
        own: &mut Own,
    ) {
        let b = &self.buffers;
        let before = layer.checked_sub(1);
        let before = before.map(|before| Site::new(before, Projection::Down));
        // SAFETY: see `run`.
        unsafe {
            self.normalise(before, &block.input_layernorm, worker, own);
            worker.meet();
            self.multiply(&block.qkv, b.of_x, worker, b.qkv);
            worker.meet();
            for row in worker.share(self.rows.len(), 1) {
                self.remember(layer, row, own);
            }
            worker.meet();
            self.attend(layer, own);
            worker.meet();
            for row in worker.share(self.rows.len(), 1) {
                self.fill(b.of_attended, row, b.attended.row(row));
            }
            worker.meet();
            self.multiply(&block.o, b.of_attended, worker, b.y);
            worker.meet();
        }
    }

    /// `h ← h + Down · swiglu(Gate m, Up m)`, `m = rms_norm(h)`; what is added stays in `y`.
    unsafe fn feed_forward(&self, layer: usize, block: &Block, worker: Worker<'_>, own: &mut Own) {
        let b = &self.buffers;
        let before = Some(Site::new(layer, Projection::O));
        // SAFETY: see `run`.
        unsafe {
            self.normalise(before, &block.post_attention_layernorm, worker, own);
            worker.meet();
            self.multiply(&block.gate_up, b.of_x, worker, b.gate_up);
            worker.meet();
            for row in worker.share(self.rows.len(), 1) {
                let (gate, up) = b.gate_up.row(row).split_at_mut(b.activated.width);
                let at = |projection| Site::new(layer, projection);
                self.adapt(row, at(Projection::Gate), b.x.row(row), gate, own);
                self.adapt(row, at(Projection::Up), b.x.row(row), up, own);
                swiglu_row(gate, up, b.activated.row(row));
                self.fill(b.of_activated, row, b.activated.row(row));
            }
            worker.meet();
            self.multiply(&block.down, b.of_activated, worker, b.y);
            worker.meet();
        }
    }

    /// Logits of the wanted rows.
    unsafe fn logits(&self, worker: Worker<'_>, own: &mut Own) {
        let b = &self.buffers;
        let last = Site::new(self.weights.layers.len() - 1, Projection::Down);
        // SAFETY: see `run`; each wanted row is another.
        unsafe {
            for at in worker.share(self.wanted.len(), 1) {
                let row = self.wanted[at];
                self.add(row, last, own);
                self.norm_row(row, &self.weights.norm);
                b.of_last.fill_row(at, b.x.row(row));
            }
            worker.meet();
            if !self.wanted.is_empty() {
                self.weights.lm_head().multiply(worker, b.of_last, b.logits);
            }
            worker.meet();
            self.adapt_logits(worker, own);
        }
    }

    /// What adapters of the head make of the logits.
    unsafe fn adapt_logits(&self, worker: Worker<'_>, own: &mut Own) {
        let b = &self.buffers;
        if !self.weights.adapters.iter().any(PackedAdapter::has_head) {
            return;
        }
        let vocab = self.weights.config.vocab_size;
        for at in worker.share(self.wanted.len(), 1) {
            let row = self.wanted[at];
            // SAFETY: see `run`; each wanted row has logits of its own, which one thread takes.
            unsafe {
                let logits = std::slice::from_raw_parts_mut(b.logits.add(at * vocab), vocab);
                self.adapt(row, Site::Head, b.x.row(row), logits, own);
            }
        }
        worker.meet();
    }

    /// `h ← h + y`, `x ← rms_norm(h)`, as an operand too, for this worker's rows.
    unsafe fn normalise(
        &self,
        before: Option<Site>,
        weight: &[f32],
        worker: Worker<'_>,
        own: &mut Own,
    ) {
        for row in worker.share(self.rows.len(), 1) {
            // SAFETY: see `run`.
            unsafe {
                if let Some(site) = before {
                    self.add(row, site, own);
                }
                self.norm_row(row, weight);
                self.fill(self.buffers.of_x, row, self.buffers.x.row(row));
            }
        }
    }

    /// `h ← h + y` for one row, where `y` is what `site` gave.
    unsafe fn add(&self, row: usize, site: Site, own: &mut Own) {
        let b = &self.buffers;
        // SAFETY: see `run`.
        let (h, y) = unsafe { (b.h.row(row), b.y.row(row)) };
        let input = match site {
            Site::Block {
                projection: Projection::O,
                ..
            } => b.attended,
            _ => b.activated,
        };
        // SAFETY: see `run`.
        self.adapt(row, site, unsafe { input.row(row) }, y, own);
        for (h, y) in h.iter_mut().zip(y) {
            *h += *y;
        }
    }

    unsafe fn norm_row(&self, row: usize, weight: &[f32]) {
        let b = &self.buffers;
        // SAFETY: see `run`.
        let (h, x) = unsafe { (b.h.row(row), b.x.row(row)) };
        rms_norm_row(h, weight, self.weights.config.rms_norm_eps as f32, x);
    }

    /// `y += scale · B A x`, where the row's adapter has that site.
    fn adapt(&self, row: usize, site: Site, x: &[f32], y: &mut [f32], own: &mut Own) {
        let sequence = &self.sequences[self.rows[row].segment];
        if let Some(adapter) = sequence.adapter {
            self.weights.adapters[adapter].add(site, x, y, &mut own.u);
        }
    }

    /// Makes one row of an operand.
    unsafe fn fill(&self, operands: &Operands, row: usize, x: &[f32]) {
        // SAFETY: see `run`; the operands have as many rows as there are of each kind.
        unsafe {
            match row.checked_sub(self.prompts) {
                None => operands.prompts.fill_row(row, x),
                Some(row) => operands.answers.fill_row(row, x),
            }
        }
    }

    /// This worker's columns of `out = x · Wᵀ` for all rows.
    unsafe fn multiply(&self, weight: &Stacked, x: &Operands, worker: Worker<'_>, out: Rows) {
        // SAFETY: see `run`; `out` is as wide as the weight has outputs.
        unsafe {
            if self.prompts > 0 {
                weight.multiply(worker, &x.prompts, out.start);
            }
            if self.prompts < self.rows.len() {
                let answers = out.start.add(self.prompts * out.width);
                weight.multiply(worker, &x.answers, answers);
            }
        }
    }

    /// Rotates a row's queries and keys, and adds its keys and values to the cache.
    unsafe fn remember(&self, layer: usize, row: usize, own: &mut Own) {
        let b = &self.buffers;
        let shape = self.weights.shape();
        // SAFETY: see `run`.
        let (x, qkv) = unsafe { (b.x.row(row), b.qkv.row(row)) };
        let (q, kv) = qkv.split_at_mut(b.attended.width);
        let (k, v) = kv.split_at_mut(shape.width());
        self.adapt(row, Site::new(layer, Projection::Q), x, q, own);
        self.adapt(row, Site::new(layer, Projection::K), x, k, own);
        self.adapt(row, Site::new(layer, Projection::V), x, v, own);
        self.rope.rotate_row(row, q);
        self.rope.rotate_row(row, k);
        let Row {
            segment, position, ..
        } = self.rows[row];
        // SAFETY: the cache has room for the pass's tokens, and this row's token is another than every other's.
        unsafe { self.sequences[segment].cache[layer].write(shape, position, k, v) };
    }

    /// Takes pieces of attention until there are none.
    unsafe fn attend(&self, layer: usize, own: &mut Own) {
        let b = &self.buffers;
        let shape: Shape = self.weights.shape();
        loop {
            // What a piece gives does not depend on who takes it.
            let at = self.next_piece[layer].fetch_add(1, Ordering::Relaxed);
            let Some(piece) = self.pieces.get(at) else {
                break;
            };
            let sequence = &self.sequences[piece.segment];
            let first = sequence.first_row + piece.rows.start;
            let rows = piece.rows.len();
            let job = Job {
                shape,
                group: b.attended.width / shape.width(),
                cache: sequence.cache[layer],
                first: sequence.first_position + piece.rows.start,
                rows,
                kv_head: piece.kv_head,
                // SAFETY: nobody writes queries, keys or values in this phase.
                q: unsafe {
                    let start = b.qkv.start.add(first * b.qkv.width);
                    std::slice::from_raw_parts(start, rows * b.qkv.width)
                },
                stride: b.qkv.width,
            };
            let mut store = |row: usize, head: usize, out: &[f32]| {
                // SAFETY: this piece alone writes its heads of its rows.
                unsafe {
                    let to = b
                        .attended
                        .start
                        .add((first + row) * b.attended.width + head * out.len());
                    to.copy_from_nonoverlapping(out.as_ptr(), out.len());
                }
            };
            // SAFETY: all keys up to these rows were written before the last meeting.
            unsafe { job.run(&mut own.attention, &mut store) };
        }
    }
}

//! `lm_head` and cross-entropy over supervised rows on the device, a chunk of them at a time.

use super::Buffers;
use super::pass::{Norm, Pass};
use crate::cuda::args::{CrossEntropy, GatherRows, MatrixProduct, Product, ProductBack};
use crate::cuda::room::Room;
use crate::cuda::{Element, KernelError, Machine, WORD, logits_stride};

/// Rows of one chunk: 1,024 rows of 49,152 logits are 100 MB in bf16.
pub(super) const CHUNK: usize = 1024;

/// Buffers of the loss.
pub(super) struct Loss<'m> {
    /// Of a chunk, `[rows, hidden]` each: the last block's middle, what it adds to it, their sum, and that normed.
    middle: Room<'m>,
    branch: Room<'m>,
    h: Room<'m>,
    normed: Room<'m>,
    rms: Room<'m>,
    d_normed: Room<'m>,
    /// `[rows, vocab]`, padded; the gradient is written over it.
    logits: Room<'m>,
    /// Of all supervised rows, `[rows, hidden]`.
    d_rows: Room<'m>,
    /// Of all tokens, `[tokens, hidden]`.
    dh: Room<'m>,
    /// Of all supervised rows, f32.
    nll: Room<'m>,
}

impl<'m> Loss<'m> {
    pub(super) fn new(machine: &'m dyn Machine) -> Self {
        let room = || Room::new(machine);
        Self {
            middle: room(),
            branch: room(),
            h: room(),
            normed: room(),
            rms: room(),
            d_normed: room(),
            logits: room(),
            d_rows: room(),
            dh: room(),
            nll: room(),
        }
    }

    /// The sum of the losses of the last call's `rows`; waits for the device.
    pub(super) fn total(&self, rows: usize) -> Result<f64, KernelError> {
        let mut losses = Vec::new();
        Element::F32.decode(&self.nll.read(rows * WORD)?, &mut losses);
        Ok(losses.into_iter().map(f64::from).sum())
    }

    pub(super) fn bytes(&self) -> usize {
        let rooms = [
            &self.middle,
            &self.branch,
            &self.h,
            &self.normed,
            &self.rms,
            &self.d_normed,
            &self.logits,
            &self.d_rows,
            &self.dh,
            &self.nll,
        ];
        rooms.map(Room::bytes).iter().sum()
    }
}

impl Buffers<'_> {
    /// The losses of all supervised rows; with a `factor` also where that times their gradient with respect to the last
    /// block's output stands.
    pub(super) fn loss(
        &mut self,
        pass: &Pass<'_, '_>,
        factor: Option<f32>,
    ) -> Result<Option<u64>, KernelError> {
        let hidden = pass.config.hidden_size;
        let supervised = pass.batch.supervised;
        let row = hidden * pass.element.bytes();
        let nll = self.loss.nll.of(supervised * WORD)?;
        let d_rows = match factor {
            Some(_) => self.loss.d_rows.of(supervised * row)?,
            None => 0,
        };
        for first in (0..supervised).step_by(CHUNK) {
            let rows = CHUNK.min(supervised - first);
            let chunk = Chunk {
                rows,
                ids: pass.batch.rows + (first * WORD) as u64,
                targets: pass.batch.targets + (first * WORD) as u64,
                nll: nll + (first * WORD) as u64,
                d_rows: factor.map(|factor| (factor, d_rows + (first * row) as u64)),
            };
            self.chunk(pass, chunk)?;
        }
        if factor.is_none() {
            return Ok(None);
        }
        let dh = self.loss.dh.of(pass.rows(hidden))?;
        pass.start(&GatherRows {
            table: d_rows,
            ids: pass.batch.places,
            out: dh,
            rows: pass.tokens() as u32,
            width: hidden as u32,
        })?;
        Ok(Some(dh))
    }

    fn chunk(&mut self, pass: &Pass<'_, '_>, chunk: Chunk) -> Result<(), KernelError> {
        let (hidden, vocab) = (pass.config.hidden_size, pass.config.vocab_size);
        let bytes = chunk.rows * hidden * pass.element.bytes();
        let last = Self::kept(pass, pass.weights.layers.len() - 1);
        let middle = self.saved[last].middle.of(pass.rows(hidden))?;
        let branch = self.forward.branch.of(pass.rows(hidden))?;
        let loss = &mut self.loss;
        let gather = |table, room: &mut Room<'_>| {
            let out = room.of(bytes)?;
            pass.start(&GatherRows {
                table,
                ids: chunk.ids,
                out,
                rows: chunk.rows as u32,
                width: hidden as u32,
            })?;
            Ok::<_, KernelError>(out)
        };
        let norm = Norm {
            x: gather(middle, &mut loss.middle)?,
            delta: gather(branch, &mut loss.branch)?,
            sum: loss.h.of(bytes)?,
            weight: pass.weights.norm.address(),
            y: loss.normed.of(bytes)?,
            rms: loss.rms.of(chunk.rows * WORD)?,
        };
        pass.norm(chunk.rows, &norm)?;
        let stride = logits_stride(vocab);
        let logits = loss.logits.of(chunk.rows * stride * pass.element.bytes())?;
        let product = MatrixProduct {
            x: norm.y,
            w: pass.weights.head().address(),
            y: logits,
            rows: chunk.rows as u32,
            width: vocab as u32,
            inner: hidden as u32,
            x_stride: hidden as u32,
            w_stride: hidden as u32,
            y_stride: stride as u32,
        };
        pass.start(&Product(product))?;
        pass.start(&CrossEntropy {
            logits,
            targets: chunk.targets,
            nll: chunk.nll,
            rows: chunk.rows as u32,
            vocab: vocab as u32,
            stride: stride as u32,
            with_gradient: u32::from(chunk.d_rows.is_some()),
            scale: chunk.d_rows.map_or(1.0, |(factor, _)| factor),
        })?;
        let Some((_, d_rows)) = chunk.d_rows else {
            return Ok(());
        };
        let d_normed = loss.d_normed.of(bytes)?;
        pass.start(&ProductBack(MatrixProduct {
            x: logits,
            y: d_normed,
            width: hidden as u32,
            inner: vocab as u32,
            x_stride: stride as u32,
            y_stride: hidden as u32,
            ..product
        }))?;
        let summed = Norm {
            x: norm.sum,
            ..norm
        };
        pass.norm_back(chunk.rows, &summed, d_normed, 0, d_rows)
    }
}

/// Some supervised rows.
#[derive(Clone, Copy)]
struct Chunk {
    rows: usize,
    ids: u64,
    targets: u64,
    nll: u64,
    /// The factor, and where the gradient goes.
    d_rows: Option<(f32, u64)>,
}

//! One block forward, and what is kept of it. Formulas: [`crate::Llama`].

use cpu_gemm::Operand;
use rayon::prelude::*;

use super::low_rank::{SavedSite, SiteScratch};
use super::products::multiply;
use super::rows::{Kept, TASK_ROWS, add, normalise, round, swiglu};
use super::{Pass, attention};
use crate::Projection;
use crate::buffer::grow;
use crate::ops::RopeTable;

/// What a block's backward pass needs beside the block's input.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// Rotated queries and keys, and values: `[tokens, q | k | v]`.
    pub(super) qkv: Vec<f32>,
    /// Attention's output, `[tokens, query width]`.
    pub(super) attended: Vec<f32>,
    /// Log-sum-exp of each query's scores, `[query heads, tokens]`.
    pub(super) lse: Vec<f32>,
    /// The residual stream between attention and the feed-forward part, `[tokens, hidden]`.
    pub(super) middle: Vec<f32>,
    /// `[tokens, gate | up]`, more than half of all that is kept: where inputs of products are bf16, so is this.
    gate_up: Vec<f32>,
    gate_up_rounded: Vec<u16>,
    /// In the order of [`Projection::ALL`].
    pub(super) sites: [SavedSite; 7],
}

impl Saved {
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let floats = [
            &self.qkv,
            &self.attended,
            &self.lse,
            &self.middle,
            &self.gate_up,
        ];
        let floats: usize = floats.iter().map(|x| size_of_val(x.as_slice())).sum();
        let sites: usize = self.sites.iter().map(SavedSite::bytes).sum();
        floats + size_of_val(self.gate_up_rounded.as_slice()) + sites
    }

    /// `[tokens, gate | up]`, `values` in all.
    pub(super) fn gate_up(&self, rounded: bool, values: usize) -> Kept<'_> {
        if rounded {
            Kept::Bf16(&self.gate_up_rounded[..values])
        } else {
            Kept::F32(&self.gate_up[..values])
        }
    }
}

/// Buffers that blocks share.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    gate_up: Vec<f32>,
    normed: Vec<f32>,
    activated: Vec<f32>,
    operand: Operand,
    site: SiteScratch,
}

impl Pass<'_> {
    /// The embeddings of the batch's tokens, with their adapter and the batch's noise.
    pub(super) fn embed(&self, h: &mut [f32]) {
        let hidden = self.config.hidden_size;
        h.par_chunks_mut(TASK_ROWS * hidden)
            .zip(self.batch.ids().par_chunks(TASK_ROWS))
            .enumerate()
            .for_each(|(task, (rows, ids))| {
                let mut part = Vec::new();
                for (row, id) in rows.chunks_exact_mut(hidden).zip(ids) {
                    self.weights.embedding(*id, row);
                    if let Some(site) = self.sites.embedding() {
                        site.add_embedding(*id, row, &mut part);
                    }
                }
                self.batch.add_noise(task * TASK_ROWS, rows, hidden);
            });
    }

    /// `next = block(h)`, both `[tokens, hidden]`.
    pub(super) fn forward_block(
        &self,
        layer: usize,
        h: &[f32],
        saved: &mut Saved,
        next: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (tokens, config) = (self.tokens(), self.config);
        let block = &self.weights.layers[layer];
        let (hidden, query, ffn) = (
            config.hidden_size,
            config.query_width(),
            config.intermediate_size,
        );
        let key_value = config.key_value_width();
        let qkv_width = query + 2 * key_value;
        let eps = config.rms_norm_eps as f32;

        let normed = grow(&mut scratch.normed, tokens * hidden);
        normalise(h, &block.input_layernorm, eps, normed);
        let qkv = grow(&mut saved.qkv, tokens * qkv_width);
        multiply(&block.qkv, normed, &mut scratch.operand, qkv);
        for (projection, column) in [
            (Projection::Q, 0),
            (Projection::K, query),
            (Projection::V, query + key_value),
        ] {
            let part = (&mut qkv[column..], qkv_width);
            let site = &mut saved.sites[projection as usize];
            self.adapt(layer, projection, normed, part, site, &mut scratch.site);
        }
        self.rotate(qkv, RopeTable::rotate_row);
        let attended = grow(&mut saved.attended, tokens * query);
        let lse = grow(&mut saved.lse, tokens * config.num_attention_heads);
        attention::forward(self, qkv, attended, lse);
        let middle = grow(&mut saved.middle, tokens * hidden);
        multiply(&block.o, attended, &mut scratch.operand, middle);
        let site = &mut saved.sites[Projection::O as usize];
        let part = (&mut *middle, hidden);
        self.adapt(
            layer,
            Projection::O,
            attended,
            part,
            site,
            &mut scratch.site,
        );
        add(h, middle, hidden);

        normalise(middle, &block.post_attention_layernorm, eps, normed);
        let rounded = self.weights.rounded;
        let gate_up = if rounded {
            &mut scratch.gate_up
        } else {
            &mut saved.gate_up
        };
        let gate_up = grow(gate_up, tokens * 2 * ffn);
        multiply(&block.gate_up, normed, &mut scratch.operand, gate_up);
        for (projection, column) in [(Projection::Gate, 0), (Projection::Up, ffn)] {
            let part = (&mut gate_up[column..], 2 * ffn);
            let site = &mut saved.sites[projection as usize];
            self.adapt(layer, projection, normed, part, site, &mut scratch.site);
        }
        let activated = grow(&mut scratch.activated, tokens * ffn);
        if rounded {
            round(gate_up, grow(&mut saved.gate_up_rounded, tokens * 2 * ffn));
        }
        swiglu(saved.gate_up(rounded, tokens * 2 * ffn), ffn, activated);
        multiply(&block.down, activated, &mut scratch.operand, next);
        let site = &mut saved.sites[Projection::Down as usize];
        let part = (&mut *next, hidden);
        self.adapt(
            layer,
            Projection::Down,
            activated,
            part,
            site,
            &mut scratch.site,
        );
        add(&saved.middle[..tokens * hidden], next, hidden);
    }

    /// Adds what the adapter of a projection gives, where there is one.
    fn adapt(
        &self,
        layer: usize,
        projection: Projection,
        x: &[f32],
        y: (&mut [f32], usize),
        saved: &mut SavedSite,
        scratch: &mut SiteScratch,
    ) {
        if let Some(site) = self.sites.get(layer, projection) {
            let dropout = self.dropout(site);
            site.forward(x, dropout, y, saved, scratch);
        }
    }

    /// Turns every row's queries and keys.
    pub(super) fn rotate(
        &self,
        qkv: &mut [f32],
        turn: impl Fn(&RopeTable, usize, &mut [f32]) + Sync,
    ) {
        let rotated = self.heads.query_width() + self.heads.key_value_width();
        let width = rotated + self.heads.key_value_width();
        qkv.par_chunks_mut(TASK_ROWS * width)
            .enumerate()
            .for_each(|(task, rows)| {
                for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                    turn(&self.rope, task * TASK_ROWS + i, &mut row[..rotated]);
                }
            });
    }
}

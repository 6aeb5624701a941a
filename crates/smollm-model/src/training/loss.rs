//! `lm_head` and cross-entropy over supervised rows. Formulas: [`crate::ops::cross_entropy`].
//!
//! Rows are taken in chunks, and the gradient is formed while a chunk's logits are still in memory.

use std::ops::Range;

use cpu_gemm::Operand;
use rayon::prelude::*;

use super::low_rank::{SavedSite, SiteScratch};
use super::products::{Frozen, fill, multiply};
use super::rows::{add_norm_gradient, add_row, normalise};
use super::{Pass, SiteGradients};
use crate::Site;
use crate::buffer::grow;
use crate::ops::{Dropout, mix, nll_gradient_row};

/// Rows of one chunk.
pub(super) use crate::ops::LOSS_CHUNK as CHUNK;

/// Panels of 16 tokens of the vocabulary whose part of the gradient is summed in one chain. In a single chain over 49,152
/// tokens the many tiny terms would be rounded away one by one against the large ones.
const BLOCK_PANELS: usize = 16;

/// Buffers of a chunk.
#[derive(Debug, Default)]
pub(super) struct LossScratch {
    h: Vec<f32>,
    normed: Vec<f32>,
    dh: Vec<f32>,
    d_normed: Vec<f32>,
    logits: Vec<f32>,
    operand: Operand,
    blocks: Vec<Operand>,
    /// Of the head's adapter.
    saved: SavedSite,
    site: SiteScratch,
}

/// What is wanted beside the loss, `factor` times each.
pub(super) struct Wanted<'a> {
    pub(super) factor: f32,
    /// The gradient with respect to `h`, where there are adapters below; it is overwritten.
    pub(super) dh: Option<&'a mut [f32]>,
    /// Where the gradients of the head's adapter are added.
    pub(super) gradients: &'a mut [SiteGradients],
}

/// The sum of the negative log-likelihoods of `targets` after `rows` of `h: [tokens, hidden]`, and what is `wanted`
/// beside it.
pub(super) fn nll(
    pass: &Pass<'_>,
    h: &[f32],
    (rows, targets): (&[u32], &[u32]),
    mut wanted: Option<Wanted<'_>>,
    scratch: &mut LossScratch,
) -> f64 {
    let (hidden, vocab) = (pass.config.hidden_size, pass.config.vocab_size);
    let (norm, eps) = (&pass.weights.norm, pass.config.rms_norm_eps as f32);
    let mut total = 0f64;
    if let Some(Wanted { dh: Some(dh), .. }) = &mut wanted {
        dh.fill(0.0);
    }
    let chunks = rows.chunks(CHUNK).zip(targets.chunks(CHUNK));
    for (chunk, (rows, targets)) in chunks.enumerate() {
        let n = rows.len();
        let chosen = grow(&mut scratch.h, n * hidden);
        for (to, row) in chosen.chunks_exact_mut(hidden).zip(rows) {
            to.copy_from_slice(&h[*row as usize * hidden..][..hidden]);
        }
        let normed = grow(&mut scratch.normed, n * hidden);
        normalise(chosen, norm, eps, normed);
        let logits = grow(&mut scratch.logits, n * vocab);
        let head = &pass.weights.head;
        multiply(head, normed, &mut scratch.operand, logits);
        if let Some(site) = pass.sites.head() {
            let (saved, room) = (&mut scratch.saved, &mut scratch.site);
            let dropout = head_dropout(pass, site.dropout, chunk);
            site.forward(normed, dropout, (&mut *logits, vocab), saved, room);
        }
        let losses: Vec<f64> = logits
            .par_chunks_exact_mut(vocab)
            .zip(targets)
            .map(|(logits, target)| nll_gradient_row(logits, *target as usize))
            .collect();
        total += losses.iter().sum::<f64>();
        if let Some(wanted) = &mut wanted {
            walk_back(pass, rows, wanted, scratch);
        }
    }
    total
}

/// The gradients of one chunk of rows, whose logits have become those of the loss.
fn walk_back(pass: &Pass<'_>, rows: &[u32], wanted: &mut Wanted<'_>, scratch: &mut LossScratch) {
    let (hidden, vocab) = (pass.config.hidden_size, pass.config.vocab_size);
    let (n, head, adapter) = (rows.len(), &pass.weights.head, pass.sites.head());
    let logits = &mut scratch.logits[..n * vocab];
    if let Some(site) = adapter {
        scale(logits, wanted.factor);
        site.scale_gradient((&mut *logits, vocab), &scratch.saved, wanted.gradients);
    }
    let mut d_normed = wanted.dh.is_some().then(|| {
        let d_normed = grow(&mut scratch.d_normed, n * hidden);
        input_gradient(head, logits, &mut scratch.blocks, d_normed);
        if adapter.is_none() {
            scale(d_normed, wanted.factor);
        }
        d_normed
    });
    if let Some(site) = adapter {
        let (normed, dz) = (&scratch.normed[..n * hidden], (&*logits, vocab));
        let (dx, room) = (d_normed.as_deref_mut(), &mut scratch.site);
        site.backward(normed, dz, dx, &scratch.saved, room, wanted.gradients);
    }
    let (Some(dh), Some(d_normed)) = (&mut wanted.dh, d_normed) else {
        return;
    };
    let (norm, eps) = (&pass.weights.norm, pass.config.rms_norm_eps as f32);
    let part = grow(&mut scratch.dh, n * hidden);
    part.fill(0.0);
    add_norm_gradient(&scratch.h[..n * hidden], norm, eps, d_normed, part);
    for (part, row) in part.chunks_exact(hidden).zip(rows) {
        add_row(part, &mut dh[*row as usize * hidden..][..hidden]);
    }
}

/// The dropout of the head's adapter in one chunk of rows: the masks of [`crate::Llama::nll`].
fn head_dropout(pass: &Pass<'_>, p: f32, chunk: usize) -> Option<Dropout> {
    let key = pass.dropout_key(Site::Head)?;
    Dropout::new(p, mix(key, chunk as u64))
}

fn scale(values: &mut [f32], factor: f32) {
    const TASK: usize = 1 << 14;
    let scale = |part: &mut [f32]| part.iter_mut().for_each(|x| *x *= factor);
    values.par_chunks_mut(TASK).for_each(scale);
}

/// `dx = dz W` for `W: [vocab, hidden]` and `dz: [rows, vocab]`, block of the vocabulary by block.
fn input_gradient(weights: &Frozen, dz: &[f32], operands: &mut Vec<Operand>, dx: &mut [f32]) {
    let head = &weights.matrix;
    let (vocab, hidden) = (head.n(), head.k());
    let blocks: Vec<Range<usize>> = (0..head.panels())
        .step_by(BLOCK_PANELS)
        .map(|first| first..(first + BLOCK_PANELS).min(head.panels()))
        .collect();
    operands.resize_with(blocks.len(), Operand::default);
    for (block, operand) in blocks.iter().zip(operands.iter_mut()) {
        let (first, end) = (block.start * 16, (block.end * 16).min(vocab));
        fill(weights, (&dz[first..], vocab), end - first, operand);
    }
    let rows = dz.len() / vocab;
    let sums: Vec<(usize, Vec<f32>)> = head
        .column_parts()
        .into_par_iter()
        .map(|columns| {
            let first = columns.start * 16;
            let width = (columns.end * 16).min(hidden) - first;
            let (mut sum, mut part) = (vec![0f32; rows * width], vec![0f32; rows * width]);
            for (block, operand) in blocks.iter().zip(operands.iter()) {
                let start = part.as_mut_ptr().wrapping_sub(first);
                let (panels, columns) = (block.clone(), columns.clone());
                // SAFETY: only these columns are written, and `part` has `width` of them in each row.
                unsafe { head.multiply_transposed_panels(operand, panels, columns, start, width) };
                add_row(&part, &mut sum);
            }
            (first, sum)
        })
        .collect();
    for (first, sum) in sums {
        let width = sum.len() / rows;
        for (to, sum) in dx.chunks_exact_mut(hidden).zip(sum.chunks_exact(width)) {
            to[first..first + width].copy_from_slice(sum);
        }
    }
}

//! Causal attention with grouped queries, forward and backward, one task for each head of each sequence.
//!
//! Formulas: [`crate::ops::attention()`]. Queries, keys and values stand side by side in one row of a token, rotated.
//! What is kept for the backward pass is the log-sum-exp of each query's scores; probabilities are formed again, a tile
//! of queries at a time.

mod exact;
mod rounded;
mod tiles;

use std::ops::Range;

use rayon::prelude::*;

use super::Pass;
use super::columns::Columns;
use super::rows::add_row;
use crate::ops::Heads;

/// What the forward pass saw and gave, and the gradient of what it gave.
pub(super) struct Seen<'a> {
    /// `[tokens, q | k | v]`
    pub(super) qkv: &'a [f32],
    /// `[tokens, query width]`
    pub(super) out: &'a [f32],
    /// `[query heads, tokens]`
    pub(super) lse: &'a [f32],
    /// As `out`.
    pub(super) dout: &'a [f32],
}

/// One head of one sequence.
#[derive(Clone, Debug)]
struct Task {
    tokens: Range<usize>,
    head: usize,
}

/// Where a head's queries, keys and values stand in a row.
#[derive(Clone, Copy, Debug)]
struct Layout {
    heads: Heads,
}

impl Layout {
    fn width(self) -> usize {
        self.heads.query_width() + 2 * self.heads.key_value_width()
    }

    fn query(self, head: usize) -> usize {
        head * self.heads.dim
    }

    fn key(self, head: usize) -> usize {
        self.heads.query_width() + self.heads.key_value_of(head) * self.heads.dim
    }

    fn value(self, head: usize) -> usize {
        self.key(head) + self.heads.key_value_width()
    }
}

/// Gradients of the keys and values that one head read, `[tokens of the sequence, dim]` each.
struct KeyGradients {
    dk: Vec<f32>,
    dv: Vec<f32>,
}

fn tasks(pass: &Pass<'_>) -> Vec<Task> {
    let segments = pass.batch.segments().iter();
    segments
        .flat_map(|tokens| {
            (0..pass.heads.query).map(|head| Task {
                tokens: tokens.clone(),
                head,
            })
        })
        .collect()
}

/// `out: [tokens, query width]` and `lse: [query heads, tokens]` of `qkv: [tokens, q | k | v]`.
pub(super) fn forward(pass: &Pass<'_>, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
    let layout = Layout { heads: pass.heads };
    let (tokens, width) = (pass.tokens(), pass.heads.query_width());
    let (out, lse) = (Columns::new(out, width), Columns::new(lse, tokens));
    let one = if pass.weights.rounded {
        rounded::forward
    } else {
        exact::forward
    };
    tasks(pass).par_iter().for_each(|task| {
        one(layout, qkv, task, &|row, values: &[f32], row_lse| {
            let (token, dim) = (task.tokens.start + row, pass.heads.dim);
            // SAFETY: a task alone writes its head of its tokens, and each of them once.
            unsafe {
                out.part(token, task.head * dim, dim)
                    .copy_from_slice(values);
                lse.part(task.head, token, 1)[0] = row_lse;
            }
        });
    });
}

/// `d_qkv: [tokens, dq | dk | dv]`. Heads that share keys give parts of their gradients, added in order of the head: one
/// result for any number of threads.
pub(super) fn backward(pass: &Pass<'_>, seen: &Seen<'_>, d_qkv: &mut [f32]) {
    let layout = Layout { heads: pass.heads };
    let (width, dim) = (layout.width(), pass.heads.dim);
    let to = Columns::new(d_qkv, width);
    let tasks = tasks(pass);
    let one = if pass.weights.rounded {
        rounded::backward
    } else {
        exact::backward
    };
    let parts: Vec<KeyGradients> = tasks
        .par_iter()
        .map(|task| {
            one(layout, seen, task, &|row, dq: &[f32]| {
                let column = layout.query(task.head);
                // SAFETY: a task alone writes its head's queries of its tokens, and each of them once.
                let to = unsafe { to.part(task.tokens.start + row, column, dim) };
                to.copy_from_slice(dq);
            })
        })
        .collect();
    let group = pass.heads.query / pass.heads.key_value;
    tasks
        .par_chunks(group)
        .zip(parts.par_chunks(group))
        .for_each(|(tasks, parts)| {
            let (head, tokens) = (tasks[0].head, tasks[0].tokens.clone());
            for (row, token) in tokens.enumerate() {
                // SAFETY: these heads alone share these keys and values, and one task adds them all.
                let (dk, dv) = unsafe {
                    (
                        to.part(token, layout.key(head), dim),
                        to.part(token, layout.value(head), dim),
                    )
                };
                dk.fill(0.0);
                dv.fill(0.0);
                for part in parts {
                    add_row(&part.dk[row * dim..][..dim], dk);
                    add_row(&part.dv[row * dim..][..dim], dv);
                }
            }
        });
}

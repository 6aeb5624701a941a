//! Memory of a pass, kept for the next.

use cpu_gemm::{Arithmetic, Operand};

use super::pass::{Buffers, Operands, Own, Rows};
use super::weights::Weights;
use crate::buffer::grow;

/// Everything that a pass computes in; it grows and never shrinks.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    h: Vec<f32>,
    x: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    gate_up: Vec<f32>,
    activated: Vec<f32>,
    y: Vec<f32>,
    of_x: Operands,
    of_attended: Operands,
    of_activated: Operands,
    of_last: Operand,
    /// `[wanted, vocab]`
    pub(super) logits: Vec<f32>,
    /// One for each thread.
    pub(super) own: Vec<Own>,
}

/// How many rows a pass has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) rows: usize,
    /// Of these, how many are of prompts.
    pub(super) prompts: usize,
    /// Rows whose logits are wanted.
    pub(super) wanted: usize,
}

impl Scratch {
    /// Makes everything large enough and gives the buffers of a pass, borrowed from here.
    pub(super) fn buffers(&mut self, weights: &Weights, extent: Extent) -> Buffers<'_> {
        let Extent {
            rows,
            prompts,
            wanted,
        } = extent;
        let config = &weights.config;
        let block = &weights.layers[0];
        let operands = [
            (&mut self.of_x, &block.qkv),
            (&mut self.of_attended, &block.o),
            (&mut self.of_activated, &block.down),
        ];
        for (operand, weight) in operands {
            let (k, kind) = (weight.k(), |a| weight.operand_kind(a));
            operand.prompts.shape(kind(Arithmetic::Float), prompts, k);
            let answers = kind(Arithmetic::Integer);
            operand.answers.shape(answers, rows - prompts, k);
        }
        // One arithmetic for all rows: whether a prompt's last token or an answer's asks does not matter here.
        let head = weights.lm_head();
        let kind = head.operand_kind(Arithmetic::Integer);
        self.of_last.shape(kind, wanted, config.hidden_size);
        self.logits.resize(wanted * config.vocab_size, 0.0);

        let (hidden, query) = (config.hidden_size, config.query_width());
        let ffn = config.intermediate_size;
        let of = |floats, width| rows_of(floats, rows, width);
        Buffers {
            h: of(&mut self.h, hidden),
            x: of(&mut self.x, hidden),
            qkv: of(&mut self.qkv, query + 2 * config.key_value_width()),
            attended: of(&mut self.attended, query),
            gate_up: of(&mut self.gate_up, 2 * ffn),
            activated: of(&mut self.activated, ffn),
            y: of(&mut self.y, hidden),
            of_x: &self.of_x,
            of_attended: &self.of_attended,
            of_activated: &self.of_activated,
            of_last: &self.of_last,
            logits: self.logits.as_mut_ptr(),
            own: self.own.as_mut_ptr(),
        }
    }
}

fn rows_of(floats: &mut Vec<f32>, rows: usize, width: usize) -> Rows {
    let start = grow(floats, rows * width).as_mut_ptr();
    Rows { start, width }
}

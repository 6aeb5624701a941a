//! What a run holds at once, by what it is for.

use loader::Card;
use lora::{Load, Optim};
use serde::Serialize;
use smollm_model::{Checkpointing, SiteShape, TrainingMemory};

use super::{Planning, sites};
use crate::device::{Device, Resident};

/// The program, the tokenizer and what the threads need.
const PROGRAM: usize = 40_000_000;

/// Bytes, by what they are for.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MemoryPlan {
    /// Weights, packed.
    pub weights: usize,
    /// What the largest batch leaves behind for its backward pass, and buffers.
    pub activations: usize,
    /// Logits of a chunk of supervised tokens.
    pub logits: usize,
    /// The adapter with gradients and what the optimiser remembers, and their average.
    pub adapter: usize,
    /// The model that generates answers, with its keys and values.
    pub generation: usize,
    /// Program, tokenizer, rows, and what reading the weights leaves behind.
    pub program: usize,
    /// All of it.
    pub total: usize,
    /// All of it with `--checkpointing none`.
    pub total_without_checkpointing: usize,
    /// All of it with `--checkpointing block`.
    pub total_with_checkpointing: usize,
}

impl Planning<'_> {
    /// Everything that a run holds at once where it computes.
    pub(super) fn memory(&self, largest: Load, how: Checkpointing) -> MemoryPlan {
        match self.device {
            Device::Cpu => self.on_cpu(largest, how),
            Device::Card(card) => self.on_card(card, largest, how),
        }
    }

    /// In a GPU's memory: the optimiser, the model that answers and all else stay in the machine's.
    fn on_card(&self, card: Card, largest: Load, how: Checkpointing) -> MemoryPlan {
        let sites = sites(self.start);
        let model = self.opened.config();
        let of = |how| {
            let batch = (largest.shape(), sites.as_slice());
            Resident::memory(card, model, (self.args.dtype, how), batch)
        };
        let parts = of(how);
        MemoryPlan {
            weights: parts.weights,
            activations: parts.activations,
            logits: parts.logits,
            adapter: parts.adapter,
            generation: 0,
            program: 0,
            total: parts.total(),
            total_without_checkpointing: of(Checkpointing::None).total(),
            total_with_checkpointing: of(Checkpointing::Block).total(),
        }
    }

    /// In the machine's memory, beside a GPU's.
    pub(super) fn host_memory(&self) -> Option<usize> {
        let Device::Card(_) = self.device else {
            return None;
        };
        let sites = sites(self.start);
        // The adapter and its gradients as candle and as the passes have them.
        let copies = 5 * size_of::<f32>() * self.start.parameters();
        let learning = copies + self.remembered(self.config.optim) + self.further_copies();
        let answers = self.questions.map_or(0, |q| q.memory(self.opened));
        Some(learning.max(self.decomposing(&sites)) + self.program() + answers)
    }

    fn on_cpu(&self, largest: Load, how: Checkpointing) -> MemoryPlan {
        let sites = sites(self.start);
        let total = |how| self.cost(how, &sites).memory(largest.shape());
        let program = self.program();
        let generation = self.questions.map_or(0, |q| q.memory(self.opened));
        // The cost is that of a run with AdamW.
        let (two, mut own) = (
            self.remembered(Optim::default()),
            self.remembered(self.config.optim),
        );
        own += self.further_copies();
        let adapter = |parts: &TrainingMemory| parts.adapter - two + own;
        let decomposing = self.decomposing(&sites);
        let whole = |how| {
            let parts = total(how);
            let learning = parts.total() - parts.adapter + adapter(&parts);
            learning.max(decomposing) + program + generation
        };
        let parts = total(how);
        MemoryPlan {
            weights: parts.weights,
            activations: parts.activations,
            logits: parts.logits,
            adapter: adapter(&parts),
            generation,
            program,
            total: whole(how),
            total_without_checkpointing: whole(Checkpointing::None),
            total_with_checkpointing: whole(Checkpointing::Block),
        }
    }

    /// Bytes of program, tokenizer and rows.
    fn program(&self) -> usize {
        let rows = self.rows.iter().chain(self.eval_rows);
        let rows: usize = rows
            .map(|row| 4 * row.ids.len() + 8 * row.labels.len())
            .sum();
        // What reading the weights leaves in the allocator: about the largest of them, in f32 (measured).
        let model = self.opened.config();
        PROGRAM + rows + size_of::<f32>() * model.vocab_size * model.hidden_size
    }

    /// Bytes of the average, and of the factors that were taken out of the base: they are kept beside what learns.
    fn further_copies(&self) -> usize {
        let copies = [
            self.config.ema_decay.is_some(),
            self.args.init_lora_weights.changes_base(),
        ];
        let copies = copies.into_iter().filter(|is| *is).count();
        size_of::<f32>() * self.start.parameters() * copies
    }

    /// Bytes of the weights that are decomposed at once, before the base is loaded: each in f32, and in f64 with its
    /// factors, copies of these, and room to work.
    fn decomposing(&self, sites: &[SiteShape]) -> usize {
        if !self.args.init_lora_weights.changes_base() {
            return 0;
        }
        let of = |site: &SiteShape| {
            let (out, inputs) = site.site.dims(self.opened.config());
            out * inputs
        };
        let largest = sites.iter().map(of).max().unwrap_or(0);
        let at_once = rayon::current_num_threads().min(sites.len());
        at_once * largest * (size_of::<f32>() + 6 * size_of::<f64>())
    }

    /// Bytes of what an optimiser remembers of the adapter.
    fn remembered(&self, optim: Optim) -> usize {
        let tensors = self.start.tensors();
        let counts = tensors.values().map(|t| optim.remembered(t.dims()));
        size_of::<f32>() * counts.sum::<usize>()
    }
}

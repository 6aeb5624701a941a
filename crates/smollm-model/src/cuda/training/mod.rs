//! Training adapters on a device: the passes of [`crate::TrainingLlama`] with this crate's kernels.
//!
//! Weights and activations are of one element type (f32 or bf16), sums and everything of an adapter f32. The residual
//! stream is added up inside the norm that reads it next, and rounded to the element type there. A block keeps its input,
//! rotated queries, keys and values, attention's output and log-sum-exp, the middle of the stream, gate and up, and the
//! `U` of its adapters; with [`Checkpointing::Block`] only the input.
//!
//! A call copies token ids and adapters to the device, starts the kernels one after the other, and waits once, for losses
//! and gradients. Every sum has one order: the same batch gives the same bits.

mod adapters;
mod backward;
mod forward;
mod loss;
mod pass;
mod plan;

use std::fmt;

use super::room::Room;
use super::weights::Weights;
use super::{Element, Machine, Memory, check_model, rope_table};
use crate::training::{TrainingBatch, check_gradients};
use crate::{
    BatchShape, Checkpoint, Checkpointing, ModelConfig, ModelError, SiteGradients, SiteShape,
    TrainingMemory, TrainingModel, TrainingSite,
};
use adapters::Adapters;
use forward::{Forward, Saved};
use loss::Loss;
use pass::{Inputs, Pass};

/// A model on a device, for training adapters.
///
/// Its results are those of [`crate::TrainingLlama`] to rounding, dropout's masks included.
pub struct DeviceTrainingLlama<'m> {
    machine: &'m dyn Machine,
    config: ModelConfig,
    element: Element,
    checkpointing: Checkpointing,
    weights: Weights<'m>,
    /// Cosines and sines of all positions.
    rope: Memory<'m>,
    buffers: Buffers<'m>,
}

/// Memory of a call, kept for the next.
struct Buffers<'m> {
    inputs: Inputs<'m>,
    /// The input of each block, `[tokens, hidden]`.
    blocks: Vec<Room<'m>>,
    /// What is kept of each block; one for all where blocks are run again.
    saved: Vec<Saved<'m>>,
    forward: Forward<'m>,
    backward: backward::Backward<'m>,
    loss: Loss<'m>,
    adapters: Adapters<'m>,
}

impl<'m> DeviceTrainingLlama<'m> {
    /// Copies a checkpoint's weights to `machine`.
    ///
    /// # Errors
    /// If the kernels do not fit the model (heads of other than 64 features, an f16 `element`), a tensor cannot be read, or
    /// the device has not enough memory.
    pub fn load(
        machine: &'m dyn Machine,
        ck: &Checkpoint,
        element: Element,
        checkpointing: Checkpointing,
    ) -> Result<Self, ModelError> {
        let config = ck.config().clone();
        if element == Element::F16 {
            return Err(ModelError::Argument {
                what: "the element type",
                found: "F16".into(),
                expected: "F32 or BF16: gradients are too small for f16".into(),
            });
        }
        check_model(&config, element)?;
        let positions = config.max_position_embeddings as u32;
        let table = rope_table(positions, config.head_dim, config.rope_theta);
        let layers = config.num_hidden_layers;
        Ok(Self {
            machine,
            element,
            checkpointing,
            weights: Weights::load(machine, ck, element)?,
            rope: Memory::of(machine, &Element::F32.encode(&table))?,
            buffers: Buffers::new(machine, layers),
            config,
        })
    }

    /// Bytes that a batch takes on the device, from sizes alone; the driver's own are not in it.
    pub fn memory(
        config: &ModelConfig,
        element: Element,
        checkpointing: Checkpointing,
        (batch, sites): (BatchShape, &[SiteShape]),
    ) -> TrainingMemory {
        let plan = plan::MemoryPlan {
            config,
            element,
            checkpointing,
            sites,
        };
        plan.memory(batch)
    }

    /// Bytes that are held on the device now.
    pub fn held(&self) -> usize {
        let weights = Weights::bytes(&self.config, self.element);
        weights + self.rope.bytes() + self.buffers.bytes()
    }

    fn run(
        &mut self,
        batch: TrainingBatch<'_>,
        sites: &[TrainingSite<'_>],
        train: Option<(u64, f32, &mut [SiteGradients])>,
    ) -> Result<f64, ModelError> {
        batch.check(&self.config)?;
        let seed = train.as_ref().map(|(seed, _, _)| *seed);
        let Buffers {
            inputs, adapters, ..
        } = &mut self.buffers;
        let tokens = batch.sequences.tokens();
        let placed = adapters.place(&self.config, sites, (tokens, seed), self.checkpointing)?;
        let lowest = placed.lowest.filter(|_| train.is_some());
        let pass = Pass {
            machine: self.machine,
            config: &self.config,
            element: self.element,
            checkpointing: self.checkpointing,
            weights: &self.weights,
            rope: self.rope.address(),
            batch: inputs.copy(batch, &self.config, self.element)?,
            sites: placed,
            keep: lowest.is_some(),
        };
        self.buffers.forward(&pass)?;
        let factor = train.as_ref().map(|(_, factor, _)| *factor);
        let dh = self.buffers.loss(&pass, factor.filter(|_| pass.keep))?;
        if let (Some(dh), Some(lowest), Some((_, _, gradients))) = (dh, lowest, train) {
            self.buffers.adapters.clear(&pass.sites)?;
            self.buffers.backward(&pass, dh, lowest)?;
            self.buffers.adapters.collect(&pass.sites, gradients)?;
        }
        Ok(self.buffers.loss.total(batch.rows.len())?)
    }
}

impl<'m> Buffers<'m> {
    fn new(machine: &'m dyn Machine, layers: usize) -> Self {
        let room = || Room::new(machine);
        Self {
            inputs: Inputs::new(machine),
            blocks: (0..layers).map(|_| room()).collect(),
            saved: (0..layers).map(|_| Saved::new(machine)).collect(),
            forward: Forward::new(machine),
            backward: backward::Backward::new(machine),
            loss: Loss::new(machine),
            adapters: Adapters::new(machine),
        }
    }

    fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(Room::bytes).sum();
        let saved: usize = self.saved.iter().map(Saved::bytes).sum();
        let shared = self.forward.bytes() + self.backward.bytes() + self.loss.bytes();
        self.inputs.bytes() + blocks + saved + shared + self.adapters.bytes()
    }
}

impl TrainingModel for DeviceTrainingLlama<'_> {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn checkpointing(&self) -> Checkpointing {
        self.checkpointing
    }

    fn nll(
        &mut self,
        batch: TrainingBatch<'_>,
        sites: &[TrainingSite<'_>],
    ) -> Result<f64, ModelError> {
        self.run(batch, sites, None)
    }

    fn gradients(
        &mut self,
        batch: TrainingBatch<'_>,
        sites: &[TrainingSite<'_>],
        dropout_seed: u64,
        factor: f32,
        gradients: &mut [SiteGradients],
    ) -> Result<f64, ModelError> {
        check_gradients(sites, gradients)?;
        self.run(batch, sites, Some((dropout_seed, factor, gradients)))
    }
}

impl fmt::Debug for DeviceTrainingLlama<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceTrainingLlama")
            .field("machine", &self.machine.name())
            .field("element", &self.element)
            .field("checkpointing", &self.checkpointing)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

//! A model in a GPU's memory.

use loader::Card;
use lora::Engine;
use smollm_model::cuda::{DeviceTrainingLlama, Element};
use smollm_model::{
    BatchShape, Checkpoint, Checkpointing, ModelConfig, ModelError, SiteShape, TrainingMemory,
    TrainingModel,
};
use stage::StageError;

use crate::choices::Precision;

/// What the driver rounds an allocation up to.
const GRAIN: usize = 2 << 20;

/// Allocations of a model beside those of its blocks, and of each block: weights, and what passes keep.
const ALLOCATIONS: (usize, usize) = (40, 14);

/// A model in a GPU's memory.
pub(crate) struct Resident(Box<DeviceTrainingLlama<'static>>);

impl Resident {
    /// Copies the weights to the GPU's memory.
    ///
    /// # Errors
    /// Exit code 3 if a weight cannot be read, 1 if there is not enough memory.
    pub(crate) fn load(
        card: Card,
        checkpoint: &Checkpoint,
        (dtype, checkpointing): (Precision, Checkpointing),
    ) -> Result<Self, StageError> {
        let element = element(dtype);
        DeviceTrainingLlama::load(card.machine(), checkpoint, element, checkpointing)
            .map(|model| Self(Box::new(model)))
            .map_err(|error| match error {
                ModelError::Kernel(_) => StageError::failed(error),
                _ => StageError::bad_data(error),
            })
    }

    /// Bytes of a GPU's memory that a batch takes, what rounding up adds included.
    pub(crate) fn memory(
        _: Card,
        model: &ModelConfig,
        (dtype, checkpointing): (Precision, Checkpointing),
        batch: (BatchShape, &[SiteShape]),
    ) -> TrainingMemory {
        let exact = DeviceTrainingLlama::memory(model, element(dtype), checkpointing, batch);
        let (model_wide, of_block) = ALLOCATIONS;
        // Half a grain each.
        let rounding = (model_wide + of_block * model.num_hidden_layers) * GRAIN / 2;
        TrainingMemory {
            activations: exact.activations + rounding,
            ..exact
        }
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        self.0.config()
    }

    pub(crate) fn checkpointing(&self) -> Checkpointing {
        self.0.checkpointing()
    }

    /// Bytes of the GPU's memory that it has taken: buffers grow and stay, so after a run this was the most.
    pub(crate) fn held(&self) -> u64 {
        self.0.held() as u64
    }

    pub(crate) fn engine(&mut self) -> Engine<'_> {
        Engine::Packed(&mut *self.0)
    }
}

fn element(dtype: Precision) -> Element {
    match dtype {
        Precision::F32 => Element::F32,
        Precision::Bf16 => Element::Bf16,
    }
}

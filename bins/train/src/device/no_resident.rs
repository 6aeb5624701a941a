//! A model in a GPU's memory, in a build that knows no GPUs: the type of `resident.rs`, of which there is no value.

use loader::Card;
use lora::Engine;
use smollm_model::{BatchShape, Checkpoint, Checkpointing, ModelConfig, SiteShape, TrainingMemory};
use stage::StageError;

use crate::choices::Precision;

/// A model in a GPU's memory.
pub(crate) enum Resident {}

impl Resident {
    pub(crate) fn load(
        card: Card,
        _: &Checkpoint,
        _: (Precision, Checkpointing),
    ) -> Result<Self, StageError> {
        match card {}
    }

    pub(crate) fn memory(
        card: Card,
        _: &ModelConfig,
        _: (Precision, Checkpointing),
        _: (BatchShape, &[SiteShape]),
    ) -> TrainingMemory {
        match card {}
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        match *self {}
    }

    pub(crate) fn checkpointing(&self) -> Checkpointing {
        match *self {}
    }

    pub(crate) fn held(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn engine(&mut self) -> Engine<'_> {
        match *self {}
    }
}

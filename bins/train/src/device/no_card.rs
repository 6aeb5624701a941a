//! GPUs in a build that knows none: the types of `card.rs`, of which there are no values.

#![allow(
    clippy::unnecessary_wraps,
    reason = "where there are GPUs, there are failures"
)]

use lora::Engine;
use smollm_model::{BatchShape, Checkpoint, Checkpointing, ModelConfig, SiteShape, TrainingMemory};
use stage::StageError;

use crate::choices::Precision;

/// A GPU.
#[derive(Clone, Copy)]
pub(crate) enum Card {}

/// A model in a GPU's memory.
pub(crate) enum Resident {}

impl Card {
    pub(crate) const BUILT: bool = false;

    pub(crate) fn missing() -> Option<&'static str> {
        Some("this build knows no GPUs")
    }

    pub(crate) fn open(_: usize) -> Result<Self, String> {
        Err("this build knows no GPUs".to_owned())
    }

    pub(crate) fn fits(_: &ModelConfig, _: Precision) -> Result<(), String> {
        Ok(())
    }

    pub(crate) fn number(self) -> usize {
        match self {}
    }

    pub(crate) fn name(self) -> String {
        match self {}
    }

    pub(crate) fn free(self) -> Option<u64> {
        match self {}
    }

    pub(crate) fn memory(
        self,
        _: &ModelConfig,
        _: (Precision, Checkpointing),
        _: (BatchShape, &[SiteShape]),
    ) -> TrainingMemory {
        match self {}
    }

    pub(crate) fn load(
        self,
        _: &Checkpoint,
        _: (Precision, Checkpointing),
    ) -> Result<Resident, StageError> {
        match self {}
    }
}

impl Resident {
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

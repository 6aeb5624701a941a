//! The model that is trained on: packed, or differentiable.

use loader::Opened;
use lora::{Adapter, Engine, LoraError, Trainable};
use smollm_model::{Checkpointing, Llama, TrainingLlama};
use stage::StageError;

use crate::args::Args;
use crate::choices::EngineArg;
use crate::{load_error, plan};

/// What [`lora::train`] runs on.
pub(crate) enum Model {
    Packed(Box<TrainingLlama>),
    Autograd(Box<Llama>),
}

impl Model {
    /// Reads the weights; what is kept for the backward pass is the packed model's affair.
    pub(crate) fn load(
        args: &Args,
        checkpointing: Checkpointing,
        opened: Opened,
    ) -> Result<Self, StageError> {
        let model = match args.engine {
            EngineArg::Autograd => opened
                .load(args.dtype.dtype())
                .map(|loaded| Self::Autograd(Box::new(loaded.model))),
            EngineArg::Packed => {
                let options = plan::options(args, checkpointing);
                let model = opened.load_for_training(options);
                model.map(|model| Self::Packed(Box::new(model)))
            }
        };
        model.map_err(load_error)
    }

    /// The variables that training starts from.
    pub(crate) fn attach(&mut self, start: &Adapter) -> Result<Trainable, LoraError> {
        match self {
            Self::Packed(model) => Trainable::beside(start, model.config()),
            Self::Autograd(model) => Trainable::attach(start, model),
        }
    }

    pub(crate) fn engine(&mut self) -> Engine<'_> {
        match self {
            Self::Packed(model) => Engine::Packed(model),
            Self::Autograd(model) => Engine::Autograd(model),
        }
    }
}

//! The model that is trained on: packed, or differentiable.

use loader::Opened;
use lora::{Adapter, Engine, LoraError, Trainable};
use serde_json::Value;
use smollm_model::{Checkpointing, Llama, TrainingLlama};
use stage::StageError;

use crate::args::Args;
use crate::choices::{EngineArg, Precision, QuantizeArg};
use crate::device::{Device, Resident};
use crate::machine::held;
use crate::{plan, say};

/// A base model that stays loaded from one run to the next, for as long as it is the one that is asked for.
///
/// Training leaves a base as it was, so the runs have the bytes of runs that loaded it each for itself.
#[derive(Default)]
pub struct Base(Option<(Loaded, Model)>);

/// What a base that is loaded was loaded from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loaded {
    dtype: Precision,
    quantize: Option<QuantizeArg>,
    engine: EngineArg,
    /// A GPU's number.
    place: Option<usize>,
    model: Option<String>,
    /// SHA-256 of the model's files.
    files: Value,
    /// Nothing was taken out of it.
    whole: bool,
}

impl Loaded {
    /// What a run asks for; `files` are the hashes by which it is known again.
    pub(crate) fn new(args: &Args, device: Device, model: Option<String>, files: Value) -> Self {
        Self {
            model,
            place: device.place(),
            dtype: args.dtype,
            quantize: args.quantize,
            engine: args.engine,
            files,
            whole: !args.init_lora_weights.changes_base(),
        }
    }

    /// Whether the one does for the other.
    fn serves(&self, wanted: &Self) -> bool {
        self.whole && self == wanted
    }
}

impl Base {
    /// Whether a base like that is there.
    pub(crate) fn has(&self, wanted: &Loaded) -> bool {
        self.0.as_ref().is_some_and(|(held, _)| held.serves(wanted))
    }

    /// Bytes that the base has taken where it is and a run on it uses again, weights and buffers; 0 where it is another one.
    pub(crate) fn held(&self, wanted: &Loaded) -> u64 {
        let serving = self.0.as_ref().filter(|(held, _)| held.serves(wanted));
        serving.map_or(0, |(_, model)| match model {
            Model::Resident(model) => model.held(),
            // The program itself is in it, too.
            Model::Packed(_) | Model::Autograd(_) => held().map_or(0, |held| held.0),
        })
    }

    /// The base that is asked for: the one that is there, or another one in its place.
    pub(crate) fn take(
        &mut self,
        wanted: &Loaded,
        (args, device): (&Args, Device),
        checkpointing: Checkpointing,
        opened: Opened,
    ) -> Result<&mut Model, StageError> {
        let fits = |(held, model): &(Loaded, Model)| {
            held.serves(wanted) && model.checkpointing().is_none_or(|it| it == checkpointing)
        };
        let model = match self.0.take().filter(fits) {
            Some((_, model)) => {
                say("the base model is loaded already");
                model
            }
            None => Model::load(args, device, checkpointing, opened)?,
        };
        Ok(&mut self.0.insert((wanted.clone(), model)).1)
    }
}

/// What [`lora::train`] runs on.
pub(crate) enum Model {
    Packed(Box<TrainingLlama>),
    Resident(Resident),
    Autograd(Box<Llama>),
}

impl Model {
    /// Reads the weights; what is kept for the backward pass is the packed model's affair.
    pub(crate) fn load(
        args: &Args,
        device: Device,
        checkpointing: Checkpointing,
        opened: Opened,
    ) -> Result<Self, StageError> {
        if let Device::Card(card) = device {
            let how = (args.dtype, checkpointing);
            return Resident::load(card, opened.checkpoint(), how).map(Self::Resident);
        }
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
        model.map_err(StageError::from)
    }

    /// The variables that training starts from.
    pub(crate) fn attach(&mut self, start: &Adapter) -> Result<Trainable, LoraError> {
        match self {
            Self::Packed(model) => Trainable::beside(start, model.config()),
            Self::Resident(model) => Trainable::beside(start, model.config()),
            Self::Autograd(model) => Trainable::attach(start, model),
        }
    }

    /// What it keeps for the backward pass, where that is decided when it is loaded.
    fn checkpointing(&self) -> Option<Checkpointing> {
        match self {
            Self::Packed(model) => Some(model.checkpointing()),
            Self::Resident(model) => Some(model.checkpointing()),
            Self::Autograd(_) => None,
        }
    }

    /// Bytes of a GPU's memory that it has taken, if it is on one; after a run, the most that the run took.
    pub(crate) fn device_memory(&self) -> Option<u64> {
        match self {
            Self::Resident(model) => Some(model.held()),
            Self::Packed(_) | Self::Autograd(_) => None,
        }
    }

    pub(crate) fn engine(&mut self) -> Engine<'_> {
        match self {
            Self::Packed(model) => Engine::Packed(&mut **model),
            Self::Resident(model) => model.engine(),
            Self::Autograd(model) => Engine::Autograd(model),
        }
    }
}

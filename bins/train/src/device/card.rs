//! A GPU, and a model in its memory.

use lora::Engine;
use smollm_model::cuda::{DeviceTrainingLlama, Element, Machine};
use smollm_model::{
    BatchShape, Checkpoint, Checkpointing, ModelConfig, ModelError, SiteShape, TrainingMemory,
    TrainingModel,
};
use stage::StageError;

use crate::choices::Precision;

#[cfg(feature = "cuda")]
#[path = "gpu.rs"]
mod machine;
#[cfg(not(feature = "cuda"))]
#[path = "shim.rs"]
mod machine;

/// Features of a head that the attention kernels take.
const HEAD_DIM: usize = 64;

/// What the driver rounds an allocation up to.
const GRAIN: usize = 2 << 20;

/// Allocations of a model beside those of its blocks, and of each block: weights, and what passes keep.
const ALLOCATIONS: (usize, usize) = (40, 14);

/// A GPU. One is opened once and stays open for the process: models in its memory borrow it.
#[derive(Clone, Copy)]
pub(crate) struct Card {
    number: usize,
    machine: &'static machine::Machine,
}

/// A model in a GPU's memory.
pub(crate) struct Resident(Box<DeviceTrainingLlama<'static>>);

impl Card {
    /// Whether this build knows GPUs.
    pub(crate) const BUILT: bool = true;

    /// Why there is no GPU, if there is none.
    pub(crate) fn missing() -> Option<&'static str> {
        (!machine::is_present())
            .then_some("no NVIDIA driver, or it sees no GPU (nvidia-smi should list one)")
    }

    /// GPU `number`.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn open(number: usize) -> Result<Self, String> {
        if let Some(reason) = Self::missing() {
            return Err(reason.to_owned());
        }
        let machine = machine::open(number).map_err(|error| error.to_string())?;
        Ok(Self { number, machine })
    }

    /// Whether the kernels can compute the model.
    ///
    /// # Errors
    /// What is in the way.
    pub(crate) fn fits(model: &ModelConfig, dtype: Precision) -> Result<(), String> {
        if model.head_dim != HEAD_DIM {
            let found = model.head_dim;
            return Err(format!(
                "the model's heads have {found} features, the kernels take {HEAD_DIM}"
            ));
        }
        let pack = element(dtype).pack() as usize;
        let widths = [
            ("hidden_size", model.hidden_size),
            ("intermediate_size", model.intermediate_size),
        ];
        let odd = widths.into_iter().find(|(_, width)| width % pack != 0);
        odd.map_or(Ok(()), |(what, width)| {
            Err(format!(
                "the model's {what} is {width}, the kernels take multiples of {pack}"
            ))
        })
    }

    /// As the driver counts.
    pub(crate) fn number(self) -> usize {
        self.number
    }

    /// As the driver calls it.
    pub(crate) fn name(self) -> String {
        self.machine.name()
    }

    /// Bytes of its memory that nobody has taken; `None` where it does not say.
    pub(crate) fn free(self) -> Option<u64> {
        machine::free(self.machine)
    }

    /// Bytes of its memory that a batch takes, what rounding up adds included.
    pub(crate) fn memory(
        self,
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

    /// Copies the weights to its memory.
    ///
    /// # Errors
    /// Exit code 3 if a weight cannot be read, 1 if there is not enough memory.
    pub(crate) fn load(
        self,
        checkpoint: &Checkpoint,
        (dtype, checkpointing): (Precision, Checkpointing),
    ) -> Result<Resident, StageError> {
        DeviceTrainingLlama::load(self.machine, checkpoint, element(dtype), checkpointing)
            .map(|model| Resident(Box::new(model)))
            .map_err(|error| match error {
                ModelError::Kernel(_) => StageError::failed(error),
                _ => StageError::bad_data(error),
            })
    }
}

impl Resident {
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

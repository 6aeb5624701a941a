//! A GPU that is open.

use std::fmt;

use smollm_model::cuda::Machine;

#[cfg(feature = "cuda")]
#[path = "gpu.rs"]
mod machine;
#[cfg(not(feature = "cuda"))]
#[path = "shim.rs"]
mod machine;

/// A GPU. One is opened once and stays open for the process: models in its memory borrow it.
#[derive(Clone, Copy)]
pub struct Card {
    number: usize,
    machine: &'static machine::Kind,
}

impl Card {
    /// Whether this build knows GPUs.
    pub const BUILT: bool = true;

    /// Why there is no GPU, if there is none.
    pub fn missing() -> Option<&'static str> {
        (!machine::is_present())
            .then_some("no NVIDIA driver, or it sees no GPU (nvidia-smi should list one)")
    }

    /// GPU `number`.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(number: usize) -> Result<Self, String> {
        if let Some(reason) = Self::missing() {
            return Err(reason.to_owned());
        }
        let machine = machine::open(number).map_err(|error| error.to_string())?;
        Ok(Self { number, machine })
    }

    /// As the driver counts.
    pub fn number(self) -> usize {
        self.number
    }

    /// As the driver calls it.
    pub fn name(self) -> String {
        self.machine.name()
    }

    /// Bytes of its memory that nobody has taken; `None` where it does not say.
    pub fn free(self) -> Option<u64> {
        machine::free(self.machine)
    }

    /// What runs kernels.
    pub fn machine(self) -> &'static dyn Machine {
        self.machine
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card")
            .field("number", &self.number)
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

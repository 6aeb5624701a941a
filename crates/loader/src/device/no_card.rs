//! GPUs in a build that knows none: the type of `card.rs`, of which there is no value.

/// A GPU.
#[derive(Clone, Copy, Debug)]
pub enum Card {}

impl Card {
    /// Whether this build knows GPUs.
    pub const BUILT: bool = false;

    /// Why there is no GPU.
    pub fn missing() -> Option<&'static str> {
        Some("this build knows no GPUs")
    }

    /// GPU `number`.
    ///
    /// # Errors
    /// Always.
    pub fn open(_: usize) -> Result<Self, String> {
        Err("this build knows no GPUs".to_owned())
    }

    /// As the driver counts.
    pub fn number(self) -> usize {
        match self {}
    }

    /// As the driver calls it.
    pub fn name(self) -> String {
        match self {}
    }

    /// Bytes of its memory that nobody has taken.
    pub fn free(self) -> Option<u64> {
        match self {}
    }
}

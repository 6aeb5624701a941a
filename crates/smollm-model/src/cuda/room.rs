//! Memory that is kept from call to call.

use super::{KernelError, Machine, Memory};

/// Memory of a [`Machine`] that grows when more is asked for. What it held is lost then.
pub(super) struct Room<'m> {
    machine: &'m dyn Machine,
    memory: Option<Memory<'m>>,
}

impl<'m> Room<'m> {
    pub(super) fn new(machine: &'m dyn Machine) -> Self {
        Self {
            machine,
            memory: None,
        }
    }

    /// Where at least `bytes` begin.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub(super) fn of(&mut self, bytes: usize) -> Result<u64, KernelError> {
        let enough = |memory: &&Memory<'m>| memory.bytes() >= bytes.max(1);
        if let Some(memory) = self.memory.as_ref().filter(enough) {
            return Ok(memory.address());
        }
        // The old memory goes first: both together may be too much.
        self.memory = None;
        Ok(self
            .memory
            .insert(Memory::new(self.machine, bytes.max(1))?)
            .address())
    }

    /// A copy of `data`.
    ///
    /// # Errors
    /// If there is not enough memory or the copy fails.
    pub(super) fn copy(&mut self, data: &[u8]) -> Result<u64, KernelError> {
        let address = self.of(data.len())?;
        // SAFETY: at least as many bytes begin there.
        unsafe { self.machine.write(address, data)? };
        Ok(address)
    }

    /// The first `bytes` of what was last asked for, after all launches before this call.
    ///
    /// # Errors
    /// If the copy fails or a launch failed.
    pub(super) fn read(&self, bytes: usize) -> Result<Vec<u8>, KernelError> {
        let Some(memory) = &self.memory else {
            return Ok(Vec::new());
        };
        let mut data = vec![0u8; bytes.min(memory.bytes())];
        // SAFETY: no more bytes are read than the allocation has.
        unsafe { self.machine.read(memory.address(), &mut data)? };
        Ok(data)
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> usize {
        self.memory.as_ref().map_or(0, Memory::bytes)
    }
}

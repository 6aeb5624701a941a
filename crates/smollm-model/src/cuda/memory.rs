//! An allocation that frees itself.

use super::{KernelError, Machine};

/// Memory of a [`Machine`], given back when dropped.
pub struct Memory<'m> {
    machine: &'m dyn Machine,
    address: u64,
    bytes: usize,
}

impl<'m> Memory<'m> {
    /// `bytes` whose every float is NaN.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn new(machine: &'m dyn Machine, bytes: usize) -> Result<Self, KernelError> {
        let address = machine.allocate(bytes)?;
        Ok(Self {
            machine,
            address,
            bytes,
        })
    }

    /// A copy of `data`.
    ///
    /// # Errors
    /// If there is not enough memory or the copy fails.
    pub fn of(machine: &'m dyn Machine, data: &[u8]) -> Result<Self, KernelError> {
        let memory = Self::new(machine, data.len())?;
        // SAFETY: the allocation is as long as the data.
        unsafe { machine.write(memory.address, data)? };
        Ok(memory)
    }

    /// Where it begins, for a kernel's arguments.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its contents, after all launches before this call.
    ///
    /// # Errors
    /// If the copy fails or a launch failed.
    pub fn read(&self) -> Result<Vec<u8>, KernelError> {
        let mut data = vec![0u8; self.bytes];
        // SAFETY: the buffer is as long as the allocation.
        unsafe { self.machine.read(self.address, &mut data)? };
        Ok(data)
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, owned by this value alone; a GPU frees after the launches
        // before it.
        unsafe { self.machine.free(self.address, self.bytes) };
    }
}

//! NVIDIA GPUs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use smollm_model::cuda::{Gpu, KernelError};

pub(super) type Kind = Gpu;

/// Those that are open.
static OPEN: Mutex<BTreeMap<usize, &'static Gpu>> = Mutex::new(BTreeMap::new());

pub(super) fn is_present() -> bool {
    Gpu::is_present()
}

/// GPU `number`, opened when it is first asked for.
pub(super) fn open(number: usize) -> Result<&'static Gpu, KernelError> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gpu) = open.get(&number) {
        return Ok(gpu);
    }
    // For the rest of the process: there are few GPUs, and each is opened once.
    let gpu: &'static Gpu = Box::leak(Box::new(Gpu::new(number)?));
    open.insert(number, gpu);
    Ok(gpu)
}

pub(super) fn free(gpu: &Gpu) -> Option<u64> {
    gpu.memory().ok().map(|(free, _)| free as u64)
}

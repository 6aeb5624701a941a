//! A thread's own memory for panels that are dequantised on the way.

use std::cell::RefCell;

use crate::memory::Memory;

thread_local! {
    static SCRATCH: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

/// Runs `work` with at least `bytes` bytes, aligned to 64, of undefined contents. Nested calls get
/// memory of their own.
///
/// # Panics
/// If the system has no memory left.
pub(crate) fn with<T>(bytes: usize, work: impl FnOnce(*mut u8) -> T) -> T {
    let kept = SCRATCH.with(|s| s.borrow_mut().take());
    let memory = kept
        .filter(|m| m.len() >= bytes)
        .or_else(|| Memory::new(bytes));
    let Some(memory) = memory else {
        panic!("no memory for {bytes} bytes of dequantised panels");
    };
    let result = work(memory.as_ptr());
    SCRATCH.with(|s| *s.borrow_mut() = Some(memory));
    result
}

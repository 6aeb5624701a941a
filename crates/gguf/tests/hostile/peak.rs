//! How much memory a piece of work has at most, measured by counting what it asks for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// No test here needs this much: a reader that asks for it is stopped before the machine is.
const LIMIT: usize = 1 << 30;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static TURN: Mutex<()> = Mutex::new(());

#[global_allocator]
static COUNTING: Counting = Counting;

/// The system's allocator, with a count of the bytes that are out.
struct Counting;

// SAFETY: every call goes to `System` with the arguments that came, or gives null, which stands for
// memory that is not to be had; the counters hold no memory.
#[allow(unsafe_code, reason = "there is no other way to count")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract; `at` came from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the same there.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may exist at once, and are counted so.
        if !take(size) {
            return std::ptr::null_mut();
        }
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract; `at` came from `System` with this layout.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Counts `size` bytes as out, unless that is too much.
fn take(size: usize) -> bool {
    let now = NOW.fetch_add(size, Relaxed).saturating_add(size);
    MOST.fetch_max(now, Relaxed);
    if now > LIMIT {
        NOW.fetch_sub(size, Relaxed);
    }
    now <= LIMIT
}

/// What the whole process allocates is counted, so tests that measure take turns.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `work` gives, and the bytes that were out at most, beyond those that were out before.
pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    let result = work();
    (result, MOST.load(Relaxed).saturating_sub(before))
}

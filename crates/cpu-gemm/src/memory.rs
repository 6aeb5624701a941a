//! Memory for streams of numbers: aligned to cache lines, in huge pages where that pays.

use std::alloc::{Layout, alloc, dealloc};
use std::fmt;
use std::ptr::NonNull;

/// A cache line.
const LINE: usize = 64;

/// A huge page. Buffers from this size on are aligned to one, and the system is asked to use them:
/// hardware prefetchers stop at the end of a page, and small pages cost a table walk every 4 KiB.
const HUGE: usize = 2 << 20;

/// Bytes at an address that is a multiple of 64. The contents are whatever was written; nothing
/// is initialised here, so that large buffers are touched first by the threads that fill them.
pub(crate) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the buffer is owned, and plain bytes may be used from any thread. Writes through shared
// references go through raw pointers, whose users promise that they do not overlap.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `bytes` bytes, at least one line. `None` when the system has no memory left.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let align = if bytes >= HUGE { HUGE } else { LINE };
        let size = bytes.max(LINE).checked_next_multiple_of(LINE)?;
        let layout = Layout::from_size_align(size, align).ok()?;
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        if align == HUGE {
            prefer_huge_pages(start, size);
        }
        Some(Self { start, layout })
    }

    /// Bytes that may be used.
    pub(crate) fn len(&self) -> usize {
        self.layout.size()
    }

    /// The first byte.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes)", self.len())
    }
}

#[cfg(target_os = "linux")]
fn prefer_huge_pages(start: NonNull<u8>, size: usize) {
    // SAFETY: a hint about whole pages of a buffer that we own; a refusal changes nothing.
    unsafe {
        libc::madvise(
            start.as_ptr().cast(),
            size & !(HUGE - 1),
            libc::MADV_HUGEPAGE,
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages(_start: NonNull<u8>, _size: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packing asks here, and makes `GemmError::OutOfMemory` of it.
    #[test]
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    fn what_no_system_has_is_refused_and_no_panic() {
        // More than a process can address: no promise of memory that is never used covers it.
        assert!(Memory::new(1 << 48).is_none());
        assert!(Memory::new(usize::MAX).is_none());
    }
}

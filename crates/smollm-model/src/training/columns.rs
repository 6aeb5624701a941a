//! One buffer, written by several threads at columns of their own.

/// Rows of f32, `stride` values apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    start: *mut f32,
    rows: usize,
    stride: usize,
}

// SAFETY: `Columns::part` states how threads share the buffer.
unsafe impl Send for Columns {}
// SAFETY: as above.
unsafe impl Sync for Columns {}

impl Columns {
    /// The rows of `buffer`, which must stay borrowed while this is used.
    pub(super) fn new(buffer: &mut [f32], stride: usize) -> Self {
        Self {
            start: buffer.as_mut_ptr(),
            rows: buffer.len() / stride,
            stride,
        }
    }

    /// Values `column..column + len` of a row.
    ///
    /// # Safety
    /// The buffer is still borrowed, and no other slice of these values lives.
    ///
    /// # Panics
    /// If they do not lie inside the buffer.
    #[allow(clippy::mut_from_ref)] // values are handed out, not `self`
    pub(super) unsafe fn part(&self, row: usize, column: usize, len: usize) -> &mut [f32] {
        assert!(
            row < self.rows && column + len <= self.stride,
            "row {row}, columns {column} to {} of {} x {}",
            column + len,
            self.rows,
            self.stride
        );
        // SAFETY: inside the buffer by the assertion, alone by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride + column), len) }
    }
}

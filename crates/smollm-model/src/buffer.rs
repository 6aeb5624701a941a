//! Buffers that are kept from call to call.

/// The first `len` elements of a buffer that never shrinks; what they hold does not matter.
pub(crate) fn grow<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}

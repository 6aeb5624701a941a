//! Files damaged on purpose.

use std::path::Path;

/// Cuts a file in half.
pub(crate) fn truncate(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Replaces every `from` in a file by `to`, which has the same length.
pub(crate) fn replace(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(path).unwrap();
    let mut found = false;
    for at in 0..bytes.len().saturating_sub(from.len()) {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            found = true;
        }
    }
    assert!(found, "{from} is not in {}", path.display());
    std::fs::write(path, bytes).unwrap();
}

/// Gives a tensor of a GGUF file a type that nobody has defined.
pub(crate) fn unknown_tensor_type(path: &Path, tensor: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let name = tensor.as_bytes();
    let at = bytes
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    // name, number of dimensions (u32), dimensions (u64 each), type (u32)
    let dims_at = at + name.len();
    let dims = u32::from_le_bytes(bytes[dims_at..dims_at + 4].try_into().unwrap()) as usize;
    let type_at = dims_at + 4 + 8 * dims;
    bytes[type_at..type_at + 4].copy_from_slice(&99_u32.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

//! The kernels on the CPU in the place of a GPU, for tests of everything around them.

use smollm_model::cuda::{KernelError, Shim};

pub(super) type Kind = Shim;

static SHIM: Shim = Shim;

pub(super) fn is_present() -> bool {
    true
}

#[expect(clippy::unnecessary_wraps, reason = "a GPU may be missing")]
pub(super) fn open(_: usize) -> Result<&'static Shim, KernelError> {
    Ok(&SHIM)
}

pub(super) fn free(_: &Shim) -> Option<u64> {
    None
}

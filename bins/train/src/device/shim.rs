//! The kernels on the CPU in the place of a GPU, for tests of everything around them.

use smollm_model::cuda::{KernelError, Shim};

pub(super) type Machine = Shim;

static SHIM: Shim = Shim;

pub(super) fn is_present() -> bool {
    true
}

#[expect(clippy::unnecessary_wraps, reason = "a GPU may be missing")]
pub(super) fn open(_: usize) -> Result<&'static Shim, KernelError> {
    Ok(&SHIM)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "a GPU is large")]
pub(super) fn free(_: &Shim) -> Option<u64> {
    crate::machine::available().map(|free| free.0)
}

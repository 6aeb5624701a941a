//! The crate's own CUDA kernels (`kernels/*.cu`) and the machines that run them.
//!
//! A kernel takes one struct of addresses and numbers ([`args`]); [`Kernel::plan`] checks it and says
//! how many blocks run. A [`Machine`] has memory and launches plans: [`Gpu`] is an NVIDIA GPU
//! through its driver (feature `cuda`), [`Shim`] runs the same source on the CPU, for tests
//! (feature `cuda-shim`). The tests know only the trait, so both run the same bodies.
//!
//! cudarc loads the driver when it is first used: a binary with the feature starts on a machine
//! without a GPU. Kernels are compiled to machine code when the crate is built, so nothing is
//! compiled when a program starts on a GPU known then.

pub mod args;
mod decoding;
#[cfg(feature = "cuda")]
mod gpu;
mod low_rank;
mod memory;
mod plan;
mod quantised;
mod room;
#[cfg(feature = "cuda-shim")]
mod shim;
mod training;
mod weights;

use std::ffi::c_void;

use crate::{ModelConfig, ModelError};

pub use decoding::{DeviceCache, DeviceLlama};
#[cfg(feature = "cuda")]
pub use gpu::{Gpu, Span};
pub use memory::Memory;
pub use plan::{BACKWARD_ROWS, FORWARD_ROWS, Kernel, Plan, rope_table, sequence_tiles};
pub use quantised::{Parted, part_q4_1, part_q8_0};
#[cfg(feature = "cuda-shim")]
pub use shim::Shim;
pub use training::DeviceTrainingLlama;

/// Element type of a kernel's tensors; arithmetic is f32 in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32-bit float.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// Elements in 16 bytes, what one thread reads at once.
    pub fn pack(self) -> u32 {
        16 / self.bytes() as u32
    }

    /// `values` as they lie in memory, rounded to this type.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Bf16 => {
                let rounded = values.iter().map(|x| half::bf16::from_f32(*x));
                rounded.flat_map(half::bf16::to_le_bytes).collect()
            }
            Self::F16 => {
                let rounded = values.iter().map(|x| half::f16::from_f32(*x));
                rounded.flat_map(half::f16::to_le_bytes).collect()
            }
        }
    }

    /// Appends the values of elements of this type.
    pub fn decode(self, bytes: &[u8], to: &mut Vec<f32>) {
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        match self {
            Self::F32 => {
                let words = bytes.chunks_exact(4);
                to.extend(words.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            }
            Self::Bf16 => to.extend(pairs().map(|b| half::bf16::from_le_bytes(b).to_f32())),
            Self::F16 => to.extend(pairs().map(|b| half::f16::from_le_bytes(b).to_f32())),
        }
    }

    /// How kernels' names end.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// Why a kernel did not run.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The arguments do not fit the kernel.
    #[error("{kernel}: {what}")]
    Arguments {
        /// The kernel.
        kernel: &'static str,
        /// What was found and what was expected.
        what: String,
    },
    /// The machine could not do it.
    #[error("{machine}, {action}: {reason}")]
    Machine {
        /// Which machine.
        machine: String,
        /// What it was asked for.
        action: String,
        /// What it said.
        reason: String,
    },
}

/// Memory and something that runs kernels on it.
pub trait Machine: Send + Sync {
    /// For messages: the card's name, or that it is the shim.
    fn name(&self) -> String;

    /// `bytes` of memory whose every float is NaN, at a 16-byte boundary.
    ///
    /// # Errors
    /// If there is not enough.
    fn allocate(&self, bytes: usize) -> Result<u64, KernelError>;

    /// Gives back what [`Machine::allocate`] gave.
    ///
    /// # Safety
    /// `address` is an allocation of `bytes` that nothing uses any more.
    unsafe fn free(&self, address: u64, bytes: usize);

    /// Copies from the host.
    ///
    /// # Errors
    /// If the driver reports one.
    ///
    /// # Safety
    /// `address` begins at least `data.len()` bytes of this machine's memory.
    unsafe fn write(&self, address: u64, data: &[u8]) -> Result<(), KernelError>;

    /// Sets `bytes` to zero, after all launches before it.
    ///
    /// # Errors
    /// If the driver reports one.
    ///
    /// # Safety
    /// `address` begins at least `bytes` of this machine's memory.
    unsafe fn clear(&self, address: u64, bytes: usize) -> Result<(), KernelError>;

    /// Copies `bytes` from one place of this machine's memory to another, after all launches before it.
    ///
    /// # Errors
    /// If the driver reports one.
    ///
    /// # Safety
    /// Both addresses begin at least `bytes` of this machine's memory; the two do not overlap.
    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), KernelError>;

    /// Copies to the host, after all launches before it.
    ///
    /// # Errors
    /// If the driver reports one, also of an earlier launch.
    ///
    /// # Safety
    /// `address` begins at least `data.len()` bytes of this machine's memory.
    unsafe fn read(&self, address: u64, data: &mut [u8]) -> Result<(), KernelError>;

    /// Starts `plan` with the argument struct at `args`.
    ///
    /// # Errors
    /// If there is no such kernel or the launch fails.
    ///
    /// # Safety
    /// `args` points to `size` bytes, the struct that the kernel takes, and every address in it is
    /// valid for what the kernel's file says it reads and writes.
    unsafe fn launch(
        &self,
        plan: &Plan,
        args: *const c_void,
        size: usize,
    ) -> Result<(), KernelError>;
}

/// Features of a head that the attention kernels take.
const HEAD_DIM: usize = 64;

/// # Errors
/// If the kernels cannot compute the model.
fn check_model(config: &ModelConfig, element: Element) -> Result<(), ModelError> {
    let refuse = |what, found: usize, expected| {
        Err(ModelError::Argument {
            what,
            found: found.to_string(),
            expected: format!("{expected} for a device; the CPU takes any"),
        })
    };
    if config.head_dim != HEAD_DIM {
        return refuse("head_dim", config.head_dim, HEAD_DIM.to_string());
    }
    let pack = element.pack() as usize;
    let widths = [
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
    ];
    match widths.into_iter().find(|(_, width)| width % pack != 0) {
        Some((what, width)) => refuse(what, width, format!("a multiple of {pack}")),
        None => Ok(()),
    }
}

/// Bytes of an f32 and of an id.
const WORD: usize = 4;

/// Elements from one row of logits to the next: a multiple of 16 bytes of any type.
fn logits_stride(vocab: usize) -> usize {
    vocab.next_multiple_of(8)
}

/// Blocks of a grid in y and in z: CUDA's limit.
const MOST_BLOCKS: u32 = 65_535;

/// Plans `kernel` for elements of type `element` and starts it.
///
/// # Errors
/// If the arguments do not fit or the machine cannot.
///
/// # Safety
/// Every address in `kernel` is valid for what the kernel's file says it reads and writes.
pub unsafe fn launch<K: Kernel>(
    machine: &dyn Machine,
    element: Element,
    kernel: &K,
) -> Result<(), KernelError> {
    let plan = kernel.plan(element)?;
    if plan.grid.contains(&0) {
        return Ok(());
    }
    if plan.grid[1].max(plan.grid[2]) > MOST_BLOCKS {
        return Err(KernelError::Machine {
            machine: machine.name(),
            action: plan.kernel,
            reason: format!(
                "a grid of {:?} blocks, at most {MOST_BLOCKS} in y and z: take fewer rows at once",
                plan.grid
            ),
        });
    }
    // SAFETY: the struct is borrowed for the call and has the kernel's layout (repr(C), the same
    // fields); its addresses are the caller's promise.
    unsafe { machine.launch(&plan, std::ptr::from_ref(kernel).cast(), size_of::<K>()) }
}

//! From a kernel's arguments to its grid, after checking what the kernel takes for granted.

mod heads;
mod products;

#[allow(clippy::wildcard_imports)] // one struct a kernel
use super::args::*;
use super::{Element, KernelError};
pub use heads::{BACKWARD_ROWS, FORWARD_ROWS, sequence_tiles};

/// A launch: which kernel, how many blocks, how many threads each, how much dynamic shared memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Name in the compiled module, element type included.
    pub kernel: String,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory of a block.
    pub shared: u32,
}

/// An argument struct that knows its kernel.
pub trait Kernel {
    /// How to launch it for tensors of `element`s.
    ///
    /// # Errors
    /// If a size does not fit the kernel.
    fn plan(&self, element: Element) -> Result<Plan, KernelError>;
}

fn plan(name: &str, element: Element, grid: [u32; 3], threads: u32) -> Plan {
    Plan {
        kernel: format!("{name}_{}", element.suffix()),
        grid,
        threads,
        shared: 0,
    }
}

/// `Err` unless every `(name, size)` is a positive multiple of `of`.
fn multiples(kernel: &'static str, of: u32, sizes: &[(&str, u32)]) -> Result<(), KernelError> {
    match sizes.iter().find(|(_, size)| *size == 0 || size % of != 0) {
        None => Ok(()),
        Some((name, size)) => Err(KernelError::Arguments {
            kernel,
            what: format!("{name} is {size}; expected a multiple of {of}, at least {of}"),
        }),
    }
}

fn require(
    kernel: &'static str,
    holds: bool,
    what: impl FnOnce() -> String,
) -> Result<(), KernelError> {
    if holds {
        Ok(())
    } else {
        Err(KernelError::Arguments {
            kernel,
            what: what(),
        })
    }
}

/// Blocks of `threads` for one thread an item.
fn blocks(items: u64, threads: u32) -> u32 {
    items.div_ceil(u64::from(threads)) as u32
}

const NORM_ROWS: u32 = 4;

impl Kernel for RmsNormForward {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        multiples("rms_norm", element.pack(), &[("width", self.width)])?;
        let grid = [self.rows.div_ceil(NORM_ROWS), 1, 1];
        Ok(plan("rms_norm_forward", element, grid, 128))
    }
}

impl Kernel for RmsNormBackward {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        multiples("rms_norm", element.pack(), &[("width", self.width)])?;
        let grid = [self.rows.div_ceil(NORM_ROWS), 1, 1];
        Ok(plan("rms_norm_backward", element, grid, 128))
    }
}

impl Kernel for Rope {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        let pack = element.pack();
        multiples("rope", 2 * pack, &[("dim", self.dim)])?;
        multiples(
            "rope",
            pack,
            &[("x_stride", self.x_stride), ("y_stride", self.y_stride)],
        )?;
        let items = u64::from(self.tokens) * u64::from(self.heads * (self.dim / 2 / pack));
        Ok(plan("rope", element, [blocks(items, 256), 1, 1], 256))
    }
}

impl Kernel for SwiGluForward {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        let pack = element.pack();
        let sizes =
            [self.width, self.in_stride, self.out_stride].map(|size| ("width or stride", size));
        multiples("swiglu", pack, &sizes)?;
        let items = u64::from(self.rows) * u64::from(self.width / pack);
        Ok(plan(
            "swiglu_forward",
            element,
            [blocks(items, 256), 1, 1],
            256,
        ))
    }
}

impl Kernel for SwiGluBackward {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        let pack = element.pack();
        let sizes =
            [self.width, self.in_stride, self.out_stride].map(|size| ("width or stride", size));
        multiples("swiglu", pack, &sizes)?;
        let items = u64::from(self.rows) * u64::from(self.width / pack);
        Ok(plan(
            "swiglu_backward",
            element,
            [blocks(items, 256), 1, 1],
            256,
        ))
    }
}

impl Kernel for Dropout {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        let items = self.n.div_ceil(u64::from(element.pack()));
        Ok(plan("dropout", element, [blocks(items, 256), 1, 1], 256))
    }
}

impl Kernel for CrossEntropy {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        multiples("cross_entropy", element.pack(), &[("stride", self.stride)])?;
        require(
            "cross_entropy",
            (1..=self.stride).contains(&self.vocab),
            || format!("a vocabulary of {} in rows of {}", self.vocab, self.stride),
        )?;
        Ok(plan("cross_entropy", element, [self.rows, 1, 1], 512))
    }
}

/// Elements that one block of `squares` sums.
const PIECE: u64 = 16_384;

impl Kernel for Squares {
    fn plan(&self, _element: Element) -> Result<Plan, KernelError> {
        let grid = [self.n.div_ceil(PIECE) as u32, 1, 1];
        Ok(plan("squares", Element::F32, grid, 256))
    }
}

impl Kernel for Clip {
    fn plan(&self, _element: Element) -> Result<Plan, KernelError> {
        Ok(plan("clip", Element::F32, [1, 1, 1], 1024))
    }
}

impl Kernel for Sum {
    fn plan(&self, _element: Element) -> Result<Plan, KernelError> {
        Ok(plan("sum", Element::F32, [1, 1, 1], 1024))
    }
}

impl Kernel for AdamW {
    fn plan(&self, _element: Element) -> Result<Plan, KernelError> {
        let grid = [blocks(self.n.div_ceil(4), 256), 1, 1];
        Ok(plan("adamw", Element::F32, grid, 256))
    }
}

/// Ranks that a thread takes.
const RANKS: u32 = 8;
/// Tokens whose products one block of `lora_gradient` sums.
const TOKEN_PIECE: u32 = 64;

fn lora_sizes(element: Element, rank: u32, width: u32, stride: u32) -> Result<(), KernelError> {
    multiples("lora", RANKS, &[("rank", rank)])?;
    multiples(
        "lora",
        element.pack(),
        &[("width", width), ("stride", stride)],
    )
}

impl Kernel for LoraProject {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        lora_sizes(element, self.rank, self.width, self.x_stride)?;
        let grid = [self.tokens.div_ceil(16), self.rank / RANKS, self.adapters];
        Ok(plan("lora_project", element, grid, 128))
    }
}

impl Kernel for LoraExpand {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        lora_sizes(element, self.rank, self.width, self.y_stride)?;
        let columns = (self.width / element.pack()).div_ceil(128);
        Ok(plan(
            "lora_expand",
            element,
            [columns, self.tokens.div_ceil(4), 1],
            128,
        ))
    }
}

impl LoraGradient {
    /// Pieces of the token sum, the first dimension of `partial`.
    pub fn pieces(tokens: u32) -> u32 {
        tokens.div_ceil(TOKEN_PIECE)
    }
}

impl Kernel for LoraGradient {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        lora_sizes(element, self.rank, self.width, self.x_stride)?;
        let columns = (self.width / element.pack()).div_ceil(128);
        let grid = [
            columns,
            Self::pieces(self.tokens),
            self.adapters * self.rank / RANKS,
        ];
        Ok(plan("lora_gradient", element, grid, 128))
    }
}

impl Kernel for LoraReduce {
    fn plan(&self, _element: Element) -> Result<Plan, KernelError> {
        let grid = [self.width.div_ceil(128), self.ranks, 1];
        Ok(plan("lora_reduce", Element::F32, grid, 128))
    }
}

impl Kernel for Argmax {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        multiples("argmax", element.pack(), &[("stride", self.stride)])?;
        require("argmax", (1..=self.stride).contains(&self.vocab), || {
            format!("a vocabulary of {} in rows of {}", self.vocab, self.stride)
        })?;
        Ok(plan("argmax", element, [self.rows, 1, 1], 512))
    }
}

impl Kernel for GatherRows {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        multiples("gather_rows", element.pack(), &[("width", self.width)])?;
        let items = u64::from(self.rows) * u64::from(self.width / element.pack());
        Ok(plan(
            "gather_rows",
            element,
            [blocks(items, 256), 1, 1],
            256,
        ))
    }
}

fn gemv_plan(name: &str, args: &Gemv, element: Element) -> Result<Plan, KernelError> {
    multiples("gemv", 32, &[("k", args.k)])?;
    let share = if args.rows == 1 { 1 } else { 4 };
    let grid = [args.n.div_ceil(8), args.rows.div_ceil(share), 1];
    Ok(plan(&format!("{name}_b{share}"), element, grid, 128))
}

impl Kernel for GemvQ8 {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        gemv_plan("gemv_q8_0", &self.0, element)
    }
}

impl Kernel for GemvQ4 {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        gemv_plan("gemv_q4_1", &self.0, element)
    }
}

/// Cosines and sines for positions `0..positions`, `[position][cos | sin][dim / 2]`: the values of
/// [`RopeTable`](crate::ops::RopeTable).
pub fn rope_table(positions: u32, dim: usize, theta: f64) -> Vec<f32> {
    let frequencies: Vec<f32> = (0..dim / 2)
        .map(|j| 1.0 / (theta.powf(2.0 * j as f64 / dim as f64) as f32))
        .collect();
    let mut table = Vec::with_capacity(positions as usize * dim);
    for t in 0..positions {
        let angles = || frequencies.iter().map(|f| f64::from(t as f32 * f));
        table.extend(angles().map(|angle| angle.cos() as f32));
        table.extend(angles().map(|angle| angle.sin() as f32));
    }
    table
}

//! The rows of a pass, and how kernels are started on them.

use std::ops::Range;

use super::adapters::DeviceAdapter;
use super::cache::Cache;
use crate::cuda::args::{
    GatherRows, Mask, MatrixProduct, Product, RmsNormForward, RowsProduct, RowsSum,
};
use crate::cuda::low_rank::{Place, Rows};
use crate::cuda::room::Room;
use crate::cuda::weights::Weights;
use crate::cuda::{Element, Kernel, KernelError, Machine, WORD, launch};
use crate::{ModelConfig, Projection};

/// Keys that a block of attention takes.
const SPLIT: usize = 256;

/// Rows that one adapter, or none, computes.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) adapter: Option<usize>,
    pub(super) rows: Range<usize>,
}

/// The rows of a pass.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) ids: Vec<u32>,
    pub(super) positions: Vec<u32>,
    /// The sequence that each belongs to.
    pub(super) slots: Vec<u32>,
    /// The pages of each sequence.
    pub(super) tables: Vec<Vec<u32>>,
    /// So many rows, the first, are prompts'.
    pub(super) prompts: usize,
    pub(super) shares: Vec<Share>,
    /// Rows whose logits are wanted.
    pub(super) wanted: Vec<u32>,
}

impl Batch {
    pub(super) fn max_pages(&self) -> usize {
        self.tables.iter().map(Vec::len).max().unwrap_or(0)
    }

    pub(super) fn splits(&self) -> usize {
        let last = self.positions.iter().max().copied().unwrap_or(0);
        last as usize / SPLIT + 1
    }
}

/// Where a batch is on the device.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub(super) ids: u64,
    pub(super) positions: u64,
    pub(super) slots: u64,
    pub(super) pages: u64,
    pub(super) wanted: u64,
}

/// A pass.
pub(super) struct Pass<'a, 'm> {
    pub(super) machine: &'m dyn Machine,
    pub(super) config: &'a ModelConfig,
    pub(super) element: Element,
    pub(super) weights: &'a Weights<'m>,
    pub(super) rope: u64,
    pub(super) adapters: &'a [DeviceAdapter<'m>],
    pub(super) cache: &'a Cache<'m>,
    pub(super) batch: &'a Batch,
    pub(super) placed: Placed,
}

impl Pass<'_, '_> {
    pub(super) fn rows(&self) -> usize {
        self.batch.ids.len()
    }

    pub(super) fn qkv_width(&self) -> usize {
        self.config.query_width() + 2 * self.config.key_value_width()
    }

    /// Bytes of all rows of `width` elements.
    pub(super) fn bytes(&self, width: usize) -> usize {
        self.rows() * width * self.element.bytes()
    }

    /// `address` and `elements` more.
    pub(super) fn after(&self, address: u64, elements: usize) -> u64 {
        address + (elements * self.element.bytes()) as u64
    }

    pub(super) fn start<K: Kernel>(&self, kernel: &K) -> Result<(), KernelError> {
        // SAFETY: every address is that of weights, of the cache, of the batch or of a room that was asked for as many
        // bytes as the kernel touches; the shim's guard pages check that in the tests.
        unsafe { launch(self.machine, self.element, kernel) }
    }

    pub(super) fn gather(
        &self,
        (table, ids, out): (u64, u64, u64),
        rows: usize,
    ) -> Result<(), KernelError> {
        self.start(&GatherRows {
            table,
            ids,
            out,
            rows: rows as u32,
            width: self.config.hidden_size as u32,
        })
    }

    /// `sum = x + delta` (where there is one), `y = norm(sum)`.
    pub(super) fn norm(
        &self,
        rows: usize,
        weight: u64,
        (x, delta): (u64, u64),
        (sum, y): (u64, u64),
        rms: u64,
    ) -> Result<(), KernelError> {
        self.start(&RmsNormForward {
            x,
            delta,
            weight,
            sum,
            y,
            rms,
            rows: rows as u32,
            width: self.config.hidden_size as u32,
            eps: self.config.rms_norm_eps as f32,
        })
    }

    /// `y = x Wᵀ` for all rows, `W: [width, inner]`: prompts' in tiles, answers' as a few rows.
    pub(super) fn multiply(
        &self,
        (x, w, y): (u64, u64, u64),
        (width, inner): (usize, usize),
        partial: &mut Room<'_>,
    ) -> Result<(), KernelError> {
        let prompts = self.batch.prompts;
        if prompts > 0 {
            self.start(&Product(MatrixProduct {
                x,
                w,
                y,
                rows: prompts as u32,
                width: width as u32,
                inner: inner as u32,
                x_stride: inner as u32,
                w_stride: inner as u32,
                y_stride: width as u32,
            }))?;
        }
        let answers = self.rows() - prompts;
        if answers == 0 {
            return Ok(());
        }
        let (x, y) = (
            self.after(x, prompts * inner),
            self.after(y, prompts * width),
        );
        self.multiply_rows(answers, (x, w, y), (width, inner, width), partial)
    }

    /// `y = x Wᵀ` for a few rows.
    pub(super) fn multiply_rows(
        &self,
        rows: usize,
        (x, w, y): (u64, u64, u64),
        (width, inner, y_stride): (usize, usize, usize),
        partial: &mut Room<'_>,
    ) -> Result<(), KernelError> {
        let (piece, splits) = RowsProduct::pieces(width as u32, inner as u32);
        let partial = match splits {
            1 => 0,
            _ => partial.of(splits as usize * rows * width * WORD)?,
        };
        let (rows, width, y_stride) = (rows as u32, width as u32, y_stride as u32);
        self.start(&RowsProduct {
            x,
            w,
            y,
            partial,
            rows,
            width,
            inner: inner as u32,
            piece,
            splits,
            y_stride,
        })?;
        if splits == 1 {
            return Ok(());
        }
        self.start(&RowsSum {
            partial,
            y,
            rows,
            width,
            splits,
            y_stride,
        })
    }

    /// Adds what adapters give for projections with one input, each at its column of `y`.
    pub(super) fn adapt(
        &self,
        (layer, parts): (usize, &[(Projection, usize)]),
        (x, inputs): (u64, usize),
        (y, stride): (u64, usize),
        u: &mut Room<'_>,
    ) -> Result<(), KernelError> {
        for share in &self.batch.shares {
            let Some(adapter) = share.adapter.map(|number| &self.adapters[number]) else {
                continue;
            };
            let (first, rows) = (share.rows.start, share.rows.len());
            let place = Place {
                machine: self.machine,
                element: self.element,
                rows,
            };
            for (projection, column) in parts {
                let Some(update) = adapter.get(layer, *projection) else {
                    continue;
                };
                let shape = &update.shape;
                let u = u.of(rows * shape.rank * WORD)?;
                let x = Rows {
                    address: self.after(x, first * inputs),
                    stride: inputs,
                };
                let y = Rows {
                    address: self.after(y, first * stride + column),
                    stride,
                };
                let mask = Mask::default();
                // SAFETY: rows of the pass, as wide as the projection; `u` was asked for as much.
                unsafe {
                    shape.project(place, (x, update.a, u), (inputs, 1.0), mask)?;
                    shape.expand(place, (u, update.b, y), (shape.outputs, shape.scale), mask)?;
                }
            }
        }
        Ok(())
    }
}

//! The grids of products with frozen weights.

use super::{Kernel, Plan, blocks, multiples, plan, require};
use crate::cuda::args::{MatrixProduct, Product, ProductBack, RowsProduct, RowsSum};
use crate::cuda::{Element, KernelError};

/// Shared memory of a product in two-byte elements: two buffers of 256 rows of 64.
const PRODUCT_SHARED: u32 = 2 * 256 * 64 * 2;

fn product_plan(name: &str, args: &MatrixProduct, element: Element) -> Result<Plan, KernelError> {
    let strides = [args.x_stride, args.w_stride, args.y_stride];
    multiples("product", element.pack(), &strides.map(|s| ("a stride", s)))?;
    // A last piece that is not full is read and written whole.
    let padded = |n: u32| n.next_multiple_of(element.pack());
    let fits = args.inner > 0
        && padded(args.inner) <= args.x_stride
        && padded(args.width) <= args.y_stride;
    require("product", fits, || {
        format!(
            "{} and {} columns in rows of {} and {}",
            args.inner, args.width, args.x_stride, args.y_stride
        )
    })?;
    let (side, shared) = match element {
        Element::F32 => (64, 0),
        Element::Bf16 | Element::F16 => (128, PRODUCT_SHARED),
    };
    let grid = [args.rows.div_ceil(side) * args.width.div_ceil(side), 1, 1];
    Ok(Plan {
        shared,
        ..plan(name, element, grid, 128)
    })
}

impl Kernel for Product {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        product_plan("product", &self.0, element)
    }
}

impl Kernel for ProductBack {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        product_plan("product_back", &self.0, element)
    }
}

/// Rows and columns of a block of [`RowsProduct`], and terms of a step.
const ROWS_SIDE: u32 = 64;

/// Shared memory of [`RowsProduct`] in two-byte elements: four stages of 128 rows of 64.
const ROWS_SHARED: u32 = 4 * 128 * 64 * 2;

/// Blocks with which the whole of a large GPU reads.
const ENOUGH_BLOCKS: u32 = 256;

/// Terms of a piece below which a block does too little.
const LEAST_PIECE: u32 = 256;

impl RowsProduct {
    /// Terms of a piece and how many pieces there are, for weights `[width, inner]`: of the weights alone, so that a
    /// row's bits are the same in any batch and on any GPU of one kind.
    pub fn pieces(width: u32, inner: u32) -> (u32, u32) {
        let wanted = ENOUGH_BLOCKS.div_ceil(width.div_ceil(ROWS_SIDE)).max(1);
        let most = inner.div_ceil(LEAST_PIECE).max(1);
        let piece = inner.div_ceil(wanted.min(most)).next_multiple_of(ROWS_SIDE);
        (piece, inner.div_ceil(piece))
    }
}

impl Kernel for RowsProduct {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        multiples(
            "product_rows",
            element.pack(),
            &[("inner", self.inner), ("y_stride", self.y_stride)],
        )?;
        let (piece, splits) = Self::pieces(self.width, self.inner);
        let fits = (piece, splits) == (self.piece, self.splits)
            && self.width.next_multiple_of(element.pack()) <= self.y_stride;
        require("product_rows", fits, || {
            format!(
                "{} pieces of {} for {} x {}",
                self.splits, self.piece, self.width, self.inner
            )
        })?;
        let shared = match element {
            Element::F32 => 0,
            Element::Bf16 | Element::F16 => ROWS_SHARED,
        };
        let grid = [
            self.width.div_ceil(ROWS_SIDE),
            splits,
            self.rows.div_ceil(ROWS_SIDE),
        ];
        Ok(Plan {
            shared,
            ..plan("product_rows", element, grid, 128)
        })
    }
}

impl Kernel for RowsSum {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        let items = u64::from(self.rows) * u64::from(self.width);
        Ok(plan("sum_rows", element, [blocks(items, 256), 1, 1], 256))
    }
}

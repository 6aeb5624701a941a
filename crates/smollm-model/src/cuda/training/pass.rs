//! What does not change during a call: the batch on the device, and how kernels are started on it.

use super::adapters::Placed;
use crate::cuda::args::{MatrixProduct, Product, ProductBack, RmsNormForward};
use crate::cuda::room::Room;
use crate::cuda::weights::Weights;
use crate::cuda::{
    BACKWARD_ROWS, Element, FORWARD_ROWS, Kernel, KernelError, Machine, WORD, launch,
    sequence_tiles,
};
use crate::training::TrainingBatch;
use crate::{Checkpointing, ModelConfig, ModelError};

/// The id that gathers zeros.
const NO_ROW: u32 = u32::MAX;

/// The attention tiles of a batch on the device.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub(super) address: u64,
    pub(super) count: u32,
}

/// A batch on the device.
#[derive(Clone, Copy)]
pub(super) struct DeviceBatch {
    pub(super) tokens: usize,
    pub(super) supervised: usize,
    pub(super) ids: u64,
    pub(super) positions: u64,
    /// `[tokens, hidden]`, where embeddings get noise.
    pub(super) noise: Option<u64>,
    pub(super) forward_tiles: Tiles,
    pub(super) backward_tiles: Tiles,
    /// Tokens that predict, and what.
    pub(super) rows: u64,
    pub(super) targets: u64,
    /// For each token its number among `rows`, or [`NO_ROW`].
    pub(super) places: u64,
}

/// What a call copies to the device, adapters apart.
pub(super) struct Inputs<'m> {
    ids: Room<'m>,
    positions: Room<'m>,
    noise: Room<'m>,
    forward_tiles: Room<'m>,
    backward_tiles: Room<'m>,
    rows: Room<'m>,
    targets: Room<'m>,
    places: Room<'m>,
}

impl<'m> Inputs<'m> {
    pub(super) fn new(machine: &'m dyn Machine) -> Self {
        let room = || Room::new(machine);
        Self {
            ids: room(),
            positions: room(),
            noise: room(),
            forward_tiles: room(),
            backward_tiles: room(),
            rows: room(),
            targets: room(),
            places: room(),
        }
    }

    /// Copies a batch that has been checked.
    ///
    /// # Errors
    /// If a row is supervised twice, or there is not enough memory.
    pub(super) fn copy(
        &mut self,
        batch: TrainingBatch<'_>,
        config: &ModelConfig,
        element: Element,
    ) -> Result<DeviceBatch, ModelError> {
        let sequences = batch.sequences;
        let tokens = sequences.tokens();
        let mut places = vec![NO_ROW; tokens];
        for (number, row) in (0..).zip(batch.rows) {
            let place = &mut places[*row as usize];
            if std::mem::replace(place, number) != NO_ROW {
                return Err(ModelError::Argument {
                    what: "a supervised row",
                    found: format!("{row}, twice"),
                    expected: "another for each target".into(),
                });
            }
        }
        let noise = if sequences.is_noisy() {
            let mut noise = vec![0f32; tokens * config.hidden_size];
            sequences.add_noise(0, &mut noise, config.hidden_size);
            Some(self.noise.copy(&element.encode(&noise))?)
        } else {
            None
        };
        let tiles = |room: &mut Room<'m>, rows: u32| {
            let tiles = sequence_tiles(sequences.segments(), rows);
            let words = tiles
                .iter()
                .flat_map(|tile| [tile.start, tile.length, tile.row, tile.unused]);
            let address = room.copy(&bytes(words))?;
            let count = tiles.len() as u32;
            Ok::<_, KernelError>(Tiles { address, count })
        };
        Ok(DeviceBatch {
            tokens,
            supervised: batch.rows.len(),
            ids: self.ids.copy(&bytes(sequences.ids().iter().copied()))?,
            positions: self.positions.copy(&bytes(sequences.positions(|_| 0)))?,
            noise,
            forward_tiles: tiles(&mut self.forward_tiles, FORWARD_ROWS)?,
            backward_tiles: tiles(&mut self.backward_tiles, BACKWARD_ROWS)?,
            rows: self.rows.copy(&bytes(batch.rows.iter().copied()))?,
            targets: self.targets.copy(&bytes(batch.targets.iter().copied()))?,
            places: self.places.copy(&bytes(places))?,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        let rooms = [
            &self.ids,
            &self.positions,
            &self.noise,
            &self.forward_tiles,
            &self.backward_tiles,
            &self.rows,
            &self.targets,
            &self.places,
        ];
        rooms.map(Room::bytes).iter().sum()
    }
}

fn bytes(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// A call.
pub(super) struct Pass<'a, 'm> {
    pub(super) machine: &'m dyn Machine,
    pub(super) config: &'a ModelConfig,
    pub(super) element: Element,
    pub(super) checkpointing: Checkpointing,
    pub(super) weights: &'a Weights<'m>,
    pub(super) rope: u64,
    pub(super) batch: DeviceBatch,
    pub(super) sites: Placed,
    /// Whether a backward pass follows.
    pub(super) keep: bool,
}

/// A norm over rows of the stream.
pub(super) struct Norm {
    pub(super) x: u64,
    /// What is added to `x` first, with the sum written to `sum`; 0: nothing.
    pub(super) delta: u64,
    pub(super) sum: u64,
    pub(super) weight: u64,
    pub(super) y: u64,
    pub(super) rms: u64,
}

impl Pass<'_, '_> {
    pub(super) fn tokens(&self) -> usize {
        self.batch.tokens
    }

    /// Width of `q | k | v`.
    pub(super) fn qkv_width(&self) -> usize {
        self.config.query_width() + 2 * self.config.key_value_width()
    }

    /// Bytes of `tokens` rows of `width` elements.
    pub(super) fn rows(&self, width: usize) -> usize {
        self.tokens() * width * self.element.bytes()
    }

    /// Bytes of a number for each token (and `each`).
    pub(super) fn statistics(&self, each: usize) -> usize {
        self.tokens() * each * WORD
    }

    /// `address` and `elements` more.
    pub(super) fn after(&self, address: u64, elements: usize) -> u64 {
        address + (elements * self.element.bytes()) as u64
    }

    /// Starts a kernel.
    ///
    /// # Errors
    /// If the arguments do not fit it or the machine cannot.
    pub(super) fn start<K: Kernel>(&self, kernel: &K) -> Result<(), KernelError> {
        // SAFETY: every address is that of weights, of the batch or of a room that was asked for as many bytes as the
        // kernel touches; the shim's guard pages check that in the tests.
        unsafe { launch(self.machine, self.element, kernel) }
    }

    /// `y = x Wᵀ` for all tokens, `W: [width, inner]`.
    pub(super) fn multiply(
        &self,
        (x, w, y): (u64, u64, u64),
        (width, inner): (usize, usize),
    ) -> Result<(), KernelError> {
        let args = product(self.tokens(), (x, w, y), (width, inner), inner);
        self.start(&Product(args))
    }

    /// `dx = dy W` for all tokens, `W: [outputs, inputs]`.
    pub(super) fn multiply_back(
        &self,
        (dy, w, dx): (u64, u64, u64),
        (outputs, inputs): (usize, usize),
    ) -> Result<(), KernelError> {
        let args = product(self.tokens(), (dy, w, dx), (inputs, outputs), inputs);
        self.start(&ProductBack(args))
    }

    /// Norms `rows` rows of the stream.
    pub(super) fn norm(&self, rows: usize, norm: &Norm) -> Result<(), KernelError> {
        self.start(&RmsNormForward {
            x: norm.x,
            delta: norm.delta,
            weight: norm.weight,
            sum: norm.sum,
            y: norm.y,
            rms: norm.rms,
            rows: rows as u32,
            width: self.config.hidden_size as u32,
            eps: self.config.rms_norm_eps as f32,
        })
    }
}

/// Rows without padding.
fn product(
    rows: usize,
    (x, w, y): (u64, u64, u64),
    (width, inner): (usize, usize),
    w_stride: usize,
) -> MatrixProduct {
    MatrixProduct {
        x,
        w,
        y,
        rows: rows as u32,
        width: width as u32,
        inner: inner as u32,
        x_stride: inner as u32,
        w_stride: w_stride as u32,
        y_stride: width as u32,
    }
}

//! An adapter's factors on a device.

use crate::cuda::low_rank::{LowRankShape, RANKS, in_block, lay_out};
use crate::cuda::{Element, Machine, Memory};
use crate::{LowRank, ModelConfig, ModelError, Projection, Site};

/// An f32.
const F32: usize = size_of::<f32>();

/// One update beside a weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Update {
    pub(super) shape: LowRankShape,
    pub(super) a: u64,
    pub(super) b: u64,
}

/// The updates of one adapter, by layer and projection.
pub(super) struct DeviceAdapter<'m> {
    updates: Vec<[Option<Update>; 7]>,
    memory: Memory<'m>,
}

impl<'m> DeviceAdapter<'m> {
    /// # Errors
    /// If a site is in no layer, a layer does not exist, a shape does not fit, an update has a magnitude, or there is not enough memory.
    pub(super) fn new(
        machine: &'m dyn Machine,
        config: &ModelConfig,
        updates: impl IntoIterator<Item = (Site, LowRank)>,
    ) -> Result<Self, ModelError> {
        let mut placed: Vec<[Option<Update>; 7]> = vec![[None; 7]; config.num_hidden_layers];
        let mut values = Vec::new();
        for (site, update) in updates {
            let (layer, projection) = in_block(site)?;
            let (outputs, inputs) = projection.dims(config);
            let rank = update.a.dim(0)?;
            if update.magnitude.is_some() {
                return Err(ModelError::Argument {
                    what: "an adapter's update",
                    found: format!("a magnitude for {}", site.path()),
                    expected:
                        "none on a device: merge a DoRA adapter into its base, or stay on the CPU"
                            .into(),
                });
            }
            let fits = update.a.dims() == [rank, inputs] && update.b.dims() == [outputs, rank];
            let Some(places) = placed.get_mut(layer).filter(|_| fits) else {
                return Err(ModelError::Argument {
                    what: "an adapter's update",
                    found: format!(
                        "A {:?} and B {:?} for {}",
                        update.a.dims(),
                        update.b.dims(),
                        site.path()
                    ),
                    expected: format!(
                        "[r, {inputs}] and [{outputs}, r], in one of {} layers",
                        config.num_hidden_layers
                    ),
                });
            };
            let shape = LowRankShape {
                rank: rank.next_multiple_of(RANKS),
                inputs,
                outputs,
                scale: update.scale as f32,
            };
            let a = (values.len() * F32) as u64;
            places[projection as usize] = Some(Update {
                shape,
                a,
                b: a + (shape.rank * inputs * F32) as u64,
            });
            let flat = |tensor: &candle_core::Tensor| tensor.flatten_all()?.to_vec1::<f32>();
            lay_out(&shape, &flat(&update.a)?, &flat(&update.b)?, &mut values);
        }
        let memory = Memory::of(machine, &Element::F32.encode(&values))?;
        for update in placed.iter_mut().flatten().flatten() {
            update.a += memory.address();
            update.b += memory.address();
        }
        Ok(Self {
            updates: placed,
            memory,
        })
    }

    pub(super) fn get(&self, layer: usize, projection: Projection) -> Option<&Update> {
        self.updates[layer][projection as usize].as_ref()
    }

    pub(super) fn bytes(&self) -> usize {
        self.memory.bytes()
    }
}

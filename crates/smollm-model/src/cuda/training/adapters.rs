//! Adapters on a device: their values, what their products leave, their gradients.
//!
//! Values of all adapters are one array, gradients another: one copy each way a call. The gradients of what pads a rank
//! are zero.

use crate::cuda::args::{LoraGradient, LoraReduce, Mask};
use crate::cuda::low_rank::{LowRankShape, Place, RANKS, Rows, in_block, lay_out};
use crate::cuda::room::Room;
use crate::cuda::{Element, Kernel, KernelError, Machine, launch};
use crate::ops::{Dropout, mix};
use crate::training::{Lowest, Prepared, Stage};
use crate::{Checkpointing, ModelConfig, ModelError, Projection, SiteGradients, TrainingSite};

/// An f32.
const F32: usize = size_of::<f32>();

/// One adapter of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceSite {
    shape: LowRankShape,
    /// Of its values and its gradients: where `A`'s begin in floats; `B`'s follow.
    place: usize,
    /// Where its `U` begins, in floats for each token.
    u: usize,
    mask: Mask,
}

/// The adapters of a call by layer and projection.
pub(super) struct Placed {
    layers: Vec<[Option<DeviceSite>; 7]>,
    /// In the order of the call.
    sites: Vec<DeviceSite>,
    pub(super) lowest: Option<(usize, Stage)>,
    values: u64,
    gradients: u64,
    floats: usize,
    u: u64,
}

impl Placed {
    pub(super) fn get(&self, layer: usize, projection: Projection) -> Option<&DeviceSite> {
        self.layers[layer][projection as usize].as_ref()
    }
}

/// Memory that adapters take.
pub(super) struct Adapters<'m> {
    machine: &'m dyn Machine,
    values: Room<'m>,
    gradients: Room<'m>,
    keys: Room<'m>,
    u: Room<'m>,
    du: Room<'m>,
    partial: Room<'m>,
}

impl<'m> Adapters<'m> {
    pub(super) fn new(machine: &'m dyn Machine) -> Self {
        let room = || Room::new(machine);
        Self {
            machine,
            values: room(),
            gradients: room(),
            keys: room(),
            u: room(),
            du: room(),
            partial: room(),
        }
    }

    /// Copies the adapters of a call to the device. Without a `seed` nothing is dropped.
    ///
    /// # Errors
    /// If a site does not fit the model, is in no block, has a magnitude, or there is not enough memory.
    pub(super) fn place(
        &mut self,
        config: &ModelConfig,
        sites: &[TrainingSite<'_>],
        (tokens, seed): (usize, Option<u64>),
        checkpointing: Checkpointing,
    ) -> Result<Placed, ModelError> {
        let lowest = match Prepared::new(config, sites)?.lowest() {
            Some(Lowest::Block(layer, stage)) => Some((layer, stage)),
            // Refused below, or there is none.
            Some(Lowest::Embedding | Lowest::Head) | None => None,
        };
        let places: Vec<(usize, Projection)> = sites
            .iter()
            .map(|site| in_block(site.site))
            .collect::<Result<_, _>>()?;
        if let Some(site) = sites.iter().find(|site| site.magnitude.is_some()) {
            return Err(ModelError::Argument {
                what: "an adapter's magnitude",
                found: format!("one of {}", site.site.path()),
                expected: "none: DoRA is trained on the CPU alone".into(),
            });
        }
        let mut layers: Vec<[Option<DeviceSite>; 7]> = vec![[None; 7]; config.num_hidden_layers];
        let mut placed = Vec::with_capacity(sites.len());
        let (mut values, mut keys) = (Vec::new(), Vec::new());
        let mut u = vec![0; config.num_hidden_layers];
        for (site, &(layer, _)) in sites.iter().zip(&places) {
            let (outputs, inputs) = site.site.dims(config);
            let shape = LowRankShape {
                rank: site.rank.next_multiple_of(RANKS),
                inputs,
                outputs,
                scale: site.scale as f32,
            };
            let number = site.site.dropout_number(config.num_hidden_layers);
            let dropout = seed.and_then(|seed| Dropout::new(site.dropout, mix(seed, number)));
            let device = DeviceSite {
                shape,
                place: values.len(),
                u: u[layer],
                mask: Mask {
                    keys: keys.len() as u64,
                    threshold: dropout.map_or(0, |dropout| dropout.threshold()),
                    keep: dropout.map_or(1.0, |dropout| dropout.factor()),
                },
            };
            keys.push(dropout.map_or(0, |dropout| dropout.key()));
            u[layer] += shape.rank;
            lay_out(&shape, site.a, site.b, &mut values);
            placed.push(device);
        }
        // Where each layer's begin: blocks that are run again use the same memory one after the other.
        let mut first = 0;
        let mut most = 0;
        for ranks in &mut u {
            let count = std::mem::replace(ranks, first);
            most = most.max(first + count);
            if checkpointing == Checkpointing::None {
                first += count;
            }
        }
        let keys: Vec<u8> = keys
            .iter()
            .flat_map(|key: &u64| key.to_le_bytes())
            .collect();
        let keys = self.keys.copy(&keys)?;
        for ((layer, projection), device) in places.into_iter().zip(&mut placed) {
            device.u += u[layer];
            device.mask.keys = keys + device.mask.keys * size_of::<u64>() as u64;
            layers[layer][projection as usize] = Some(*device);
        }
        let floats = values.len();
        let u = self.u.of(most * tokens * F32)?;
        Ok(Placed {
            layers,
            sites: placed,
            lowest,
            values: self.values.copy(&Element::F32.encode(&values))?,
            gradients: self.gradients.of(floats * F32)?,
            floats,
            u,
        })
    }

    /// Sets all gradients to zero.
    pub(super) fn clear(&self, placed: &Placed) -> Result<(), KernelError> {
        // SAFETY: `place` asked for as many floats.
        unsafe { self.machine.clear(placed.gradients, placed.floats * F32) }
    }

    /// Adds the gradients of a call to those on the host; waits for the device.
    pub(super) fn collect(
        &self,
        placed: &Placed,
        gradients: &mut [SiteGradients],
    ) -> Result<(), KernelError> {
        let mut found = Vec::with_capacity(placed.floats);
        Element::F32.decode(&self.gradients.read(placed.floats * F32)?, &mut found);
        for (site, to) in placed.sites.iter().zip(gradients) {
            let shape = &site.shape;
            let (a, rest) = found[site.place..].split_at(shape.rank * shape.inputs);
            for (to, from) in to.a.iter_mut().zip(a) {
                *to += from;
            }
            let rank = to.b.len() / shape.outputs;
            for (r, row) in rest.chunks_exact(shape.outputs).take(rank).enumerate() {
                for (to, from) in to.b.iter_mut().skip(r).step_by(rank).zip(row) {
                    *to += from;
                }
            }
        }
        Ok(())
    }

    fn place_of(&self, (element, rows): (Element, usize)) -> Place<'m> {
        Place {
            machine: self.machine,
            element,
            rows,
        }
    }

    /// `y += s · D(x) Aᵀ Bᵀ` for rows `x` as wide as the site's inputs; keeps `U`.
    pub(super) fn forward(
        &self,
        (placed, site): (&Placed, &DeviceSite),
        size: (Element, usize),
        x: u64,
        y: Rows,
    ) -> Result<(), KernelError> {
        self.project((placed, site), size, x)?;
        let (shape, (_, b)) = (&site.shape, placed.factors(site));
        let (u, to) = (placed.u(site, size.1), (shape.outputs, shape.scale));
        // SAFETY: rooms were asked for as much; `x` and `y` are the caller's, as wide as the site.
        unsafe { shape.expand(self.place_of(size), (u, b, y), to, Mask::default()) }
    }

    /// `U = D(x) Aᵀ`, which the backward pass needs.
    pub(super) fn project(
        &self,
        (placed, site): (&Placed, &DeviceSite),
        size: (Element, usize),
        x: u64,
    ) -> Result<(), KernelError> {
        let (shape, (a, _)) = (&site.shape, placed.factors(site));
        let x = Rows {
            address: x,
            stride: shape.inputs,
        };
        let (u, from) = (placed.u(site, size.1), (shape.inputs, 1.0));
        // SAFETY: as in `forward`.
        unsafe { shape.project(self.place_of(size), (x, a, u), from, site.mask) }
    }

    /// Adds the gradients of `A` and `B`, and to `dx` (rows as wide as the site's inputs) that of the input.
    pub(super) fn backward(
        &mut self,
        (placed, site): (&Placed, &DeviceSite),
        size: (Element, usize),
        x: u64,
        dy: Rows,
        dx: Option<u64>,
    ) -> Result<(), KernelError> {
        let (shape, (a, b)) = (&site.shape, placed.factors(site));
        let (element, tokens) = size;
        let du = self.du.of(tokens * shape.rank * F32)?;
        let from = (shape.outputs, shape.scale);
        // SAFETY: as in `forward`.
        unsafe { shape.project(self.place_of(size), (dy, b, du), from, Mask::default())? };
        let of_a = LoraGradient {
            x,
            u: du,
            partial: 0,
            mask: site.mask,
            tokens: tokens as u32,
            width: shape.inputs as u32,
            x_stride: shape.inputs as u32,
            rank: shape.rank as u32,
            adapters: 1,
        };
        let gradient = placed.gradients + (site.place * F32) as u64;
        self.gradient(element, of_a, gradient, 1.0)?;
        let of_b = LoraGradient {
            x: dy.address,
            u: placed.u(site, tokens),
            mask: Mask::default(),
            width: shape.outputs as u32,
            x_stride: dy.stride as u32,
            ..of_a
        };
        let gradient = gradient + (shape.rank * shape.inputs * F32) as u64;
        self.gradient(element, of_b, gradient, shape.scale)?;
        let Some(dx) = dx else { return Ok(()) };
        let dx = Rows {
            address: dx,
            stride: shape.inputs,
        };
        // SAFETY: as in `forward`.
        unsafe {
            shape.expand(
                self.place_of(size),
                (du, a, dx),
                (shape.inputs, 1.0),
                site.mask,
            )
        }
    }

    /// Adds `scale` times a sum over tokens to a gradient.
    fn gradient(
        &mut self,
        element: Element,
        args: LoraGradient,
        to: u64,
        scale: f32,
    ) -> Result<(), KernelError> {
        let pieces = LoraGradient::pieces(args.tokens);
        let floats = pieces as usize * args.rank as usize * args.width as usize;
        let partial = self.partial.of(floats * F32)?;
        self.run(element, &LoraGradient { partial, ..args })?;
        self.run(
            element,
            &LoraReduce {
                partial,
                gradient: to,
                pieces,
                width: args.width,
                ranks: args.rank,
                scale,
            },
        )
    }

    fn run<K: Kernel>(&self, element: Element, kernel: &K) -> Result<(), KernelError> {
        // SAFETY: addresses come from rooms that were asked for what the kernel touches, and from the caller, for rows
        // as wide as the site.
        unsafe { launch(self.machine, element, kernel) }
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> usize {
        let rooms = [
            &self.values,
            &self.gradients,
            &self.keys,
            &self.u,
            &self.du,
            &self.partial,
        ];
        rooms.map(Room::bytes).iter().sum()
    }
}

impl Placed {
    /// Where `A` and `B` lie.
    fn factors(&self, site: &DeviceSite) -> (u64, u64) {
        let a = self.values + (site.place * F32) as u64;
        (a, a + (site.shape.rank * site.shape.inputs * F32) as u64)
    }

    fn u(&self, site: &DeviceSite, tokens: usize) -> u64 {
        self.u + (site.u * tokens * F32) as u64
    }
}

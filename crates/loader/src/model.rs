//! A model that answers, wherever it is.

use std::borrow::Cow;

#[cfg(feature = "device")]
use smollm_model::cuda::{DeviceCache, DeviceLlama};
use smollm_model::{
    Decoder, LowRank, ModelConfig, ModelError, PackedCache, PackedLlama, Segment, Site,
};

use crate::inference::{InferenceArgs, Place};
use crate::{LoadError, Opened};

/// A model packed for the CPU, or in a GPU's memory.
#[derive(Debug)]
pub enum Model {
    /// On the CPU.
    Packed(Box<PackedLlama>),
    /// On a GPU.
    #[cfg(feature = "device")]
    Device(Box<DeviceLlama<'static>>),
}

/// What a [`Model`] remembers of one sequence, where it is.
#[derive(Debug, Default)]
pub struct ModelCache {
    packed: PackedCache,
    #[cfg(feature = "device")]
    device: DeviceCache,
}

impl Model {
    /// Reads the weights, to where `args` want them.
    pub(crate) fn load(opened: &Opened, args: &InferenceArgs) -> Result<Self, LoadError> {
        match args.place(opened.config())? {
            Place::Cpu => {
                let model = PackedLlama::load(opened.checkpoint(), args.options())?;
                Ok(Self::Packed(Box::new(model)))
            }
            #[cfg(feature = "device")]
            Place::Card(card, precision) => {
                let element = precision.element();
                let model = DeviceLlama::load(card.machine(), opened.checkpoint(), element)?;
                Ok(Self::Device(Box::new(model)))
            }
            #[cfg(not(feature = "device"))]
            Place::Card(card, _) => match card {},
        }
    }

    /// Takes all adapters out again, so that the next one is number 0.
    pub fn clear_adapters(&mut self) {
        match self {
            Self::Packed(model) => model.clear_adapters(),
            #[cfg(feature = "device")]
            Self::Device(model) => model.clear_adapters(),
        }
    }

    /// Adds an adapter, `scale · B A` beside the weights of some layers. Returns its number, which requests name.
    ///
    /// # Errors
    /// If a layer does not exist, a shape does not fit, or the device cannot compute it.
    pub fn add_adapter(
        &mut self,
        updates: impl IntoIterator<Item = (Site, LowRank)>,
    ) -> Result<usize, ModelError> {
        match self {
            Self::Packed(model) => model.add_adapter(updates),
            #[cfg(feature = "device")]
            Self::Device(model) => model.add_adapter(updates),
        }
    }

    /// Threads that work together: on a GPU the one that starts its kernels.
    pub fn threads(&self) -> usize {
        match self {
            Self::Packed(model) => model.threads(),
            #[cfg(feature = "device")]
            Self::Device(_) => 1,
        }
    }

    /// Bytes of weights that decoding one token reads.
    pub fn bytes_per_token(&self) -> usize {
        match self {
            Self::Packed(model) => model.bytes_per_token(),
            #[cfg(feature = "device")]
            Self::Device(model) => model.bytes_per_token(),
        }
    }

    /// FLOPs of one token's linear layers, output projection and attention aside: two for each weight.
    pub fn linear_flops_per_token(&self) -> usize {
        match self {
            Self::Packed(model) => model.linear_flops_per_token(),
            #[cfg(feature = "device")]
            Self::Device(model) => model.linear_flops_per_token(),
        }
    }
}

impl Decoder for Model {
    type Cache = ModelCache;

    fn config(&self) -> &ModelConfig {
        match self {
            Self::Packed(model) => Decoder::config(&**model),
            #[cfg(feature = "device")]
            Self::Device(model) => Decoder::config(&**model),
        }
    }

    fn adapters(&self) -> usize {
        match self {
            Self::Packed(model) => model.adapters(),
            #[cfg(feature = "device")]
            Self::Device(model) => model.adapters(),
        }
    }

    fn copy_prefix(&self, from: &ModelCache, tokens: usize, to: &mut ModelCache) {
        match self {
            Self::Packed(model) => model.copy_prefix(&from.packed, tokens, &mut to.packed),
            #[cfg(feature = "device")]
            Self::Device(model) => model.copy_prefix(&from.device, tokens, &mut to.device),
        }
    }

    fn pass(
        &mut self,
        segments: &mut [Segment<'_, ModelCache>],
    ) -> Result<Cow<'_, [f32]>, ModelError> {
        match self {
            Self::Packed(model) => {
                let mut inner: Vec<_> = of(segments, |cache| &mut cache.packed).collect();
                model.pass(&mut inner)
            }
            #[cfg(feature = "device")]
            Self::Device(model) => {
                let mut inner: Vec<_> = of(segments, |cache| &mut cache.device).collect();
                model.pass(&mut inner)
            }
        }
    }
}

/// The segments with the caches that are inside theirs.
fn of<'s, C: 's>(
    segments: &'s mut [Segment<'_, ModelCache>],
    inner: impl Fn(&mut ModelCache) -> &mut C,
) -> impl Iterator<Item = Segment<'s, C>> {
    segments.iter_mut().map(move |segment| Segment {
        ids: segment.ids,
        cache: inner(segment.cache),
        adapter: segment.adapter,
        phase: segment.phase,
        logits: segment.logits,
    })
}

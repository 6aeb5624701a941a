//! The places of a model that an adapter can stand at.

use crate::{ModelConfig, Projection};

/// A kind of module that an adapter can stand beside, whatever the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Module {
    /// `embed_tokens`, the table of embeddings.
    Embedding,
    /// A linear layer of a block.
    Linear(Projection),
    /// `lm_head`, which scores the vocabulary.
    Head,
}

impl Module {
    /// All nine, in the order of the forward pass.
    pub const ALL: [Self; 9] = [
        Self::Embedding,
        Self::Linear(Projection::Q),
        Self::Linear(Projection::K),
        Self::Linear(Projection::V),
        Self::Linear(Projection::O),
        Self::Linear(Projection::Gate),
        Self::Linear(Projection::Up),
        Self::Linear(Projection::Down),
        Self::Head,
    ];

    /// The name that `target_modules` uses, e.g. `q_proj`, `embed_tokens` or `lm_head`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embed_tokens",
            Self::Linear(projection) => projection.name(),
            Self::Head => "lm_head",
        }
    }

    /// The module that `target_modules` calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|module| module.name() == name)
    }

    /// The place of this module; those of blocks have a layer, the others have one place for all.
    pub fn at(self, layer: usize) -> Site {
        match self {
            Self::Embedding => Site::Embedding,
            Self::Linear(projection) => Site::new(layer, projection),
            Self::Head => Site::Head,
        }
    }
}

/// One place in a model that can carry an adapter.
///
/// The update of a place is `scale · B A`, beside the weight `W: [out, in]` that its outputs `W x` come from. To the
/// embedding `x` is a token as a unit vector: there `A` is `[rank, vocab]` and `B` is `[hidden, rank]`, and the update is
/// one of the *transposed* table, whose rows are tokens. Embedding and head are two places even where one table serves
/// as both: an adapter of one leaves the other as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// The table of embeddings.
    Embedding,
    /// A linear layer of a block.
    Block {
        /// The layer, from 0.
        layer: usize,
        /// The projection in that layer.
        projection: Projection,
    },
    /// The output projection.
    Head,
}

impl Site {
    /// The site of a projection in a layer.
    pub fn new(layer: usize, projection: Projection) -> Self {
        Self::Block { layer, projection }
    }

    /// Every site of a model of so many layers, in the order of the forward pass.
    pub fn all(layers: usize) -> impl Iterator<Item = Self> {
        let blocks = (0..layers)
            .flat_map(|layer| Projection::ALL.map(|projection| Self::new(layer, projection)));
        [Self::Embedding]
            .into_iter()
            .chain(blocks)
            .chain([Self::Head])
    }

    /// What kind of module it is.
    pub fn module(self) -> Module {
        match self {
            Self::Embedding => Module::Embedding,
            Self::Block { projection, .. } => Module::Linear(projection),
            Self::Head => Module::Head,
        }
    }

    /// The layer, where it is in one.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Block { layer, .. } => Some(layer),
            Self::Embedding | Self::Head => None,
        }
    }

    /// The module's path in the model, by which PEFT selects it.
    ///
    /// ```
    /// use smollm_model::{Projection, Site};
    ///
    /// assert_eq!(Site::new(3, Projection::Q).path(), "model.layers.3.self_attn.q_proj");
    /// assert_eq!(Site::Embedding.path(), "model.embed_tokens");
    /// ```
    pub fn path(self) -> String {
        match self {
            Self::Embedding => "model.embed_tokens".into(),
            Self::Block { layer, projection } => {
                format!("model.layers.{layer}.{}", projection.path())
            }
            Self::Head => "lm_head".into(),
        }
    }

    /// The Hugging Face name of the weight, e.g. `model.embed_tokens.weight`; a head that is tied to the embedding has none.
    pub fn weight_name(self) -> String {
        format!("{}.weight", self.path())
    }

    /// Outputs and inputs, `(out, in)`: rows and columns of the weight, but for the embedding, whose table is `[in, out]`.
    pub fn dims(self, config: &ModelConfig) -> (usize, usize) {
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        match self {
            Self::Embedding => (hidden, vocab),
            Self::Block { projection, .. } => projection.dims(config),
            Self::Head => (vocab, hidden),
        }
    }

    /// Numbers the dropout masks of places of one forward pass: those of blocks layer by layer, then the head's. The
    /// embedding's input is a token, of which nothing can be dropped.
    pub(crate) fn dropout_number(self, layers: usize) -> u64 {
        let number = match self {
            Self::Block { layer, projection } => {
                layer * Projection::ALL.len() + projection as usize
            }
            Self::Embedding | Self::Head => layers * Projection::ALL.len(),
        };
        number as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_have_names_and_places() {
        for module in Module::ALL {
            assert_eq!(Module::from_name(module.name()), Some(module));
            assert_eq!(module.at(4).module(), module);
            assert!(module.at(4).path().ends_with(module.name()));
        }
        assert_eq!(Site::all(2).count(), 2 + 2 * 7);
        assert!(Site::all(3).is_sorted());
    }
}

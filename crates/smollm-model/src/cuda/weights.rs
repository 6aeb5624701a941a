//! A model's weights in a machine's memory, all of one element type.

use candle_core::DType;

use super::{Element, Machine, Memory};
use crate::{Checkpoint, ModelConfig, ModelError, Projection};

/// The weights of one block. Each matrix is `[outputs, inputs]`, row by row.
pub(super) struct Block<'m> {
    pub(super) input_layernorm: Memory<'m>,
    pub(super) post_attention_layernorm: Memory<'m>,
    /// Outputs `q | k | v`.
    pub(super) qkv: Memory<'m>,
    pub(super) o: Memory<'m>,
    /// Outputs `gate | up`.
    pub(super) gate_up: Memory<'m>,
    pub(super) down: Memory<'m>,
}

/// All of them.
pub(super) struct Weights<'m> {
    pub(super) embed: Memory<'m>,
    /// `None` where it is the embedding.
    head: Option<Memory<'m>>,
    pub(super) norm: Memory<'m>,
    pub(super) layers: Vec<Block<'m>>,
}

impl<'m> Weights<'m> {
    /// Copies a checkpoint's weights to the machine, one tensor at a time.
    ///
    /// # Errors
    /// If a tensor cannot be read or the machine has not enough memory.
    pub(super) fn load(
        machine: &'m dyn Machine,
        ck: &Checkpoint,
        element: Element,
    ) -> Result<Self, ModelError> {
        let source = Source {
            machine,
            ck,
            element,
        };
        let config = ck.config();
        let vocabulary = |name: &str| {
            let parts = [(name.to_owned(), config.vocab_size)];
            source.matrix(&parts, config.hidden_size)
        };
        let tied = config.tie_word_embeddings;
        Ok(Self {
            embed: vocabulary("model.embed_tokens.weight")?,
            head: (!tied).then(|| vocabulary("lm_head.weight")).transpose()?,
            norm: source.norm("model.norm.weight")?,
            layers: (0..config.num_hidden_layers)
                .map(|layer| source.block(layer))
                .collect::<Result<_, _>>()?,
        })
    }

    /// `[vocab, hidden]`
    pub(super) fn head(&self) -> &Memory<'m> {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    /// Bytes that the weights of a model take.
    pub(super) fn bytes(config: &ModelConfig, element: Element) -> usize {
        let of = |p: Projection| {
            let (out, inputs) = p.dims(config);
            out * inputs
        };
        let block = Projection::ALL.into_iter().map(of).sum::<usize>() + 2 * config.hidden_size;
        let tables = if config.tie_word_embeddings { 1 } else { 2 };
        let vocabulary = tables * config.vocab_size * config.hidden_size;
        let all = config.num_hidden_layers * block + vocabulary + config.hidden_size;
        all * element.bytes()
    }
}

/// Where weights come from, and what they become.
struct Source<'a, 'm> {
    machine: &'m dyn Machine,
    ck: &'a Checkpoint,
    element: Element,
}

impl<'m> Source<'_, 'm> {
    fn block(&self, layer: usize) -> Result<Block<'m>, ModelError> {
        let norm = |rest: &str| self.norm(&format!("model.layers.{layer}.{rest}.weight"));
        let group = |projections: &[Projection]| {
            let part = |p: &Projection| {
                let name = format!("model.layers.{layer}.{}.weight", p.path());
                (name, p.dims(self.ck.config()).0)
            };
            let parts: Vec<(String, usize)> = projections.iter().map(part).collect();
            self.matrix(&parts, projections[0].dims(self.ck.config()).1)
        };
        Ok(Block {
            input_layernorm: norm("input_layernorm")?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            qkv: group(&[Projection::Q, Projection::K, Projection::V])?,
            o: group(&[Projection::O])?,
            gate_up: group(&[Projection::Gate, Projection::Up])?,
            down: group(&[Projection::Down])?,
        })
    }

    fn norm(&self, name: &str) -> Result<Memory<'m>, ModelError> {
        let bytes = self.tensor(name, &[self.ck.config().hidden_size])?;
        Ok(Memory::of(self.machine, &bytes)?)
    }

    /// Matrices with the same inputs, their outputs below each other.
    fn matrix(&self, parts: &[(String, usize)], inputs: usize) -> Result<Memory<'m>, ModelError> {
        let outputs: usize = parts.iter().map(|(_, outputs)| outputs).sum();
        let memory = Memory::new(self.machine, outputs * inputs * self.element.bytes())?;
        let mut address = memory.address();
        for (name, outputs) in parts {
            let bytes = self.tensor(name, &[*outputs, inputs])?;
            // SAFETY: the parts together are as long as the allocation.
            unsafe { self.machine.write(address, &bytes)? };
            address += bytes.len() as u64;
        }
        Ok(memory)
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<u8>, ModelError> {
        let dtype = match self.element {
            Element::Bf16 => DType::BF16,
            Element::F32 | Element::F16 => DType::F32,
        };
        let tensor = self.ck.tensor(name, shape, dtype)?;
        if self.element == Element::F16 {
            return Ok(self.element.encode(&tensor.flatten_all()?.to_vec1()?));
        }
        let mut bytes = Vec::with_capacity(shape.iter().product::<usize>() * self.element.bytes());
        tensor.write_bytes(&mut bytes)?;
        Ok(bytes)
    }
}

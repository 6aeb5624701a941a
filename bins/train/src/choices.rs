//! Flags with a few values.

#![allow(clippy::doc_markdown, reason = "these comments are the help text")]

use clap::ValueEnum;
use loader::DType;
use smollm_model::WeightFormat;

/// What products with frozen weights are computed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32 bits
    #[default]
    #[value(alias = "float32")]
    F32,
    /// 16 bits, with f32's range
    #[value(alias = "bfloat16")]
    Bf16,
}

impl Precision {
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// How frozen weights are kept, where it is not as `Precision` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QuantizeArg {
    /// As the file has them
    Stored,
    /// 8 bits, and a scale for 32 weights
    #[value(name = "q8_0", alias = "q8-0")]
    Q8_0,
}

impl QuantizeArg {
    pub(crate) fn format(self) -> WeightFormat {
        match self {
            Self::Stored => WeightFormat::Stored,
            Self::Q8_0 => WeightFormat::Q8_0,
        }
    }
}

/// What computes loss and gradients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// Packed weights and a backward pass of their own
    #[default]
    Packed,
    /// The differentiable model
    Autograd,
}

/// What is kept of a forward pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum KeepArg {
    /// What the backward pass needs
    #[default]
    None,
    /// The input of each block, which is run again
    Block,
    /// None where the memory is predicted to be enough, else block
    Auto,
}

/// What happens to a step whose loss or gradient is no number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OnNanArg {
    /// The run ends
    #[default]
    Error,
    /// The step is passed over
    Skip,
}

/// Who is told of steps and evaluations beside the log file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportTo {
    /// Nobody
    #[default]
    None,
    /// TensorBoard
    Tensorboard,
}

/// What is done with a row that is too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OnTruncate {
    /// Shorten the context; drop the row where instruction and response alone do not fit
    #[default]
    Context,
    /// Drop the row
    Drop,
    /// Keep the first tokens, as the original program does
    #[value(alias = "keep_start")]
    KeepStart,
    /// Stop with an error
    Error,
}

/// Which rows go through the model together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum BatchingArg {
    /// Any, in the shuffled order
    #[default]
    Shuffled,
    /// Rows of about the same length
    Bucketed,
    /// As many as fit into a number of tokens
    #[value(alias = "packing")]
    Packed,
}

/// Whose behaviour to reproduce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compat {
    /// The Python program that this one replaces
    Original,
}

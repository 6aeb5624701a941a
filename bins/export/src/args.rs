//! The command line.

use std::path::PathBuf;

use clap::ValueEnum;
use loader::{DType, ModelArgs};
use stage::StageError;

use crate::push::PushArgs;

/// Safetensors files are split above this, as transformers 4 does.
const SHARD_BYTES: u64 = 5_000_000_000;

const EXAMPLES: &str = "\
Examples:
  smoltune export --model-name adapter
      A Hugging Face folder, `merged`, that transformers and vLLM read.
  smoltune export --model-name adapter --format gguf --outtype q8_0 --modelfile
      A file for llama.cpp, and a Modelfile beside it for Ollama.
  smoltune export --model-name adapter --format gguf-adapter
      The adapter alone, for `llama-cli --lora`.
  smoltune export --model-name adapter --format peft --dialect portable --report compare.json
      An adapter for readers that know `r` and `lora_alpha` alone, the scores in its model card.
  HF_TOKEN=… smoltune export --model-name adapter --format peft --push-to-hub USER/NAME --private
      The adapter on the hub.";

/// Write a model with its adapter merged, or an adapter, in the formats of other programs.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "export", version, after_help = EXAMPLES)]
pub struct Args {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Adapter to merge into the model, or to convert
    #[arg(long, value_name = "DIR", aliases = ["adapter_dir", "adapter"])]
    pub adapter_dir: Option<PathBuf>,
    /// Folder to write into; made if need be [default: merged, or the format's name]
    #[arg(long, value_name = "DIR", aliases = ["output_dir", "out"])]
    pub output_dir: Option<PathBuf>,
    /// What to write
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How a safetensors model is stored; the merge itself is done in f32 [default: f32]
    #[arg(long, value_enum)]
    pub dtype: Option<Precision>,
    /// Safetensors files larger than this are split (5GB, 500MB, 2GiB, or bytes) [default: 5GB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, alias = "max_shard_size")]
    pub max_shard_size: Option<u64>,
    /// How a GGUF file's matrices are stored; norms stay f32 [default: f16 for models, f32 for adapters]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub outtype: Option<OutType>,
    /// Which readers a PEFT adapter is for [default: native]
    #[arg(long, value_enum)]
    pub dialect: Option<Dialect>,
    /// Write an Ollama Modelfile beside the GGUF file
    #[arg(long)]
    pub modelfile: bool,
    /// What `compare` or `evaluate` wrote as JSON, for the model card
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Licence of what is written, for the model card and the GGUF file [default: the one that the base or the adapter states]
    #[arg(long, value_name = "SPDX")]
    pub license: Option<String>,
    /// Where to put it besides
    #[command(flatten)]
    pub push: PushArgs,
    /// Replace what an earlier export left in the folder
    #[arg(long)]
    pub overwrite: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A Hugging Face folder, the adapter merged
    #[default]
    Safetensors,
    /// A GGUF file, the adapter merged
    Gguf,
    /// The adapter as a GGUF file, for llama.cpp's --lora
    #[value(alias = "gguf_adapter")]
    GgufAdapter,
    /// The adapter as PEFT's folder
    Peft,
    /// The adapter as mlx-lm's folder
    Mlx,
}

/// How safetensors weights are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32 bits: nothing of the merge is lost
    #[default]
    #[value(alias = "float32")]
    F32,
    /// 16 bits, with f32's range: half the size
    #[value(alias = "bfloat16")]
    Bf16,
    /// 16 bits, more exact than bf16 for weights below 65504
    #[value(alias = "float16")]
    F16,
}

/// How a GGUF file's matrices are stored; llama.cpp's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(non_camel_case_types, reason = "ggml's own names")]
pub enum OutType {
    /// 32 bits
    F32,
    /// 16 bits
    F16,
    /// 16 bits, with f32's range
    Bf16,
    /// 8 bits, and a scale for 32 weights
    #[value(name = "q8_0", alias = "q8-0")]
    Q8_0,
    /// 4.5 bits; rows that do not divide into its blocks of 256, and the head, have more
    #[value(name = "q4_k", alias = "q4-k")]
    Q4_K,
}

/// Which readers a PEFT adapter is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// As it was trained
    #[default]
    Native,
    /// For readers that know one rank, one alpha and names of modules: everything else is folded in
    Portable,
}

impl Format {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "gguf",
            Self::GgufAdapter => "gguf-adapter",
            Self::Peft => "peft",
            Self::Mlx => "mlx",
        }
    }

    /// Whether the adapter stays one.
    pub fn is_adapter(self) -> bool {
        matches!(self, Self::GgufAdapter | Self::Peft | Self::Mlx)
    }

    fn is_gguf(self) -> bool {
        matches!(self, Self::Gguf | Self::GgufAdapter)
    }
}

impl OutType {
    /// Every type.
    pub(crate) const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_K];

    /// Whether matrices are stored in blocks with scales.
    pub(crate) fn is_quantized(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Q4_K)
    }
}

impl Precision {
    /// The type, and its name in `config.json`.
    pub(crate) fn stored(self) -> (DType, &'static str) {
        match self {
            Self::F32 => (DType::F32, "float32"),
            Self::Bf16 => (DType::BF16, "bfloat16"),
            Self::F16 => (DType::F16, "float16"),
        }
    }
}

impl Args {
    /// The folder to write into.
    pub(crate) fn output_dir(&self) -> PathBuf {
        let default = match self.format {
            Format::Safetensors => "merged",
            other => other.name(),
        };
        self.output_dir.clone().unwrap_or_else(|| default.into())
    }

    /// How large a safetensors file may be, in bytes.
    pub(crate) fn max_shard_size(&self) -> u64 {
        self.max_shard_size.unwrap_or(SHARD_BYTES)
    }

    /// How a GGUF file's matrices are stored.
    pub(crate) fn outtype(&self) -> OutType {
        let default = if self.format.is_adapter() {
            OutType::F32
        } else {
            OutType::F16
        };
        self.outtype.unwrap_or(default)
    }

    /// Refuses flags that the format has no use for: they would have been meant for something.
    pub(crate) fn check(&self) -> Result<(), StageError> {
        let folder = self.format == Format::Safetensors;
        let gguf = self.format.is_gguf();
        let given = [
            ("--dtype", self.dtype.is_some(), folder, "safetensors"),
            (
                "--max-shard-size",
                self.max_shard_size.is_some(),
                folder,
                "safetensors",
            ),
            (
                "--outtype",
                self.outtype.is_some(),
                gguf,
                "gguf and gguf-adapter",
            ),
            ("--modelfile", self.modelfile, gguf, "gguf and gguf-adapter"),
            (
                "--dialect",
                self.dialect.is_some(),
                self.format == Format::Peft,
                "peft",
            ),
        ];
        for (flag, is_given, fits, formats) in given {
            if is_given && !fits {
                return Err(StageError::usage(format!(
                    "{flag} is for --format {formats}, not for {}",
                    self.format.name()
                )));
            }
        }
        let blocks = self.outtype.is_some_and(OutType::is_quantized);
        if self.format == Format::GgufAdapter && blocks {
            return Err(StageError::usage(
                "an adapter is stored as f32, f16 or bf16: the rows of its matrices are shorter \
                 than a block",
            ));
        }
        let pushed = self.push.push_to_hub.is_some();
        if pushed && self.modelfile && self.format == Format::GgufAdapter {
            return Err(StageError::usage(
                "the Modelfile of an adapter names the base's place on this machine, which --push-to-hub does not \
                 publish; leave --modelfile out, or push a merged model with --format gguf",
            ));
        }
        Ok(())
    }
}

/// `5GB`, `500MB`, `2GiB` or a number of bytes, as transformers reads sizes.
fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 6] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
    ];
    let unit = UNITS.iter().find_map(|(name, bytes)| {
        let at = text.len().checked_sub(name.len())?;
        let (number, end) = (text.get(..at)?, text.get(at..)?);
        end.eq_ignore_ascii_case(name).then_some((number, *bytes))
    });
    let (number, bytes) = unit.unwrap_or((text, 1));
    let number = number.trim().parse::<u64>().ok();
    let size = number.and_then(|n| n.checked_mul(bytes)).filter(|n| *n > 0);
    size.ok_or_else(|| "expected a size such as 5GB, 500MB or 2GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_are_read_as_transformers_reads_them() {
        let sizes = [
            ("5GB", 5_000_000_000),
            ("300kb", 300_000),
            ("2GiB", 2 << 30),
            ("17", 17),
        ];
        for (text, bytes) in sizes {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "0", "1.5GB", "5 parsecs", "99999999999GB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}

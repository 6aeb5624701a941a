//! The stage's command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use loader::{InferenceArgs, ModelArgs};
use smollm_model::EngineLimits;
use stage::StageError;

use crate::app::Settings;
use crate::keys::Keys;

const EXAMPLES: &str = "\
Examples:
  smoltune serve --model-name HuggingFaceTB/SmolLM2-135M-Instruct
      Answers at http://127.0.0.1:8000/v1, to this machine only.
  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{\"model\": \"SmolLM2-135M-Instruct\", \"messages\": [{\"role\": \"user\", \"content\": \"Name a bird.\"}]}'
  smoltune serve --model-name MODEL --adapter runs/r8 --adapter runs/r16 --port 0
      Three models in one process: the base, r8 and r16. A free port; standard output says which.
  smoltune serve --model-name model.gguf --host 0.0.0.0 --api-key-file keys.txt
      For other machines, with a key. (Without a file, SMOLTUNE_API_KEY in the environment is the key.)

From Python:
  client = openai.OpenAI(base_url=\"http://127.0.0.1:8000/v1\", api_key=\"none\")

SIGINT or SIGTERM: running requests are finished, new ones refused; the second ends at once.";

/// Answer over HTTP, as the OpenAI API does.
///
/// POST /v1/chat/completions and /v1/completions (whole or streamed), GET /v1/models, /health, and /metrics for
/// Prometheus. All requests share one engine. Prints its address once it listens.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "serve", version, after_help = EXAMPLES)]
pub struct Args {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Adapter to answer with beside the base; may be given several times. Requests name it by its folder's name
    #[arg(long, value_name = "DIR", aliases = ["adapter_dir", "adapter"])]
    pub adapter_dir: Vec<PathBuf>,
    /// What requests call the base model [default: the last part of its name, without .gguf]
    #[arg(long, value_name = "ID", alias = "model_id")]
    pub model_id: Option<String>,
    /// System message of conversations without one [default: the one the adapter was trained with, else the template's own]
    #[arg(long, value_name = "TEXT", aliases = ["system-prompt", "system_prompt"])]
    pub system: Option<String>,
    /// Use --system even if the adapter was trained with another one
    #[arg(long, alias = "force_system")]
    pub force_system: bool,
    /// How the model is kept and run
    #[command(flatten)]
    pub inference: InferenceArgs,
    /// Address to listen at; others than this machine's own let other machines in
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen at; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub port: u16,
    /// File with API keys, one a line, of which a client must send one [default: that in the environment, else no key]
    #[arg(long, value_name = "FILE", alias = "api_key_file")]
    pub api_key_file: Option<PathBuf>,
    /// Answers generated together
    #[arg(long, value_name = "N", default_value_t = 16, aliases = ["batch_size", "bs"])]
    pub batch_size: usize,
    /// Answers that may wait; more are refused with 429
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub queue: usize,
    /// Longest answer that may be asked for, in tokens
    #[arg(long, value_name = "N", default_value_t = 4096, alias = "max_tokens")]
    pub max_tokens: usize,
    /// Longest body of a request, in bytes; longer ones are refused with 413
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, alias = "max_body")]
    pub max_body: usize,
    /// Connections open at a time; others wait
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        alias = "max_connections"
    )]
    pub max_connections: usize,
    /// Longest time for one request, in seconds; 504 after that
    #[arg(long, value_name = "S", default_value_t = 600)]
    pub timeout: u64,
    /// Longest time for a request to arrive, and for a client that reads nothing, in seconds
    #[arg(long, value_name = "S", default_value_t = 30)]
    pub patience: u64,
    /// Time that running requests get to finish when the server is stopped, in seconds
    #[arg(long, value_name = "S", default_value_t = 30)]
    pub drain: u64,
}

impl Args {
    /// Exit code 2 for numbers that make no sense, 3 for keys that cannot be read.
    pub(crate) fn settings(&self) -> Result<Settings, StageError> {
        for (flag, value) in [
            ("--batch-size", self.batch_size),
            ("--max-tokens", self.max_tokens),
            ("--max-body", self.max_body),
            ("--max-connections", self.max_connections),
            ("--timeout", self.timeout as usize),
            ("--patience", self.patience as usize),
        ] {
            if value == 0 {
                return Err(StageError::usage(format!(
                    "{flag} is 0, expected at least 1"
                )));
            }
        }
        Ok(Settings {
            engine: EngineLimits {
                batch_size: self.batch_size,
                ..EngineLimits::default()
            },
            queue: self.queue,
            max_tokens: self.max_tokens,
            max_body: self.max_body,
            max_connections: self.max_connections,
            timeout: Duration::from_secs(self.timeout),
            patience: Duration::from_secs(self.patience),
            drain: Duration::from_secs(self.drain),
            keys: self.keys()?,
        })
    }

    fn keys(&self) -> Result<Keys, StageError> {
        let Some(path) = &self.api_key_file else {
            return Ok(std::env::var("SMOLTUNE_API_KEY")
                .map_or_else(|_| Keys::default(), |key| Keys::from_lines(&key)));
        };
        let text = std::fs::read_to_string(path)
            .map_err(|e| StageError::bad_data(format!("cannot read {}: {e}", path.display())))?;
        let keys = Keys::from_lines(&text);
        // Nobody who names a file of keys wants everyone let in.
        if keys.is_empty() {
            let text = format!("{} holds no key; write one on a line", path.display());
            return Err(StageError::bad_data(text));
        }
        Ok(keys)
    }
}

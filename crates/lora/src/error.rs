//! What can go wrong with an adapter or a training run, in words a person can act on.

use std::path::PathBuf;

/// An adapter that cannot be read, written or fitted to a model.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that should hold JSON does not.
    #[error("{}: not valid JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where the text goes wrong.
        source: serde_json::Error,
    },
    /// The weights are not a whole safetensors file.
    #[error("{}: not a whole safetensors file: {source}; copy it again", path.display())]
    SafeTensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },
    /// The weights contradict themselves, or there is less of them than they say.
    #[error("{}: the file is damaged or truncated ({reason}); copy it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the tensor.
        reason: String,
    },
    /// An error inside one file, with the file's name in front.
    #[error("{}: {source}", path.display())]
    In {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<LoraError>,
    },
    /// `adapter_config.json` asks for something that changes the arithmetic and that we do not do.
    #[error(
        "adapter config field `{field}` is {found}, which is not supported (expected {expected})"
    )]
    Unsupported {
        /// The field.
        field: String,
        /// Its value, as JSON.
        found: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// A field of `adapter_config.json` is missing or has a value that makes no sense.
    #[error("adapter config field `{field}` is {found}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value, as JSON, or `missing`.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A name that no module has.
    #[error(
        "unknown target module `{name}`; known: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, \
         embed_tokens, lm_head, or all-linear for the first seven, or the end of a module's path, or a regular expression for whole paths"
    )]
    Target {
        /// The name.
        name: String,
    },
    /// A regular expression that cannot be read, or that takes too long.
    #[error("adapter config field `{field}`: the regular expression `{text}`: {source}")]
    Regex {
        /// The field.
        field: &'static str,
        /// The expression.
        text: String,
        /// What is wrong with it.
        source: Box<fancy_regex::Error>,
    },
    /// The config selects nothing.
    #[error(
        "the adapter has no place in the model: target_modules `{targets}`, less exclude_modules and \
         within layers_to_transform, selects no projection of {layers} layers"
    )]
    NoSite {
        /// The targets.
        targets: String,
        /// How many layers were looked at.
        layers: usize,
    },
    /// A tensor that the config promises is not there.
    #[error("tensor `{name}` is missing (expected {expected} tensors, found {found})")]
    MissingTensor {
        /// The tensor.
        name: String,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A tensor that the config does not promise.
    #[error("unexpected tensor `{name}`: {why}")]
    UnexpectedTensor {
        /// The tensor.
        name: String,
        /// Why it does not belong.
        why: String,
    },
    /// A tensor of the wrong shape.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?} ({from})")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
        /// Where the expectation comes from.
        from: &'static str,
    },
    /// A tensor that is neither F32 nor F16 nor BF16.
    #[error("tensor `{name}` has type {found}, expected F32, F16 or BF16")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// A factor that holds an infinity or a value that is no number.
    #[error(
        "tensor `{name}` would hold {found}, which is no finite number: the training diverged, or a weight or \
         lora_alpha is too large for f32"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// What it holds.
        found: f32,
    },
    /// The adapter has another number of layers than the model.
    #[error(
        "this adapter is for a model of {found} layers, the model has {expected}; pass the base model it was trained on"
    )]
    Layers {
        /// Layers in the adapter.
        found: usize,
        /// Layers in the model.
        expected: usize,
    },
    /// An `init_lora_weights` that we do not have.
    #[error(
        "init_lora_weights is `{found}`{why}; expected true (or default), gaussian, orthogonal, pissa, pissa_niter_N \
         (such as pissa_niter_4) or olora"
    )]
    Init {
        /// What was asked for.
        found: String,
        /// More about it.
        why: &'static str,
    },
    /// A weight that an adapter cannot start with a part of.
    #[error("the weight `{name}` cannot be decomposed: {reason}")]
    Decompose {
        /// The weight.
        name: String,
        /// Why.
        reason: String,
    },
    /// Whoever watched did not want all of it.
    #[error("stopped before every weight was decomposed")]
    Stopped,
    /// An adapter that does not hold what a run with a changed base started from.
    #[error("the adapter does not hold the factors that were taken out of the base: {reason}")]
    Residual {
        /// What is wrong.
        reason: String,
    },
    /// Adapters that cannot be made one.
    #[error("the adapters cannot be combined: {reason}")]
    Combine {
        /// Why.
        reason: String,
    },
    /// What has no place for DoRA's magnitudes.
    #[error(
        "a DoRA adapter cannot be {action}: its magnitudes scale whole rows of the base's weights, which no update \
         beside them can do; merge it into the base instead (`export --format safetensors` or `gguf`)"
    )]
    Dora {
        /// What was asked for.
        action: &'static str,
    },
    /// What has no place for adapters of the embedding or the head.
    #[error(
        "an adapter of {module} cannot be {action}; merge it into the base instead (`export --format safetensors` or \
         `gguf`), or leave {module} out of target_modules"
    )]
    Vocabulary {
        /// `embed_tokens` or `lm_head`.
        module: &'static str,
        /// What was asked for.
        action: &'static str,
    },
    /// A matrix of the base that was saved beside the adapter is not the base's.
    #[error(
        "`{name}`, the base's own matrix as it was saved beside the adapter, is not this base's: {reason}; the adapter \
         was trained beside other weights, name that base, or train it anew beside this one"
    )]
    SavedBase {
        /// The tensor.
        name: String,
        /// How far off it is.
        reason: String,
    },
    /// An operation on tensors failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The model refused.
    #[error(transparent)]
    Model(#[from] smollm_model::ModelError),
}

impl LoraError {
    pub(crate) fn in_file(self, path: impl Into<PathBuf>) -> Self {
        Self::In {
            path: path.into(),
            source: Box::new(self),
        }
    }
}

/// A training run that cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting outside its range.
    #[error("{name} is {found}, expected {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: String,
        /// Its range.
        expected: &'static str,
    },
    /// There is nothing to train on.
    #[error("no training rows: nothing to learn from")]
    NoRows,
    /// A row that cannot be trained on.
    #[error("{set} row {index}: {why}")]
    Row {
        /// `training` or `evaluation`.
        set: &'static str,
        /// Which row, from 0.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A loss or gradient stopped being a number. The weights are those after the step before.
    #[error(
        "step {step}: {what} is {value}; lower the learning rate, or look at the rows of this step"
    )]
    NotFinite {
        /// The optimiser step, from 1.
        step: usize,
        /// The loss or the tensor.
        what: String,
        /// What it is instead of a number.
        value: f64,
    },
    /// Too many updates in a row were passed over ([`OnNan::Skip`](crate::OnNan::Skip)).
    #[error("more than {in_a_row} steps in a row had to be skipped; the last: {source}")]
    Skipped {
        /// How many may be.
        in_a_row: usize,
        /// Why the last one could not be made.
        source: Box<TrainError>,
    },
    /// The best evaluation is to be chosen by something that is not measured.
    #[error("no evaluation measures `{metric}`; measured: {}", names.join(", "))]
    Metric {
        /// What was asked for.
        metric: String,
        /// What there is.
        names: Vec<String>,
    },
    /// A [`Scorer`](crate::Scorer) could not measure.
    #[error("the adapter cannot be scored: {0}")]
    Scorer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The backward pass did not reach a trainable tensor: a defect in the model's operations.
    #[error("step {step}: trainable tensor `{name}` got no gradient")]
    NoGradient {
        /// The optimiser step, from 1.
        step: usize,
        /// The tensor.
        name: String,
    },
    /// The optimiser's memory does not belong to these variables.
    #[error(
        "the optimiser's moments of `{name}`: {why}; resume with the adapter they were saved with"
    )]
    Moments {
        /// The tensor.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A state to go on from that does not belong to this run.
    #[error("cannot go on after step {steps}: this run has {planned} steps; {remedy}")]
    Beyond {
        /// Steps that the state has behind it.
        steps: usize,
        /// Steps of the run.
        planned: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// An operation on tensors failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The model refused.
    #[error(transparent)]
    Model(#[from] smollm_model::ModelError),
    /// The adapter refused.
    #[error(transparent)]
    Lora(#[from] LoraError),
}

/// A checkpoint that cannot be written, read, or gone on from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file or folder could not be read, written or removed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The state's file is not what we write.
    #[error("{}: not a trainer state: {source}; go on from another checkpoint", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where the text goes wrong.
        source: serde_json::Error,
    },
    /// The state was written by another version.
    #[error(
        "{}: format {found}, expected {expected}; go on with the version that wrote it",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// A file is no longer what was saved.
    #[error(
        "{}: not the file that was saved (its SHA-256 differs); copy it again or go on from another checkpoint",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The optimiser's file is not a whole safetensors file.
    #[error("{}: not a whole safetensors file: {source}", path.display())]
    SafeTensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },
    /// The optimiser's file contradicts itself.
    #[error("{}: the file is damaged ({reason}); go on from another checkpoint", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The run that was saved had other settings.
    #[error(
        "{}: {changes}; go on with the same settings, or start anew",
        path.display()
    )]
    Settings {
        /// The checkpoint.
        path: PathBuf,
        /// The settings that differ.
        fields: Vec<String>,
        /// Each of them with what it was and what it is.
        changes: String,
    },
    /// The adapter refused.
    #[error(transparent)]
    Lora(#[from] LoraError),
}

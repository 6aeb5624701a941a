//! Where a model comes from: the hub, a folder, or a GGUF file.

mod hub;

use std::path::{Path, PathBuf};

use crate::ModelError;

pub use hub::HubOptions;

/// The revision of a hub model where none is asked for.
pub const DEFAULT_REVISION: &str = "main";

/// What a user names when asked for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A model on the Hugging Face hub.
    Hub {
        /// `owner/name`.
        id: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// A folder with `config.json`, safetensors weights and tokenizer files.
    Dir(PathBuf),
    /// A `.gguf` file.
    Gguf(PathBuf),
}

/// A model's files on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelFiles {
    /// A folder with `config.json`, `*.safetensors`, `tokenizer.json` and so on.
    Dir(PathBuf),
    /// A `.gguf` file.
    Gguf(PathBuf),
}

impl ModelSource {
    /// Understands a name: what exists on disk comes first, then `owner/name` or
    /// `owner/name@revision` is a hub id.
    ///
    /// ```
    /// use smollm_model::ModelSource;
    /// let source = ModelSource::parse("HuggingFaceTB/SmolLM2-135M-Instruct@main")?;
    /// assert!(matches!(source, ModelSource::Hub { id, .. } if id.ends_with("Instruct")));
    /// assert!(ModelSource::parse("./no/such/model.gguf").is_err());
    /// # Ok::<(), smollm_model::ModelError>(())
    /// ```
    ///
    /// # Errors
    /// If `name` looks like a path that does not exist, is a file of another kind, or is no hub id.
    pub fn parse(name: &str) -> Result<Self, ModelError> {
        let wrong = |reason: String| ModelError::Source {
            name: name.to_owned(),
            reason,
        };
        let path = Path::new(name);
        if path.is_dir() {
            return Ok(Self::Dir(path.to_path_buf()));
        }
        let is_gguf = path
            .extension()
            .is_some_and(|ext| ext.eq_ignore_ascii_case("gguf"));
        if path.exists() {
            return if is_gguf {
                Ok(Self::Gguf(path.to_path_buf()))
            } else {
                Err(wrong("it is a file that does not end in .gguf".to_owned()))
            };
        }
        let (id, revision) = name.split_once('@').unwrap_or((name, DEFAULT_REVISION));
        if is_gguf || !is_hub_id(id) {
            return Err(wrong("there is no such file or folder".to_owned()));
        }
        if !is_revision(revision) {
            return Err(wrong(format!("`{revision}` is no revision")));
        }
        Ok(Self::Hub {
            id: id.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// The same source at another revision; folders and files have none and stay as they are.
    #[must_use]
    pub fn at_revision(self, revision: Option<&str>) -> Self {
        match (self, revision) {
            (Self::Hub { id, .. }, Some(revision)) => Self::Hub {
                id,
                revision: revision.to_owned(),
            },
            (other, _) => other,
        }
    }

    /// Gets the files, from the hub as the environment says ([`HubOptions::from_env`]).
    ///
    /// # Errors
    /// If a file is missing, the hub cannot be reached, or it has no such model.
    pub fn resolve(&self) -> Result<ModelFiles, ModelError> {
        self.resolve_with(&HubOptions::from_env())
    }

    /// Gets the files; a hub model is downloaded into the cache, or found there.
    ///
    /// # Errors
    /// As [`ModelSource::resolve`].
    pub fn resolve_with(&self, options: &HubOptions) -> Result<ModelFiles, ModelError> {
        match self {
            Self::Hub { id, revision } => {
                if !is_revision(revision) {
                    let (name, reason) = (id.clone(), format!("`{revision}` is no revision"));
                    return Err(ModelError::Source { name, reason });
                }
                hub::fetch(id, revision, options).map(ModelFiles::Dir)
            }
            Self::Dir(dir) => {
                let config = dir.join("config.json");
                if !config.is_file() {
                    return Err(ModelError::Incomplete {
                        path: dir.clone(),
                        reason: "there is no config.json".to_owned(),
                        remedy: "give a folder in Hugging Face format",
                    });
                }
                Ok(ModelFiles::Dir(dir.clone()))
            }
            Self::Gguf(path) => Ok(ModelFiles::Gguf(path.clone())),
        }
    }
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub { id, revision } if revision == DEFAULT_REVISION => f.write_str(id),
            Self::Hub { id, revision } => write!(f, "{id}@{revision}"),
            Self::Dir(path) | Self::Gguf(path) => path.display().fmt(f),
        }
    }
}

impl ModelFiles {
    /// The folder or the file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Dir(path) | Self::Gguf(path) => path,
        }
    }
}

/// `owner/name` of letters, digits, `-`, `_` and `.`, as the hub allows.
fn is_hub_id(id: &str) -> bool {
    let part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
    };
    id.split_once('/')
        .is_some_and(|(owner, name)| part(owner) && part(name))
}

/// A name that stays inside the cache's `refs` folder and inside its part of the URL.
fn is_revision(revision: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
    revision.chars().all(allowed) && revision.split('/').all(inside)
}

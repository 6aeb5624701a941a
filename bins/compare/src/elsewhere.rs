//! What `guard` has measured of the second system, to stand beside its gain.

use std::path::Path;

use report::{Moved, Provenance};
use serde::{Deserialize, Deserializer, Serialize};
use stage::{FileRecord, StageError};

/// The file that `guard --out-file` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The base model.
    pub model: String,
    /// The adapter's folder.
    pub adapter: String,
    /// How weights were kept.
    pub format: String,
    /// All texts together.
    #[serde(flatten)]
    pub all: Figures,
    /// Each text.
    pub texts: Vec<Text>,
}

/// One text's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// What the text is called.
    pub name: String,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// How far a tuned model is from its base. JSON has no word for what is no number but `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Perplexity of the base.
    #[serde(deserialize_with = "number")]
    pub perplexity_before: f64,
    /// Perplexity of the adapter.
    #[serde(deserialize_with = "number")]
    pub perplexity_after: f64,
    /// Divergence of the adapter's next-token distribution from the base's, in nats a token.
    #[serde(deserialize_with = "number")]
    pub kl: f64,
    /// Part of the places at which both find the same token likeliest.
    #[serde(deserialize_with = "number")]
    pub same_choice: f64,
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

impl Elsewhere {
    /// Reads what `guard` wrote.
    ///
    /// # Errors
    /// Exit code 3 for a file that cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Self, StageError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| StageError::bad_data(format!("cannot read {}: {e}", path.display())))?;
        serde_json::from_str(&text).map_err(|e| {
            StageError::bad_data(format!(
                "{} is not what guard --out-file writes: {e}",
                path.display()
            ))
        })
    }

    /// A warning, if it was measured of another adapter than this one; folders that are gone say nothing.
    pub(crate) fn foreign(&self, adapter: &Path) -> Option<String> {
        let measured = Path::new(&self.adapter).canonicalize().ok()?;
        let compared = adapter.canonicalize().ok()?;
        (measured != compared).then(|| {
            format!(
                "What stands under \"elsewhere\" was measured of {}, the answers are those of {}.",
                measured.display(),
                compared.display()
            )
        })
    }

    /// In a sentence, for the notes.
    pub(crate) fn note(&self) -> String {
        let said = self.report().says();
        format!(
            "Elsewhere, on {} texts that it was not tuned for: {said}",
            self.texts.len()
        )
    }

    /// What the report shows.
    pub(crate) fn report(&self) -> report::Elsewhere {
        let text = |text: &Text| (text.name.clone(), text.figures.moved());
        report::Elsewhere {
            all: self.all.moved(),
            texts: self.texts.iter().map(text).collect(),
        }
    }

    /// Where it comes from.
    ///
    /// # Errors
    /// Exit code 3 if the file is gone.
    pub(crate) fn provenance(&self, path: &Path) -> Result<Provenance, StageError> {
        let record = FileRecord::of(path)?;
        let facts = [
            ("file", record.path),
            ("sha256", record.sha256),
            ("model", self.model.clone()),
            ("adapter", self.adapter.clone()),
            ("weights", self.format.clone()),
            ("made by", "smoltune guard".into()),
        ];
        Ok(Provenance {
            title: "Elsewhere".into(),
            facts: facts.map(|(name, fact)| (name.to_owned(), fact)).into(),
        })
    }
}

impl Figures {
    fn moved(&self) -> Moved {
        Moved {
            tokens: self.tokens,
            perplexity_before: self.perplexity_before,
            perplexity_after: self.perplexity_after,
            kl: self.kl,
            same_choice: self.same_choice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_of_another_adapter_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let folders = ["r8", "r16"].map(|name| dir.path().join(name));
        for folder in &folders {
            std::fs::create_dir(folder).unwrap();
        }
        let figures = Figures {
            tokens: 2,
            perplexity_before: 1.0,
            perplexity_after: 1.0,
            kl: 0.0,
            same_choice: 1.0,
        };
        let measured = Elsewhere {
            model: "m".into(),
            adapter: folders[0].display().to_string(),
            format: "f32".into(),
            all: figures,
            texts: Vec::new(),
        };
        assert_eq!(measured.foreign(&folders[0].join("../r8")), None);
        let warning = measured.foreign(&folders[1]).unwrap();
        assert!(
            warning.contains("r8") && warning.contains("r16"),
            "{warning}"
        );
        assert_eq!(measured.foreign(&dir.path().join("gone")), None);
    }
}

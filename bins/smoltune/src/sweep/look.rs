//! The winner on the test rows, once: who looks again and again at test rows to choose a recipe has
//! no test rows any more.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stage::{StageError, sha256_file};

use super::cells::{Cell, Sweep};
use super::read_step_json;
use crate::run::{self, plan};

/// What came of scoring on the test rows.
pub(super) enum Outcome {
    /// The object that `compare` wrote.
    Scored(Value),
    /// The rows had been looked at for another winner.
    Refused(String),
}

/// One look at the test rows. It is written down before the look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Look {
    winner: String,
    seeds: Vec<u64>,
    /// SHA-256 of the test rows.
    rows: String,
    /// SHA-256 of the adapters, by seed.
    adapters: Vec<String>,
}

/// Answers the test rows with the base and with the winner's adapters, and compares. The record of
/// all looks lies in `test/looks.json`.
///
/// # Errors
/// Those of the steps; a record that cannot be read or written.
pub(super) fn test(sweep: &Sweep, winner: &Cell, again: bool) -> Result<Outcome, StageError> {
    let (out, seeds) = (&sweep.config.out, &sweep.config.sweep.seeds);
    let at = |name: &str| out.join("test").join(name);
    let rows = out.join("data/test.jsonl");
    let hash = |path: &Path| sha256_file(path).map_err(StageError::failed);
    let weights = |seed: &u64| winner.folder(out, *seed).join("adapter_model.safetensors");
    let adapters = seeds.iter().map(|seed| hash(&weights(seed)));
    let look = Look {
        winner: winner.name.clone(),
        seeds: seeds.clone(),
        rows: hash(&rows)?,
        adapters: adapters.collect::<Result<_, _>>()?,
    };
    stage::create_folder(&at(""))?;
    if let Some(before) = note(&at("looks.json"), &look, again)? {
        return Ok(Outcome::Refused(format!(
            "the test rows were not looked at: they were already, for the winner {} (seeds {:?}), and a second \
             look is no longer a clean test; --test-again does it, and {} keeps count",
            before.winner,
            before.seeds,
            at("looks.json").display()
        )));
    }
    let config = sweep.config_of(winner, seeds[0])?;
    let before = at("baseline.jsonl");
    run::do_step(
        &plan::answer("test-baseline", &config, None, &rows, &before),
        out,
    )?;
    let mut after = Vec::new();
    for seed in seeds {
        stage::interrupt::check("run the same command again to go on")?;
        let answers = at(&format!("seed-{seed}.jsonl"));
        let (name, folder) = (format!("test-seed-{seed}"), winner.folder(out, *seed));
        let step = plan::answer(&name, &config, Some(&folder), &rows, &answers);
        run::do_step(&step, out)?;
        after.push(answers);
    }
    let comparison = at("comparison.json");
    run::do_step(
        &plan::compare(&config, &before, &after, &comparison, None),
        out,
    )?;
    read_step_json(&comparison).map(Outcome::Scored)
}

/// Writes the look down, unless there was one for something else: that one is given back.
fn note(path: &Path, look: &Look, again: bool) -> Result<Option<Look>, StageError> {
    let mut looks: Vec<Look> = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
            StageError::bad_data(format!("{} is no record of looks: {e}", path.display()))
        })?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => {
            return Err(StageError::failed(format!(
                "cannot read {}: {e}",
                path.display()
            )));
        }
    };
    if looks.contains(look) {
        return Ok(None);
    }
    if !again && let Some(before) = looks.pop() {
        return Ok(Some(before));
    }
    looks.push(look.clone());
    stage::write_json(path, &looks)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_look_is_refused_unless_it_is_the_same_or_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("looks.json");
        let look = |winner: &str| Look {
            winner: winner.into(),
            seeds: vec![1],
            rows: "r".into(),
            adapters: vec!["a".into()],
        };
        assert_eq!(note(&path, &look("x"), false).unwrap(), None);
        assert_eq!(note(&path, &look("x"), false).unwrap(), None, "the same");
        assert_eq!(note(&path, &look("y"), false).unwrap(), Some(look("x")));
        assert_eq!(note(&path, &look("y"), true).unwrap(), None);
        let kept: Vec<Look> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(kept, [look("x"), look("y")]);
        fs::write(&path, "[1").unwrap();
        let error = note(&path, &look("x"), true).unwrap_err();
        assert_eq!(error.exit(), stage::Exit::BadData);
    }
}

//! The combinations that a sweep tries.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use stage::StageError;
use toml::Value;

use super::Metric;
use crate::config::{self, Config, Entry, Overrides, text};
use crate::run::start;

/// How much of a cell's name its folder has.
const LONGEST: usize = 80;

/// Keys that decide which tokens of the validation rows are in their loss.
const COUNTED_BY: [&str; 3] = ["max_seq_len", "on_truncate", "compat"];

/// A sweep whose every cell has been looked at.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) config: Config,
    pub(super) metric: Metric,
    pub(super) cells: Vec<Cell>,
}

/// One combination of values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    /// `lr=0.0001 lora_r=8`.
    pub(super) name: String,
    /// The same for file names.
    id: String,
    /// Key of `[train]` and value, in the order of the keys.
    pub(super) values: Vec<(String, Value)>,
}

impl Sweep {
    /// Makes the cells and checks the configuration of each.
    ///
    /// # Errors
    /// Exit code 2: nothing to try, no rows to rank by, a value that its key cannot have.
    pub(super) fn new(config: Config) -> Result<Self, StageError> {
        let how = &config.sweep;
        let wrong = |message: String| Err(StageError::usage(message));
        if how.grid.is_empty() {
            return wrong(
                "nothing to try: give --lr 1e-4,2e-4 or another list, or [sweep.grid] in the file"
                    .into(),
            );
        }
        if config.data.val == 0 {
            return wrong(
                "a sweep ranks by validation rows, and there are none; set --val N (data.val)"
                    .into(),
            );
        }
        if how.seeds.is_empty() {
            return wrong("sweep.seeds is empty; give at least one seed".into());
        }
        if let Some(seed) = twice(how.seeds.iter().map(u64::to_string)) {
            return wrong(format!("sweep.seeds has {seed} twice"));
        }
        for (key, values) in &how.grid {
            if key == "seed" {
                return wrong("sweep.grid.seed: seeds are sweep.seeds (--seeds 1,2,3)".into());
            }
            if how.metric == "eval_loss" && COUNTED_BY.contains(&key.as_str()) {
                return wrong(format!(
                    "sweep.grid.{key} decides which tokens of the validation rows count, so losses cannot be compared; \
                     rank by answers (sweep.metric = \"f1\")"
                ));
            }
            if start::from_adapter(&config) && start::OF_THE_ADAPTER.contains(&key.as_str()) {
                return wrong(format!(
                    "sweep.grid.{key} is decided by the adapter that training starts from; sweep other keys, or start from \
                     a model"
                ));
            }
            if values.is_empty() {
                return wrong(format!("sweep.grid.{key} is empty; give the values to try"));
            }
            if let Some(value) = twice(values.iter().map(text)) {
                return wrong(format!("sweep.grid.{key} has {value} twice"));
            }
        }
        let sweep = Self {
            metric: Metric::named(&how.metric)?,
            cells: cells(&config),
            config,
        };
        for cell in &sweep.cells {
            sweep.config_of(cell, sweep.config.sweep.seeds[0])?;
        }
        Ok(sweep)
    }

    /// What the cell's training with this seed is told.
    ///
    /// # Errors
    /// Exit code 2, with the cell and the key that is wrong.
    pub(super) fn config_of(&self, cell: &Cell, seed: u64) -> Result<Config, StageError> {
        let seed = i64::try_from(seed).map_err(StageError::usage)?;
        let keys = cell
            .values
            .iter()
            .map(|(key, value)| (format!("train.{key}"), value.clone()));
        let entries: Vec<Entry> = keys.chain([("train.seed".into(), seed.into())]).collect();
        let none = Overrides::default();
        config::resolve(&self.config, None, toml::Table::new(), &none, entries)
            .map_err(|e| e.context(format!("the recipe {}", cell.name)))
    }

    /// What would be trained, a line for each run.
    pub(super) fn text(&self) -> String {
        let (out, seeds) = (&self.config.out, &self.config.sweep.seeds);
        let runs = self.cells.len() * seeds.len();
        let mut lines = vec![format!(
            "{} recipes with {} seeds: {runs} trainings, ranked by {}",
            self.cells.len(),
            seeds.len(),
            self.metric.label()
        )];
        for cell in &self.cells {
            let line = |seed: &u64| {
                format!(
                    "{}, seed {seed}: {}",
                    cell.name,
                    cell.folder(out, *seed).display()
                )
            };
            lines.extend(seeds.iter().map(line));
        }
        lines.join("\n")
    }
}

/// The first that comes a second time.
fn twice(names: impl Iterator<Item = String>) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut names = names;
    names.find(|name| !seen.insert(name.clone()))
}

/// All combinations; the last key moves fastest.
fn cells(config: &Config) -> Vec<Cell> {
    let mut all: Vec<Vec<(String, Value)>> = vec![Vec::new()];
    for (key, values) in &config.sweep.grid {
        let with = |begun: &Vec<(String, Value)>| {
            let begun = begun.clone();
            values.iter().map(move |value| {
                let mut cell = begun.clone();
                cell.push((key.clone(), value.clone()));
                cell
            })
        };
        all = all.iter().flat_map(with).collect();
    }
    all.into_iter().map(Cell::new).collect()
}

impl Cell {
    fn new(values: Vec<(String, Value)>) -> Self {
        let named = |sign: &str, space: &str| {
            let each = values
                .iter()
                .map(|(key, value)| format!("{key}{sign}{}", text(value)));
            each.collect::<Vec<_>>().join(space)
        };
        let name = named("=", " ");
        Self {
            id: file_name(&named("-", "_"), &name),
            name,
            values,
        }
    }

    /// The name of its training with a seed, as a step.
    pub(super) fn step(&self, seed: u64) -> String {
        format!("{}.seed-{seed}", self.id)
    }

    /// The folder of its adapter with a seed.
    pub(super) fn folder(&self, out: &Path, seed: u64) -> PathBuf {
        out.join("cells")
            .join(&self.id)
            .join(format!("seed-{seed}"))
    }
}

/// `wanted` where a file can be called that; else its beginning and a part of the hash of `whole`, so
/// that no two cells share a folder.
fn file_name(wanted: &str, whole: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let tame: String = wanted
        .chars()
        .map(|c| match c {
            ',' => '+',
            c if plain(c) => c,
            _ => '~',
        })
        .collect();
    if tame.len() <= LONGEST && !tame.contains('~') {
        return tame;
    }
    let short: String = tame.chars().take(LONGEST).collect();
    let hash = stage::sha256_bytes(whole.as_bytes());
    format!("{short}-{}", &hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(pairs: &[&str]) -> Result<Sweep, StageError> {
        let flags = Overrides {
            set: pairs.iter().map(|s| (*s).to_owned()).collect(),
            ..Overrides::default()
        };
        Sweep::new(config::load(&Config::default(), None, &flags, Vec::new())?)
    }

    #[test]
    fn every_combination_is_a_cell_with_a_folder_of_its_own() {
        let sweep = sweep(&[
            "data.val=4",
            "sweep.grid.lr=[1e-4, 2e-4]",
            "sweep.grid.lora_r=[8, 16]",
            "sweep.grid.target_modules=['all-linear', ['q_proj', 'v_proj'], '.*[qv]_proj']",
        ])
        .unwrap();
        assert_eq!(sweep.cells.len(), 12);
        let names: BTreeSet<_> = sweep.cells.iter().map(|cell| &cell.id).collect();
        assert_eq!(names.len(), 12);
        assert!(
            names
                .iter()
                .any(|id| *id == "lora_r-8_lr-0.0001_target_modules-q_proj+v_proj")
        );
        let cell = &sweep.cells[4];
        let config = sweep.config_of(cell, 7).unwrap().train;
        assert_eq!(cell.name, "lora_r=8 lr=0.0002 target_modules=q_proj,v_proj");
        assert_eq!((config.lora_r, config.lr, config.seed), (8, 2e-4, 7));
        assert_eq!(config.target_modules, ["q_proj", "v_proj"]);
    }

    #[test]
    fn what_cannot_be_swept_is_told_before_anything_is_trained() {
        for (pairs, told) in [
            (&["data.val=4"][..], "nothing to try"),
            (&["sweep.grid.lr=[1e-4]"], "validation rows"),
            (
                &["data.val=4", "sweep.grid.lr=[1e-4, 1e-4]"],
                "0.0001 twice",
            ),
            (
                &["data.val=4", "sweep.grid.lr=[]"],
                "sweep.grid.lr is empty",
            ),
            (
                &["data.val=4", "sweep.grid.lr=[1e-4]", "sweep.seeds=[1, 1]"],
                "1 twice",
            ),
            (
                &["data.val=4", "sweep.grid.lr=[1e-4]", "sweep.seeds=[]"],
                "at least one seed",
            ),
            (&["data.val=4", "sweep.grid.seed=[1]"], "--seeds"),
            (&["data.val=4", "sweep.grid.lora_r=[8, 0]"], "lora_r=0"),
            (
                &["data.val=4", "sweep.grid.batching=['zipped']"],
                "train.batching",
            ),
            (
                &[
                    "data.val=4",
                    "sweep.grid.lr=[1e-4]",
                    "sweep.metric=evalloss",
                ],
                "did you mean eval_loss?",
            ),
            (&["sweep.grid.lrr=[1e-4]"], "did you mean train.lr?"),
        ] {
            let error = sweep(pairs).unwrap_err();
            assert_eq!(error.exit(), stage::Exit::Usage, "{pairs:?}");
            assert!(error.to_string().contains(told), "{pairs:?}: {error}");
        }
    }

    #[test]
    fn a_long_or_odd_name_gets_a_hash() {
        assert_eq!(file_name("lr-0.1", "lr=0.1"), "lr-0.1");
        let long = file_name(&"a".repeat(200), "x");
        assert_eq!(long.len(), LONGEST + 9);
        assert_ne!(file_name("a-.*", "a=.*"), file_name("a-.?", "a=.?"));
    }
}

//! The table of keys against the stages' flags.

use super::super::schema::find;
use super::*;

#[test]
fn an_empty_file_is_all_defaults_and_defaults_survive_a_round_trip() {
    let empty: Config = toml::from_str("").unwrap();
    assert_eq!(empty, Config::default());
    let text = toml::to_string(&Config::default()).unwrap();
    assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
}

#[test]
fn every_key_is_a_flag_of_its_stage() {
    for section in sections() {
        let Some(stage) = section.stage else { continue };
        for key in section.keys {
            let Some(long) = key.long() else { continue };
            let known = find(&stage(), &long).is_some();
            assert!(known, "{}: no flag --{long}", section.full(key.name));
        }
    }
}

/// What `run` says itself (files, folders, the model), and what decides nothing.
const NO_KEYS: [(&str, &[&str]); 3] = [
    (
        "train",
        &[
            "model-name",
            "base-model",
            "revision",
            "train-csv",
            "eval-csv",
            "no-eval",
            "output-dir",
            "resume-from-checkpoint",
            "overwrite-output-dir",
            "logging-dir",
            "dry-run",
            "no-probe",
            "dtype",
            "system",
            "date",
            "json",
        ],
    ),
    (
        "generate",
        &[
            "model-name",
            "base-model",
            "adapter-dir",
            "with-base",
            "revision",
            "format",
            "served-model-name",
            "test-csv",
            "out-file",
            "system",
            "force-system",
            "date",
            "logprobs",
            "limit",
            "shard",
            "overwrite",
            "json",
        ],
    ),
    (
        "prepare",
        &[
            "folds",
            "model",
            "revision",
            "system",
            "date",
            "max-seq-len",
            "on-truncate",
            "show-mask",
            "out",
            "show",
            "json",
        ],
    ),
];

#[test]
fn every_flag_that_decides_a_result_is_a_key() {
    for (stage, exempt) in NO_KEYS {
        let mut own = sections().iter().filter(|section| section.name != "model");
        let section = own
            .find(|section| section.stage.is_some_and(|s| s().get_name() == stage))
            .unwrap();
        let command = section.stage.unwrap()();
        let mut keys: Vec<String> = section.keys.iter().filter_map(Key::long).collect();
        keys.extend(exempt.iter().map(|flag| (*flag).to_owned()));
        for arg in command.get_arguments() {
            let names = arg
                .get_long()
                .into_iter()
                .chain(arg.get_all_aliases().unwrap_or_default());
            let known = names.clone().any(|name| keys.iter().any(|key| key == name));
            assert!(
                known,
                "{stage} {:?}: add a key to [{}] or name it in NO_KEYS",
                names.collect::<Vec<_>>(),
                section.name
            );
        }
    }
}

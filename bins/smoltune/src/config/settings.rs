//! From a file and a command line to one [`Config`]: defaults, the preset, the file, the flags.

use std::fs;
use std::path::Path;

use stage::{OrExit, StageError};
use toml::de::DeTable;
use toml::{Table, Value};

use super::nearest::{known, unknown_in};
use super::overrides::{Entry, typed};
use super::schema::{Section, text};
use super::sections::sections;
use super::{Config, Overrides, presets};
use crate::run::start;

/// Reads `file` (none: `base` alone), then applies the flags; `more` are those of one command.
///
/// A file that cannot be read is bad data (3); one that says something wrong, or a wrong flag, is
/// wrong usage (2), since the file is a command line written down.
pub(crate) fn load(
    base: &Config,
    file: Option<&Path>,
    flags: &Overrides,
    more: Vec<Entry>,
) -> Result<Config, StageError> {
    let written = file.map(read).transpose()?.unwrap_or_default();
    resolve(base, flags.preset.as_deref(), written, flags, more)
}

/// `base`, then the preset (the one named here, else the one that `written` names), then `written`,
/// then the flags.
///
/// # Errors
/// Exit code 2, with the key that is wrong.
pub(crate) fn resolve(
    base: &Config,
    preset: Option<&str>,
    written: Table,
    flags: &Overrides,
    more: Vec<Entry>,
) -> Result<Config, StageError> {
    let table = layers(
        Table::try_from(base).or_failed()?,
        preset,
        written,
        flags,
        more,
    )?;
    let mut config: Config = table
        .try_into()
        .map_err(|e: toml::de::Error| StageError::usage(e.to_string().trim_end().to_owned()))?;
    check(&config)?;
    start::take_over_system(&mut config)?;
    crate::run::check(&config)?;
    Ok(config)
}

/// What a preset and the flags say of a key of text, if they say anything: the defaults are not asked.
///
/// # Errors
/// As [`resolve`].
pub(crate) fn asked(
    preset: &str,
    flags: &Overrides,
    section: &str,
    key: &str,
) -> Result<Option<String>, StageError> {
    let table = layers(Table::new(), Some(preset), Table::new(), flags, Vec::new())?;
    let value = table.get(section).and_then(|section| section.get(key));
    Ok(value.and_then(Value::as_str).map(str::to_owned))
}

/// A table with the preset, what is written and the flags laid over it, in this order.
fn layers(
    mut table: Table,
    preset: Option<&str>,
    written: Table,
    flags: &Overrides,
    more: Vec<Entry>,
) -> Result<Table, StageError> {
    let of_file = written.get("preset").and_then(Value::as_str);
    let preset = preset.or(of_file).unwrap_or_default().to_owned();
    if !preset.is_empty() {
        let preset = presets::find(&preset).map_err(StageError::usage)?;
        merge(&mut table, preset.table().map_err(StageError::failed)?);
    }
    merge(&mut table, written);
    table.insert("preset".into(), preset.into());
    for (key, value) in more.into_iter().chain(flags.entries()?) {
        set(&mut table, &key, value)?;
    }
    Ok(table)
}

/// What is written in a file, once its keys and their types are known to be right.
fn read(path: &Path) -> Result<Table, StageError> {
    let text = fs::read_to_string(path)
        .map_err(|e| StageError::bad_data(format!("cannot read {}: {e}", path.display())))?;
    let in_file = |e: toml::de::Error| StageError::usage(format!("{}: {e}", path.display()));
    let table = DeTable::parse(&text).map_err(in_file)?;
    if let Some((span, message)) = unknown_in(table.get_ref()) {
        let line = text[..span.start].matches('\n').count() + 1;
        return Err(StageError::usage(format!(
            "{}: line {line}: {message}",
            path.display()
        )));
    }
    // Messages about types have line numbers only when read from text.
    toml::from_str::<Config>(&text).map_err(in_file)?;
    text.parse::<Table>().map_err(in_file)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Puts a value where a dotted name says. Text for a list is its values with commas.
fn set(table: &mut Table, name: &str, value: Value) -> Result<(), StageError> {
    known(name).map_err(StageError::usage)?;
    if name == "preset" {
        return Err(StageError::usage(
            "preset cannot be set so: use --preset, which the other keys then override",
        ));
    }
    let mut at = table;
    let mut parts = name.split('.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            let value = match (at.get(part), value) {
                (Some(Value::Array(_)), Value::String(words)) if of_numbers(name) => {
                    typed(&format!("[{words}]"))
                }
                (Some(Value::Array(_)), Value::String(words)) => listed(&words),
                (Some(Value::Array(_)), Value::Integer(one)) => vec![one].into(),
                // A date, a number: words to a key of text.
                (
                    Some(Value::String(_)),
                    value @ (Value::Integer(_)
                    | Value::Float(_)
                    | Value::Boolean(_)
                    | Value::Datetime(_)),
                ) => text(&value).into(),
                (_, value) => value,
            };
            at.insert(part.to_owned(), value);
            return Ok(());
        }
        let inner = at.entry(part).or_insert_with(|| Table::new().into());
        let wrong = || StageError::usage(format!("{name}: {part} is no section"));
        at = inner.as_table_mut().ok_or_else(wrong)?;
    }
    Ok(())
}

/// Whether a key is a list of numbers.
fn of_numbers(name: &str) -> bool {
    let keys = |section: &Section| {
        let mut keys = section.keys.iter();
        keys.any(|key| key.kind.starts_with("Vec<u") && section.full(key.name) == name)
    };
    sections().iter().any(keys)
}

fn listed(text: &str) -> Value {
    let values = text.split(',').map(str::trim).filter(|v| !v.is_empty());
    values
        .map(|v| Value::String(v.into()))
        .collect::<Vec<_>>()
        .into()
}

/// Numbers that no step accepts but that its command line can say.
fn check(config: &Config) -> Result<(), StageError> {
    let positive = [
        ("data.test", config.data.test),
        ("data.train", config.data.train),
        ("generate.max_new_tokens", config.generate.max_new_tokens),
        ("generate.max_prompt_len", config.generate.max_prompt_len),
        ("generate.batch_size", config.generate.batch_size),
        ("train.batch_size", config.train.batch_size),
        ("train.accumulation", config.train.accumulation),
        ("train.max_seq_len", config.train.max_seq_len),
        ("train.lora_r", config.train.lora_r),
        ("train.eval_steps", config.train.eval_steps),
        ("train.gen_rows", config.train.gen_rows),
        (
            "train.generation_max_length",
            config.train.generation_max_length,
        ),
    ];
    for (key, value) in positive {
        if value == 0 {
            return Err(StageError::usage(format!(
                "{key} is 0; it must be at least 1"
            )));
        }
    }
    for (key, value) in [
        ("train.lr", config.train.lr),
        ("train.epochs", config.train.epochs),
    ] {
        if !(value.is_finite() && value > 0.0) {
            return Err(StageError::usage(format!(
                "{key} is {value}; it must be above 0"
            )));
        }
    }
    let watches = [
        (
            "train.load_best_model_at_end",
            config.train.load_best_model_at_end,
        ),
        (
            "train.early_stopping_patience",
            config.train.early_stopping_patience.is_some(),
        ),
        (
            "train.predict_with_generate",
            config.train.predict_with_generate,
        ),
    ];
    for (key, set) in watches {
        if set && config.data.val == 0 {
            return Err(StageError::usage(format!(
                "{key} needs validation rows; set data.val"
            )));
        }
    }
    check_guard(config)?;
    let metric = config.train.metric_for_best_model.as_str();
    if !["loss", "eval_loss"].contains(&metric) && !config.train.predict_with_generate {
        return Err(StageError::usage(format!(
            "train.metric_for_best_model is {metric:?}, which is measured with train.predict_with_generate = true"
        )));
    }
    Ok(())
}

/// What would end a run after all answers, where it could have been told before the first.
fn check_guard(config: &Config) -> Result<(), StageError> {
    let guard = &config.guard;
    if !guard.enabled {
        return Ok(());
    }
    if guard.tokens < 2 {
        return Err(StageError::usage(format!(
            "guard.tokens is {}; it must be at least 2, as a token is predicted from those before it",
            guard.tokens
        )));
    }
    if !guard.text.is_empty() && !Path::new(&guard.text).is_file() {
        return Err(StageError::usage(format!(
            "guard.text is {:?}, and there is no such file",
            guard.text
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[&str]) -> Result<Config, StageError> {
        let set = pairs.iter().map(|s| (*s).to_owned()).collect();
        let flags = Overrides {
            set,
            ..Overrides::default()
        };
        load(&Config::default(), None, &flags, Vec::new())
    }

    #[test]
    fn a_set_key_keeps_its_type() {
        let config = with(&[
            "train.lr=1",
            "train.max_steps=3",
            "model.name=a/b",
            "train.loraplus_lr_ratio=16",
            "train.target_modules=q_proj, v_proj",
            "sweep.grid.lora_r=[4, 8]",
            "model.date=2026-01-02",
            "train.memory_limit=6000000000",
            "train.layers_to_transform=0,1",
            "sweep.seeds=7",
        ]);
        let config = config.unwrap();
        assert_eq!((config.train.lr, config.train.max_steps), (1.0, Some(3)));
        assert_eq!(config.train.loraplus_lr_ratio, Some(16.0));
        assert_eq!(config.model.name, "a/b");
        assert_eq!(config.train.target_modules, ["q_proj", "v_proj"]);
        assert_eq!(config.sweep.grid["lora_r"], [4.into(), 8.into()]);
        assert_eq!(config.model.date, "2026-01-02");
        assert_eq!(config.train.memory_limit, "6000000000");
        assert_eq!(config.train.layers_to_transform, [0, 1]);
        assert_eq!(config.sweep.seeds, [7]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pair, named) in [
            ("train.lrr=1", "did you mean train.lr?"),
            ("trian.lr=1", "did you mean [train]?"),
            ("train=1", "train is a section"),
            ("train.lora_r=0", "train.lora_r"),
            ("train.batching=bucketted", "train.batching"),
            ("train.device=gpu", "train.device"),
            ("train.lr_schedule=cosin", "train.lr_schedule"),
            ("train.target_modules=(", "train.target_modules"),
            ("train.rank_pattern=q_proj", "train.rank_pattern"),
            ("model.dtype=f64", "model.dtype"),
            ("model.dtype=auto", "model.dtype"),
            ("generate.dtype=f64", "generate.dtype"),
            ("generate.kv_dtype=q4", "generate.kv_dtype"),
            ("data.view=mine", "data.view"),
            ("evaluate.rouge_thresh=2", "evaluate.rouge_thresh"),
            ("compare.alpha=0.9", "compare.alpha"),
            ("train.load_best_model_at_end=true", "data.val"),
            ("train.predict_with_generate=true", "data.val"),
            (
                "train.metric_for_best_model=rougeL",
                "predict_with_generate",
            ),
            ("train.gen_rows=0", "train.gen_rows"),
            ("guard.tokens=1", "guard.tokens"),
            ("train.momentum=0.9", "--momentum is for"),
            ("train.ema_decay=1.0", "EMA decay"),
            ("train.neftune_noise_alpha=-1.0", "NEFTune"),
            ("guard.text=nowhere.txt", "guard.text"),
            ("data.test=many", "test"),
            ("preset=fast", "--preset"),
            ("train.lr", "KEY=VALUE"),
        ] {
            let error = with(&[pair]).unwrap_err();
            assert_eq!(error.exit(), stage::Exit::Usage, "{pair}");
            assert!(error.to_string().contains(named), "{pair}: {error}");
        }
    }

    #[test]
    fn flags_beat_the_file_the_file_beats_the_preset_and_that_beats_the_base() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("smoltune.toml");
        fs::write(
            &path,
            "preset = \"original-2\"\n[train]\nlr = 1e-3\nlora_r = 4\n",
        )
        .unwrap();
        let more = vec![("train.lr".to_owned(), Value::Float(5e-3))];
        let load =
            |flags: &Overrides| load(&Config::default(), Some(&path), flags, more.clone()).unwrap();
        let config = load(&Overrides::default());
        assert_eq!(config.preset, "original-2");
        let train = &config.train;
        assert_eq!((train.lr, train.lora_r, train.epochs), (5e-3, 4, 2.0));
        let config = load(&Overrides {
            preset: Some("fast".into()),
            ..Overrides::default()
        });
        let train = &config.train;
        assert_eq!(config.preset, "fast", "the command line names another");
        assert_eq!((train.lr, train.lora_r, train.epochs), (5e-3, 4, 1.0));
        assert_eq!(train.accumulation, 8);
    }
}

//! The keys written down: the file that `init` makes, and `docs/config.md`.

use std::fmt::Write as _;

use stage::{OrExit, StageError};
use toml::{Table, Value};

use super::schema::{Key, Section};
use super::{Config, presets, sections};

/// A `smoltune.toml` with every key, its meaning and its choices. Values stay commented out, so that
/// the file says what `preset` says until a line is made one's own.
///
/// # Errors
/// Only if a value has no form in TOML.
pub(crate) fn template(config: &Config) -> Result<String, StageError> {
    let table = Table::try_from(config).or_failed()?;
    let mut out = String::from(
        "# What a run does. A line that begins with # and a name shows the value that counts now; take\n\
         # the # away to set another. Flags beat this file, this file beats the preset. An unknown name\n\
         # is an error. docs/config.md has all of this as tables.\n",
    );
    for section in sections() {
        out.push('\n');
        if !section.name.is_empty() {
            let _ = write!(out, "# {}\n[{}]\n", joined(section.about), section.name);
        }
        let values = values_of(&table, section);
        for key in section.keys {
            write_key(&mut out, section, key, values.and_then(|v| v.get(key.name)));
        }
    }
    Ok(out)
}

fn write_key(out: &mut String, section: &Section, key: &Key, value: Option<&Value>) {
    let choices = choices(section, key).map_or_else(String::new, |all| format!(" ({all})"));
    let _ = writeln!(out, "# {}{choices}", joined(key.doc));
    if key.name == "preset" {
        for preset in &presets::PRESETS {
            let _ = writeln!(out, "#   {}: {}", preset.name, preset.what);
        }
    }
    let _ = match value {
        None => writeln!(out, "# {} is not set; {}", key.name, key.expects()),
        Some(value) if key.name == "preset" && value.as_str() != Some("") => {
            writeln!(out, "{} = {value}", key.name)
        }
        Some(value) => writeln!(out, "#{} = {}", key.name, shown(value)),
    };
}

/// The values that a section's keys have in a whole configuration.
fn values_of<'a>(table: &'a Table, section: &Section) -> Option<&'a Table> {
    if section.name.is_empty() {
        Some(table)
    } else {
        table.get(section.name)?.as_table()
    }
}

fn joined(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

/// The words that a key may have, where these are few.
fn choices(section: &Section, key: &Key) -> Option<String> {
    if key.name == "preset" {
        let names: Vec<&str> = presets::PRESETS.iter().map(|preset| preset.name).collect();
        return Some(names.join(", "));
    }
    if key.kind == "bool" {
        return None;
    }
    let values = section.with_flag(key, |arg| {
        let all = arg.get_possible_values();
        let names = all.iter().map(|value| value.get_name().to_owned());
        names.collect::<Vec<_>>()
    });
    values
        .filter(|values| !values.is_empty())
        .map(|values| values.join(", "))
}

/// A value in TOML, with large and small numbers as people write them.
fn shown(value: &Value) -> String {
    match value {
        Value::Float(number) if *number != 0.0 && number.abs() <= 1e-3 => format!("{number:e}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Overrides, load};

    const HEAD: &str = "\
# Configuration

<!-- Made from bins/smoltune/src/config by its own test: UPDATE_DOCS=1 cargo test --workspace config_page -->

`smoltune run`, `quickstart` and `sweep` are told what to do by one TOML file, or by none: every key has a
default. Values come from the defaults, then the preset (`preset = \"…\"`, or `--preset`), then the file,
then the command line; `--set KEY=VALUE` reaches every key by its dotted name (`--set train.lr=1e-4`). `smoltune run
--show-config` prints the outcome.

`smoltune init [--preset NAME] [FILE]` writes a file with every key, its meaning and its choices. A name that is not
known is an error that gives the file, the line and the nearest name. Values are judged by the flags of the stages
before the first step begins. Paths are relative to the folder where you start the program.

An empty text (`\"\"`) and an empty list stand for \"none\"; `–` is a key that has no value until you set it.
";

    fn page() -> String {
        let defaults = Config::default();
        let table = Table::try_from(&defaults).unwrap();
        let mut out = String::from(HEAD);
        presets_table(&mut out, &table);
        for section in sections() {
            let _ = match section.name {
                "" => write!(out, "\n## Above all sections\n\n"),
                name => write!(out, "\n## `[{name}]`\n\n{}\n\n", joined(section.about)),
            };
            out += "| key | default | |\n|---|---|---|\n";
            let values = values_of(&table, section);
            for key in section.keys {
                let value = values.and_then(|values| values.get(key.name));
                let value = value.map_or_else(|| "–".into(), |v| format!("`{}`", shown(v)));
                let mut doc = joined(key.doc);
                if let Some(choices) = choices(section, key) {
                    let _ = write!(doc, " ({choices})");
                }
                if value == "–" {
                    let _ = write!(doc, " ({})", key.expects());
                }
                let _ = writeln!(out, "| `{}` | {value} | {doc} |", key.name);
            }
        }
        out
    }

    /// One line a key that some preset sets to something else than the default.
    fn presets_table(out: &mut String, defaults: &Table) {
        *out += "\n## Presets\n\n| preset | |\n|---|---|\n";
        for preset in &presets::PRESETS {
            let _ = writeln!(out, "| `{}` | {} |", preset.name, preset.what);
        }
        *out += "\nWhat they set. The model stays the one that you name; the published table of the original is of\n\
                 `HuggingFaceTB/SmolLM2-1.7B-Instruct`.\n\n| key | default |";
        let tables: Vec<Table> = presets::PRESETS
            .iter()
            .map(|p| p.table().unwrap())
            .collect();
        for preset in &presets::PRESETS {
            let _ = write!(out, " `{}` |", preset.name);
        }
        *out += "\n|---|---|---|---|---|---|\n";
        for section in sections() {
            for key in section.keys {
                let cell = |table: &Table| {
                    let value = values_of(table, section)?.get(key.name)?;
                    Some(shown(value))
                };
                if !tables.iter().any(|table| cell(table).is_some()) {
                    continue;
                }
                let _ = write!(out, "| `{}` |", section.full(key.name));
                for table in std::iter::once(defaults).chain(&tables) {
                    let value = cell(table).map(|value| format!("`{value}`"));
                    let _ = write!(out, " {} |", value.unwrap_or_default());
                }
                out.push('\n');
            }
        }
    }

    #[test]
    fn config_page_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
        let page = page();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == page,
            "docs/config.md is stale; UPDATE_DOCS=1 cargo test --workspace config_page writes it anew"
        );
    }

    #[test]
    fn what_init_writes_is_the_preset_with_and_without_the_comment_signs() {
        let names = presets::PRESETS.iter().map(|preset| Some(preset.name));
        for preset in names.chain([None]) {
            let flags = Overrides {
                preset: preset.map(str::to_owned),
                ..Overrides::default()
            };
            let config = load(&Config::default(), None, &flags, Vec::new()).unwrap();
            let text = template(&config).unwrap();
            let active = text.lines().map(|line| match line.strip_prefix('#') {
                Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
                _ => line,
            });
            let active = active.collect::<Vec<_>>().join("\n");
            assert!(active.lines().count() == text.lines().count() && active != text);
            let dir = tempfile::tempdir().unwrap();
            for text in [text.as_str(), active.as_str()] {
                let path = dir.path().join("smoltune.toml");
                std::fs::write(&path, text).unwrap();
                let none = Overrides::default();
                let read = load(&Config::default(), Some(&path), &none, Vec::new()).unwrap();
                assert_eq!(read, config, "{text}");
            }
            for section in sections() {
                for key in section.keys {
                    let named =
                        |line: &str| line.trim_start_matches(['#', ' ']).starts_with(key.name);
                    assert!(text.lines().any(named), "{}", section.full(key.name));
                }
            }
        }
    }
}

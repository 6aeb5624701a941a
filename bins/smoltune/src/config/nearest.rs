//! Names that are not known, and what was probably meant.

use std::cmp::Ordering;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::Section;
use super::sections::{Train, sections};

/// How alike two names must be (Jaro-Winkler, from 0 to 1) for one to be suggested for the other.
const ALIKE: f64 = 0.8;
/// What a name gains by standing in the section that was written.
const SAME_SECTION: f64 = 0.1;

/// Whether a dotted name is a key; else what to say.
///
/// # Errors
/// A sentence that names the nearest key or section, or all of those that would do.
pub(crate) fn known(name: &str) -> Result<(), String> {
    let parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        // Names within the grid are those of [train].
        ["sweep", "grid", key] => has(&Train::SECTION, key, name),
        [key] => has(&sections()[0], key, name),
        [first, key, rest @ ..] => match section(first) {
            None => Err(no_section(first)),
            Some(section) if rest.is_empty() => has(section, key, name),
            Some(section) => has(section, &format!("{key}.{}", rest.join(".")), name),
        },
        [] => Err("an empty name".into()),
    }
}

/// The first unknown name of a file: where it stands, and what to say.
pub(super) fn unknown_in(table: &DeTable<'_>) -> Option<(Range<usize>, String)> {
    let mut found = None;
    walk(table, "", &mut |span, name| {
        let inner = known(name).err().map(|message| (span, message));
        let first = |a: &(Range<usize>, String), b: &(Range<usize>, String)| a.0.start < b.0.start;
        if let Some(inner) = inner
            && found.as_ref().is_none_or(|old| first(&inner, old))
        {
            found = Some(inner);
        }
    });
    found
}

/// Tells of every key, with its dotted name; of a section that is not known, only of the section.
fn walk(table: &DeTable<'_>, above: &str, tell: &mut impl FnMut(Range<usize>, &str)) {
    for (key, value) in table {
        let name = if above.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{above}.{}", key.get_ref())
        };
        match inside(value) {
            Some(table) if section(&name).is_some() || name == "sweep.grid" => {
                walk(table, &name, tell);
            }
            Some(_) if above.is_empty() => tell(key.span(), &format!("{name}.")),
            _ if section(&name).is_some() => {}
            _ => tell(key.span(), &name),
        }
    }
}

fn inside<'a, 'i>(value: &'a Spanned<DeValue<'i>>) -> Option<&'a DeTable<'i>> {
    value.get_ref().as_table()
}

fn section(name: &str) -> Option<&'static Section> {
    sections()
        .iter()
        .find(|section| section.name == name && !name.is_empty())
}

fn has(section: &Section, key: &str, full: &str) -> Result<(), String> {
    if section.key(key).is_some() {
        return Ok(());
    }
    if section.name.is_empty() && self::section(key).is_some() {
        return Err(format!(
            "{key} is a section; name a key of it, such as {}",
            example(key)
        ));
    }
    let meant = nearest_key(section, key).map_or_else(
        || keys_of(section),
        |meant| format!("did you mean {meant}?"),
    );
    Err(format!("unknown key {full}; {meant}"))
}

fn example(name: &str) -> String {
    let first = section(name).map(|section| section.full(section.keys[0].name));
    first.unwrap_or_default()
}

fn keys_of(section: &Section) -> String {
    let keys: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
    let keys = keys.join(", ");
    if section.name.is_empty() {
        let names: Vec<&str> = sections()[1..].iter().map(|s| s.name).collect();
        format!(
            "above all sections are {keys}; sections are {}",
            names.join(", ")
        )
    } else {
        format!("the keys of [{}] are {keys}", section.name)
    }
}

fn no_section(name: &str) -> String {
    let names = sections()[1..].iter().map(|section| section.name);
    let meant = nearest(name, names.clone()).map_or_else(
        || format!("sections are {}", names.collect::<Vec<_>>().join(", ")),
        |meant| format!("did you mean [{meant}]?"),
    );
    format!("unknown section [{name}]; {meant}")
}

/// The key that is most like `key`, by its name or by one that its flag has; of any section.
fn nearest_key(within: &Section, key: &str) -> Option<String> {
    let wanted = key.replace('-', "_");
    let mut best: Option<(f64, String)> = None;
    for section in sections() {
        for candidate in section.keys {
            let mut names = vec![candidate.name.to_owned()];
            let aliases = section.with_flag(candidate, |arg| {
                let all = arg.get_all_aliases().unwrap_or_default();
                all.iter().map(|name| name.replace('-', "_")).collect()
            });
            names.extend(aliases.into_iter().flat_map(|names: Vec<String>| names));
            let bonus = if section.name == within.name {
                SAME_SECTION
            } else {
                0.0
            };
            let like = |name: &String| strsim::jaro_winkler(&wanted, name);
            let alike = names.iter().map(like).fold(0.0, f64::max);
            if alike >= ALIKE && best.as_ref().is_none_or(|(most, _)| alike + bonus > *most) {
                best = Some((alike + bonus, section.full(candidate.name)));
            }
        }
    }
    best.map(|(_, name)| name)
}

/// Of `names`, the one that is like `wanted`, if any is.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rated = names.map(|name| (strsim::jaro_winkler(wanted, name), name));
    let best = rated.max_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
    best.filter(|(alike, _)| *alike >= ALIKE)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_told_with_what_was_meant() {
        for (wrong, meant) in [
            ("train.learning_rate", "train.lr"),
            ("train.lrr", "train.lr"),
            ("train.epoch", "train.epochs"),
            ("train.lora_rank", "train.lora_r"),
            ("train.gradient_accumulation_steps", "train.accumulation"),
            ("train.batch-size", "train.batch_size"),
            ("train.use_rslora", "train.rslora"),
            ("train.warmup", "train.warmup_ratio"),
            ("data.shuffle_seed", "train.shuffle"),
            ("generate.max_tokens", "generate.max_new_tokens"),
            ("generate.lr", "train.lr"),
            ("lora_r", "train.lora_r"),
            ("sweep.grid.lrr", "train.lr"),
            ("trian.lr", "[train]"),
            ("evaluation.rouge_thresh", "[evaluate]"),
        ] {
            let message = known(wrong).unwrap_err();
            assert!(
                message.contains(&format!("did you mean {meant}?")),
                "{wrong}: {message}"
            );
        }
    }

    #[test]
    fn where_nothing_is_near_all_are_named() {
        let message = known("train.qqq").unwrap_err();
        assert!(message.contains("warmup_ratio"), "{message}");
        let message = known("zzz.lr").unwrap_err();
        assert!(message.contains("sections are model, data"), "{message}");
        assert!(known("train").unwrap_err().contains("train.epochs"));
        for right in ["out", "train.lr", "sweep.grid.lora_r", "sweep.seeds"] {
            assert_eq!(known(right), Ok(()));
        }
    }
}

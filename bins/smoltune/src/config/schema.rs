//! What is known of a key: its name, its meaning, and the flag of a stage that it becomes.

use clap::{Arg, Command};
use toml::{Table, Value};

/// The flag that a key becomes on a stage's command line.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flag {
    /// The key's name; the values of a list in one, with commas.
    Same,
    /// Another name.
    Named(&'static str),
    /// The key's name, once for each value of a list.
    Each,
    /// Another name, given where the key is false.
    Unless(&'static str),
    /// None: the program itself looks at it.
    No,
}

/// One key of a section.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// The doc comment, line by line.
    pub(crate) doc: &'static [&'static str],
    /// The Rust type.
    pub(crate) kind: &'static str,
    pub(crate) flag: Flag,
}

/// A section of the file; the keys above all sections have the empty name.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    /// The doc comment, line by line.
    pub(crate) about: &'static [&'static str],
    /// The stage whose flags its keys are.
    pub(crate) stage: Option<fn() -> Command>,
    pub(crate) keys: &'static [Key],
}

impl Key {
    /// The long name of its flag.
    pub(crate) fn long(&self) -> Option<String> {
        match self.flag {
            Flag::Same | Flag::Each => Some(self.name.replace('_', "-")),
            Flag::Named(long) | Flag::Unless(long) => Some(long.to_owned()),
            Flag::No => None,
        }
    }

    /// What a person may write, in words.
    pub(crate) fn expects(&self) -> &'static str {
        match self.kind {
            "usize" | "u64" | "u32" | "Option<usize>" | "Option<u64>" => "a whole number",
            "f64" | "Option<f64>" => "a number",
            "bool" => "true or false",
            "Vec<String>" => "a list of texts",
            "Vec<usize>" | "Vec<u64>" => "a list of whole numbers",
            "Grid" => "keys with lists of values",
            _ => "text",
        }
    }

    /// The words of its flag for this value; none where the value is empty or says nothing.
    pub(crate) fn words(&self, value: &Value) -> Vec<String> {
        let Some(long) = self.long() else {
            return Vec::new();
        };
        let flag = |value: &Value| with_value(&long, text(value));
        match (value, self.flag) {
            (Value::Boolean(on), Flag::Unless(_)) if *on => Vec::new(),
            (Value::Boolean(on), _) if *on || matches!(self.flag, Flag::Unless(_)) => {
                vec![format!("--{long}")]
            }
            (Value::Boolean(_), _) => Vec::new(),
            (Value::String(empty), _) if empty.is_empty() => Vec::new(),
            (Value::Array(values), Flag::Each) => values.iter().flat_map(flag).collect(),
            (Value::Array(none), _) if none.is_empty() => Vec::new(),
            (value, _) => flag(value),
        }
    }
}

/// A flag and its value; in one word where the value could be taken for a flag itself.
fn with_value(long: &str, value: String) -> Vec<String> {
    if value.starts_with('-') {
        vec![format!("--{long}={value}")]
    } else {
        vec![format!("--{long}"), value]
    }
}

/// A value as a command line has it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) => number.to_string(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

impl Section {
    /// `train.lr`, or the key alone above all sections.
    pub(crate) fn full(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The flags of every key that is set, but for those in `without`.
    pub(crate) fn words(&self, table: &Table, without: &[&str]) -> Vec<String> {
        let keys = self.keys.iter().filter(|key| !without.contains(&key.name));
        let set = keys.filter_map(|key| Some((key, table.get(key.name)?)));
        set.flat_map(|(key, value)| key.words(value)).collect()
    }

    /// Calls `look` with the flag that a key becomes, if it becomes one.
    pub(crate) fn with_flag<T>(&self, key: &Key, look: impl FnOnce(&Arg) -> T) -> Option<T> {
        let (stage, long) = (self.stage?, key.long()?);
        let command = stage();
        find(&command, &long).map(look)
    }
}

/// A stage's flag by its long name, or by one of its others.
pub(crate) fn find<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    let also = |arg: &Arg| {
        arg.get_all_aliases()
            .is_some_and(|names| names.contains(&long))
    };
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(long) || also(arg))
}

/// A section: a type with defaults, and the table of its keys, from one list.
///
/// `key: Type = default;` is a key whose flag has its name; `=> Flag::…` after the default says
/// otherwise. A doc comment is what people read in `docs/config.md` and in the file that `init` writes.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $Name:ident($section:literal, $stage:expr) {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $Type:ty = $default:expr $(=> $flag:expr)?;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $Name {
            $( $(#[doc = $doc])+ pub(crate) $key: $Type, )+
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl $Name {
            /// Its keys.
            pub(crate) const SECTION: Section = Section {
                name: $section,
                about: &[$($about),+],
                stage: $stage,
                keys: &[$(
                    Key {
                        name: stringify!($key),
                        doc: &[$($doc),+],
                        kind: stringify!($Type),
                        flag: section!(@flag $($flag)?),
                    },
                )+],
            };
        }
    };
    (@flag) => { Flag::Same };
    (@flag $flag:expr) => { $flag };
}
pub(crate) use section;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(flag: Flag) -> Key {
        Key {
            name: "a_key",
            doc: &[],
            kind: "String",
            flag,
        }
    }

    #[test]
    fn a_value_becomes_the_words_of_its_flag() {
        let list = || Value::from(vec!["a", "b"]);
        let nothing: [&str; 0] = [];
        assert_eq!(key(Flag::Same).words(&2e-4.into()), ["--a-key", "0.0002"]);
        assert_eq!(key(Flag::Named("ga")).words(&16.into()), ["--ga", "16"]);
        assert_eq!(key(Flag::Same).words(&list()), ["--a-key", "a,b"]);
        assert_eq!(
            key(Flag::Each).words(&list()),
            ["--a-key", "a", "--a-key", "b"]
        );
        assert_eq!(key(Flag::Same).words(&"".into()), nothing);
        assert_eq!(key(Flag::Same).words(&"-x".into()), ["--a-key=-x"]);
        assert_eq!(key(Flag::Same).words(&true.into()), ["--a-key"]);
        assert_eq!(key(Flag::Same).words(&false.into()), nothing);
        assert_eq!(key(Flag::Unless("no-key")).words(&true.into()), nothing);
        assert_eq!(
            key(Flag::Unless("no-key")).words(&false.into()),
            ["--no-key"]
        );
        assert_eq!(key(Flag::No).words(&1.into()), nothing);
    }
}

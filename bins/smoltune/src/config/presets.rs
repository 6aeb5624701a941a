//! Recipes with a name.

use toml::Table;

use super::nearest::nearest;

/// A recipe: what it sets, and nothing else.
pub(super) struct Preset {
    pub(super) name: &'static str,
    /// What it is for, in a sentence.
    pub(super) what: &'static str,
    /// Its values, as a file would have them.
    text: &'static str,
}

/// All of them. Numbers of a recipe stand here and nowhere else.
pub(super) const PRESETS: [Preset; 4] = [
    Preset {
        name: "fast",
        what: "A few minutes on two cores, to see a difference; what `quickstart` does.",
        text: include_str!("presets/fast.toml"),
    },
    Preset {
        name: "quality",
        what: "The best that is known here for one pass over the rows.",
        text: include_str!("presets/quality.toml"),
    },
    Preset {
        name: "original",
        what: "The defaults of the Python project that this one replaces, on its rows, without its defects.",
        text: include_str!("presets/original.toml"),
    },
    Preset {
        name: "original-2",
        what: "The recipe behind that project's published table, likewise.",
        text: include_str!("presets/original-2.toml"),
    },
];

impl Preset {
    /// What it sets.
    ///
    /// # Errors
    /// What is wrong with its text; a test sees to it that nothing is.
    pub(super) fn table(&self) -> Result<Table, String> {
        let parsed = self.text.parse::<Table>();
        parsed.map_err(|e| format!("preset {}: {e}", self.name))
    }
}

/// The preset of that name.
///
/// # Errors
/// A sentence with the nearest name, or all of them.
pub(super) fn find(name: &str) -> Result<&'static Preset, String> {
    let names = PRESETS.iter().map(|preset| preset.name);
    PRESETS
        .iter()
        .find(|preset| preset.name == name)
        .ok_or_else(|| {
            let meant = nearest(name, names.clone())
                .map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            let all = names.collect::<Vec<_>>().join(", ");
            format!("unknown preset {name:?}{meant} (presets are {all})")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides, load};

    fn config(preset: &str) -> Config {
        let flags = Overrides {
            preset: Some(preset.into()),
            ..Overrides::default()
        };
        load(&Config::default(), None, &flags, Vec::new()).unwrap()
    }

    #[test]
    fn every_preset_is_a_sound_configuration() {
        for preset in &PRESETS {
            let table = preset.table().unwrap();
            let text = toml::to_string(&table).unwrap();
            let keys = toml::de::DeTable::parse(&text).unwrap();
            assert_eq!(super::super::nearest::unknown_in(keys.get_ref()), None);
            assert_eq!(config(preset.name).preset, preset.name);
        }
        assert!(
            find("originals")
                .err()
                .unwrap()
                .contains("did you mean original?")
        );
        assert!(find("best").err().unwrap().contains("fast, quality"));
    }

    #[test]
    fn the_originals_recipes_are_those_that_it_documents() {
        let first = config("original").train;
        assert_eq!(
            (first.lora_r, first.lora_alpha, first.lora_dropout, first.lr),
            (16, 32.0, 0.05, 2e-4)
        );
        assert_eq!(
            (
                first.epochs,
                first.batch_size,
                first.accumulation,
                first.max_seq_len
            ),
            (1.0, 1, 16, 1024)
        );
        let second = config("original-2").train;
        assert_eq!(
            (
                second.lora_r,
                second.lora_alpha,
                second.lora_dropout,
                second.lr
            ),
            (8, 32.0, 0.1, 5e-5)
        );
        assert_eq!(
            (
                second.epochs,
                second.batch_size,
                second.accumulation,
                second.max_seq_len
            ),
            (2.0, 1, 24, 768)
        );
        for recipe in [&first, &second] {
            assert_eq!(
                (
                    recipe.warmup_ratio,
                    recipe.weight_decay,
                    recipe.max_grad_norm
                ),
                (0.03, 0.0, 1.0)
            );
            assert_eq!(
                recipe.target_modules,
                ["q_proj", "k_proj", "v_proj", "o_proj"]
            );
            assert_eq!(
                (recipe.lr_schedule.as_str(), recipe.compat.as_str()),
                ("cosine", "")
            );
        }
    }
}

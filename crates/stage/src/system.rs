//! Training and inference must agree on the system prompt.

use std::path::Path;

use crate::{Manifest, StageError};

/// Name of the argument in the manifest of `train` and `generate`.
pub const SYSTEM_ARGUMENT: &str = "system";

/// The system prompt to run with.
///
/// An adapter is used with the system prompt that it was trained with, as the manifest beside it
/// says: it is taken over where none is `asked` for, and another one is refused unless `force`d.
/// Without an adapter, or where nothing says how it was trained, it is the one asked for. An empty
/// text asks for none.
///
/// # Errors
/// Exit code 2 where the two differ.
pub fn system_prompt(
    asked: Option<&str>,
    adapter: Option<&Path>,
    force: bool,
) -> Result<Option<String>, StageError> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let manifest = adapter.and_then(|dir| Manifest::read(&dir.join("manifest.json")).ok());
    let trained = manifest.filter(|manifest| manifest.stage == "train");
    let Some(trained) = trained else {
        return Ok(asked.and_then(given));
    };
    let argument = trained.arguments.get(SYSTEM_ARGUMENT);
    let trained = argument.and_then(|value| value.as_str()).and_then(given);
    match asked.map(given) {
        Some(asked) if force => Ok(asked),
        Some(asked) if asked != trained => Err(StageError::usage(format!(
            "the adapter was trained with {}, and {} is asked for; leave --system out, or use \
             --force-system",
            described(trained.as_deref()),
            described(asked.as_deref())
        ))),
        _ => Ok(trained),
    }
}

fn described(system: Option<&str>) -> String {
    system.map_or_else(
        || "no system prompt of its own".to_owned(),
        |text| format!("the system prompt {text:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(system: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let manifest = Manifest::new("train").argument(SYSTEM_ARGUMENT, system);
        manifest.write(&dir.path().join("manifest.json")).unwrap();
        dir
    }

    #[test]
    fn an_adapter_brings_its_system_prompt() {
        let dir = adapter(Some("Be brief."));
        let with = |asked, force| system_prompt(asked, Some(dir.path()), force);
        let brief = Some("Be brief.".to_owned());
        assert_eq!(with(None, false).unwrap(), brief);
        assert_eq!(with(Some("Be brief."), false).unwrap(), brief);
        let error = with(Some("Be kind."), false).unwrap_err();
        assert_eq!(error.exit().code(), 2);
        assert!(error.to_string().contains("\"Be brief.\""), "{error}");
        assert_eq!(with(Some("Be kind."), true).unwrap().unwrap(), "Be kind.");
        assert_eq!(with(Some(""), true).unwrap(), None);
        assert!(with(Some(""), false).is_err());
    }

    #[test]
    fn one_without_a_system_prompt_refuses_another() {
        let dir = adapter(None);
        assert_eq!(system_prompt(None, Some(dir.path()), false).unwrap(), None);
        assert!(system_prompt(Some("x"), Some(dir.path()), false).is_err());
    }

    #[test]
    fn without_an_adapter_or_its_manifest_what_is_asked_holds() {
        let dir = tempfile::tempdir().unwrap();
        for adapter in [None, Some(dir.path())] {
            let found = system_prompt(Some("x"), adapter, false).unwrap();
            assert_eq!(found.as_deref(), Some("x"));
        }
    }
}

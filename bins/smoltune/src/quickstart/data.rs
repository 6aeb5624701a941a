//! Which rows quickstart learns from.

use std::path::Path;

use dolly_data::hub::{HubDataset, HubSettings, fetch};
use stage::StageError;

use super::choice::Choice;
use super::embedded;

pub(super) const HUB_ID: &str = "databricks/databricks-dolly-15k";

/// Dolly from the hub, else the rows inside this program.
pub(super) fn choose(cache: &Path, hub: Result<&(), &String>) -> Result<Choice, StageError> {
    match hub.map_err(Clone::clone).and_then(|()| from_hub()) {
        Ok(value) => {
            let what = "Dolly from the hub, CC BY-SA 3.0".into();
            Ok(Choice {
                value,
                what,
                instead_of: Vec::new(),
            })
        }
        Err(why) => {
            let path = embedded::rows(cache)?;
            Ok(Choice {
                value: path.display().to_string(),
                what: format!(
                    "{} Dolly-like rows inside this program",
                    embedded::row_count()
                ),
                instead_of: vec![format!("the hub cannot give {HUB_ID}: {why}")],
            })
        }
    }
}

fn from_hub() -> Result<String, String> {
    let set = HubDataset::parse(HUB_ID).ok_or("its name has no owner")?;
    fetch(&set, &HubSettings::from_env()).map_err(|e| e.to_string())?;
    Ok(HUB_ID.into())
}

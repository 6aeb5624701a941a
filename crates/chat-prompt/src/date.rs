//! The date that templates write into prompts.

use std::fmt;
use std::str::FromStr;

use chrono::format::{Item, StrftimeItems};
use chrono::{Local, NaiveDate, NaiveDateTime, NaiveTime};

/// A day, as `YYYY-MM-DD`. Some templates write today's into the system turn; with a fixed one the
/// same rows give the same tokens tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(NaiveDate);

/// A text that is no date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no date; expected YYYY-MM-DD")]
pub struct DateError {
    /// The text.
    pub found: String,
}

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d");
        date.map(Self).map_err(|_| DateError {
            found: text.to_owned(),
        })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The moment, midnight where a date was set, as Python's `strftime` writes it; `None` for a format
/// that has no meaning.
pub(crate) fn strftime(date: Option<Date>, format: &str) -> Option<String> {
    let moment = match date {
        Some(Date(date)) => NaiveDateTime::new(date, NaiveTime::MIN),
        None => Local::now().naive_local(),
    };
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    let wrong = items.iter().any(|item| matches!(item, Item::Error));
    (!wrong).then(|| moment.format_with_items(items.into_iter()).to_string())
}

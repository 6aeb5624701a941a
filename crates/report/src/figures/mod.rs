//! Drawings, as inline SVG without any script. Colours come from the page's style sheet, so that
//! they follow light, dark and print.

mod axis;
mod categories;
mod curve;
mod forest;
mod histogram;
mod length;
mod matched;
mod per_row;

pub(crate) use axis::Axis;
pub(crate) use categories::categories;
pub(crate) use curve::{learning_rate, training};
pub(crate) use forest::{domain, forest};
pub(crate) use histogram::histogram;
pub(crate) use length::lengths;
pub(crate) use matched::matched;
pub(crate) use per_row::{scatter, waterfall};

//! Drawings, as inline SVG without any script. Colours come from the page's style sheet, so that
//! they follow light, dark and print.

mod axis;
mod curve;
mod forest;
mod per_row;

pub(crate) use curve::training;
pub(crate) use forest::forest;
pub(crate) use per_row::{scatter, waterfall};

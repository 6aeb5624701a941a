//! `smoltune.toml`: what its keys are, where their values come from, and how they are written down.
//!
//! One table of keys ([`sections()`]) is the source of everything: the types, the defaults, the flags
//! that a step is given, the names that a typo is compared with, what `init` writes and
//! `docs/config.md`.

mod document;
mod nearest;
mod overrides;
mod presets;
mod schema;
mod sections;
mod settings;

pub(crate) use document::template;
pub(crate) use nearest::nearest;
pub(crate) use overrides::{Entry, Overrides, Recipe, typed};
pub(crate) use schema::{Section, text};
pub(crate) use sections::{Config, sections};
pub(crate) use settings::{asked, load, resolve};

//! Messages, and how a row of data becomes one.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Who speaks. Any word that the template knows; the common three have constructors.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(Cow<'static, str>);

impl Role {
    /// `system`.
    pub const SYSTEM: Self = Self(Cow::Borrowed("system"));
    /// `user`.
    pub const USER: Self = Self(Cow::Borrowed("user"));
    /// `assistant`.
    pub const ASSISTANT: Self = Self(Cow::Borrowed("assistant"));

    /// Any other role, such as `tool`.
    pub fn new(name: impl Into<String>) -> Self {
        Self(Cow::Owned(name.into()))
    }

    /// The word itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; never parsed for control tokens by [`crate::Prompter::encode_chat`].
    pub content: String,
}

impl Message {
    /// A turn of any role.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }

    /// A system turn.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::SYSTEM, content)
    }

    /// A user turn.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::USER, content)
    }

    /// An assistant turn.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::ASSISTANT, content)
    }
}

/// The text of the user's turn: the instruction, and below the line `Context:` the context where it
/// is not blank. Nothing is trimmed; this is what the original program sends.
pub fn user_turn(instruction: &str, context: Option<&str>) -> String {
    match context.filter(|c| !is_blank(c)) {
        Some(context) => format!("{instruction}\n\nContext:\n{context}"),
        None => instruction.to_owned(),
    }
}

/// Blank as Python's `str.strip` sees it: the separators U+001C to U+001F count as white space.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

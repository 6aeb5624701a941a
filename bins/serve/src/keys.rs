//! API keys, compared in constant time.

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Keys of which a client must know one. Only their SHA-256 is kept.
#[derive(Clone, Default)]
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// One key a line; blank lines count as none.
    pub fn from_lines(text: &str) -> Self {
        let keys = text.lines().map(str::trim).filter(|key| !key.is_empty());
        Self(keys.map(|key| Sha256::digest(key).into()).collect())
    }

    /// Whether everyone is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `header`, an `Authorization` header's value, has one of the keys. How long this takes tells nothing about
    /// them: hashes are compared, all of them, to their ends.
    pub(crate) fn admit(&self, header: Option<&[u8]>) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some((scheme, key)) = header.and_then(|value| value.split_at_checked(7)) else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return false;
        }
        let given: [u8; 32] = Sha256::digest(key.trim_ascii()).into();
        let found = self
            .0
            .iter()
            .fold(Choice::from(0), |found, key| found | key.ct_eq(&given));
        found.into()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn one_of_the_keys_opens() {
        let keys = Keys::from_lines("first\n\n second \n");
        for good in ["Bearer first", "bearer  second"] {
            assert!(keys.admit(Some(good.as_bytes())), "{good}");
        }
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer firs",
            "Bearer first2",
            "Basic first",
            "first",
        ] {
            assert!(!keys.admit(Some(bad.as_bytes())), "{bad}");
        }
        assert!(!keys.admit(None));
        assert!(Keys::from_lines("\n").admit(None));
    }
}

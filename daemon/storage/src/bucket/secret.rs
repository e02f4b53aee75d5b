//! A value that must not be seen.

use std::fmt;

/// A key, a token or a part of one. Neither `Debug` nor `Display` shows it, so it cannot reach a log by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// Shorter texts are not looked for in others: they would be found in words that tell nothing.
const LOOKED_FOR_BYTES_MIN: usize = 6;

impl Secret {
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for whoever signs with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The text without this value.
    pub(super) fn take_from(&self, text: String) -> String {
        if self.0.len() >= LOOKED_FOR_BYTES_MIN && text.contains(&self.0) {
            text.replace(&self.0, HIDDEN)
        } else {
            text
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_in_no_text() {
        let secret = Secret::new("wJalrXUtnFEMI");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.take_from("key wJalrXUtnFEMI is wrong".to_owned()), "key *** is wrong");
        assert_eq!(Secret::new("").take_from("nothing".to_owned()), "nothing");
    }
}

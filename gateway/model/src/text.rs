//! Bounded text: what a store can hold is decided here, once, and not in each dialect.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// PostgreSQL cannot store U+0000 in text, so no text holds it.
    #[error("text holds a NUL character")]
    Nul,
    /// The text is longer than its bound, in bytes of UTF-8.
    #[error("text of {len} bytes is longer than {max}")]
    TooLong { len: usize, max: usize },
    /// A name has to start with a letter or digit and holds letters, digits, `-`, `_` and `.` only.
    #[error("`{0}` is not a name: use letters, digits, `-`, `_` and `.`, 1 to 128 of them")]
    NotAName(String),
}

/// Text of at most [`Text::MAX`] bytes of UTF-8 without NUL. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text(Arc<str>);

impl Text {
    /// The longest text, in bytes: a promoted property or a header value fits, a document does not.
    pub const MAX: usize = 8 * 1024;

    /// Takes `text` as it is.
    ///
    /// # Errors
    /// [`TextError`] if it holds NUL or is longer than [`Text::MAX`].
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, TextError> {
        let text = text.into();
        if text.len() > Self::MAX {
            return Err(TextError::TooLong {
                len: text.len(),
                max: Self::MAX,
            });
        }
        if text.as_bytes().contains(&0) {
            return Err(TextError::Nul);
        }
        Ok(Self(text))
    }

    /// Makes any string storable: NUL becomes U+FFFD and the tail is cut at a character boundary.
    /// For texts that describe (errors, remarks), never for values that decide.
    #[must_use]
    pub fn lossy(text: &str) -> Self {
        let mut end = text.len().min(Self::MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let cut = &text[..end];
        if !cut.as_bytes().contains(&0) {
            return Self(cut.into());
        }
        // Replacing one byte by three may grow the text past the bound again: cut a second time.
        let replaced = cut.replace('\0', "\u{fffd}");
        Self::lossy(&replaced)
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of something configured: an application, a port, a location, a host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in bytes.
    pub const MAX: usize = 128;

    /// Takes `name` as it is.
    ///
    /// # Errors
    /// [`TextError::NotAName`] if a character or the length does not fit.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, TextError> {
        let name = name.into();
        let fits = !name.is_empty()
            && name.len() <= Self::MAX
            && name.as_bytes()[0].is_ascii_alphanumeric()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if fits {
            Ok(Self(name))
        } else {
            Err(TextError::NotAName(name.to_string()))
        }
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! like_str {
    ($type:ty, $error:ty) => {
        impl std::ops::Deref for $type {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl TryFrom<String> for $type {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, $error> {
                Self::new(text)
            }
        }
        impl TryFrom<&str> for $type {
            type Error = $error;
            fn try_from(text: &str) -> Result<Self, $error> {
                Self::new(text)
            }
        }
        impl std::str::FromStr for $type {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, $error> {
                Self::new(text)
            }
        }
        impl From<$type> for String {
            fn from(text: $type) -> String {
                text.0.to_string()
            }
        }
        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }
        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }
    };
}
like_str!(Text, TextError);
like_str!(Name, TextError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unstorable_text_cannot_be_built() {
        assert_eq!(Text::new("a\0b"), Err(TextError::Nul));
        assert!(matches!(
            Text::new("x".repeat(Text::MAX + 1)),
            Err(TextError::TooLong { .. })
        ));
        assert_eq!(
            Text::new("ä".repeat(Text::MAX / 2)).map(|t| t.len()),
            Ok(Text::MAX)
        );
    }

    #[test]
    fn lossy_text_is_always_storable() {
        for wild in [
            "a\0b".to_owned(),
            "\0".repeat(Text::MAX),
            "ä".repeat(Text::MAX),
        ] {
            let text = Text::lossy(&wild);
            assert!(text.len() <= Text::MAX && !text.contains('\0'));
        }
    }

    #[test]
    fn names_are_short_and_printable() {
        for good in ["orders", "http-in", "a.b_c", "9"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "a/b", "ä", &"x".repeat(129)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }
}

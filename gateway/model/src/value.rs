//! The value of a property.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Decimal, Name, Text, TextError, Timestamp};

/// A typed value. Exact: decimals are not floats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// Text as it stood in the message.
    Text(Text),
    /// A whole number.
    Integer(i64),
    /// An exact decimal number.
    Decimal(Decimal),
    /// True or false.
    Boolean(bool),
    /// A point in time.
    Time(Timestamp),
}

/// The type a promotion asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// Text, as it stands.
    #[default]
    String,
    /// `-?[0-9]+` that fits 64 bits.
    Integer,
    /// `xs:decimal` of at most 28 digits.
    Decimal,
    /// `true`, `false`, `1` or `0`.
    Boolean,
    /// RFC 3339 with an offset.
    DateTime,
}

/// The text is not of the type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The text is no storable text at all.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The text does not have the lexical form of the type.
    #[error("`{text}` is not of type {wanted:?}")]
    WrongType { text: Text, wanted: ValueType },
}

impl Value {
    /// Reads `text` as a value of type `wanted`. Space around numbers, booleans and times is not part
    /// of them (as in XML Schema); space in text is.
    ///
    /// # Errors
    /// [`ValueError`] if it is not one.
    pub fn parse(text: &str, wanted: ValueType) -> Result<Self, ValueError> {
        let trimmed = text.trim();
        let wrong = || ValueError::WrongType {
            text: Text::lossy(text),
            wanted,
        };
        match wanted {
            ValueType::String => Ok(Self::Text(Text::new(text)?)),
            ValueType::Integer => trimmed.parse().map(Self::Integer).map_err(|_| wrong()),
            ValueType::Decimal => trimmed.parse().map(Self::Decimal).map_err(|_| wrong()),
            ValueType::DateTime => trimmed.parse().map(Self::Time).map_err(|_| wrong()),
            ValueType::Boolean => match trimmed {
                "true" | "1" => Ok(Self::Boolean(true)),
                "false" | "0" => Ok(Self::Boolean(false)),
                _ => Err(wrong()),
            },
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Decimal(decimal) => decimal.fmt(f),
            Self::Boolean(truth) => truth.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<Name> for Value {
    fn from(name: Name) -> Self {
        Self::Text(Text::lossy(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_reads_its_own_form_only() {
        let ok = |text, wanted| Value::parse(text, wanted).map(|v| v.to_string());
        assert_eq!(ok(" 12.50 ", ValueType::Decimal).as_deref(), Ok("12.5"));
        assert_eq!(ok("-7", ValueType::Integer).as_deref(), Ok("-7"));
        assert_eq!(ok("1", ValueType::Boolean).as_deref(), Ok("true"));
        assert_eq!(
            ok(" as it is ", ValueType::String).as_deref(),
            Ok(" as it is ")
        );
        for (text, wanted) in [
            ("1e3", ValueType::Decimal),
            ("1.0", ValueType::Integer),
            ("yes", ValueType::Boolean),
            ("2026-11-21", ValueType::DateTime),
        ] {
            assert!(Value::parse(text, wanted).is_err(), "{text} as {wanted:?}");
        }
    }
}

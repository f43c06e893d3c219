//! What a variable holds.

use quayside_model::{Decimal, Text, Value, ValueType};
use serde::{Deserialize, Serialize};

use crate::limits;

/// What a variable holds: a value, or a list of values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Datum {
    /// A value.
    #[serde(rename = "v")]
    One(Value),
    /// A list.
    #[serde(rename = "l")]
    Many(Vec<Value>),
}

/// What a variable can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    One(ValueType),
    List,
    /// An element of a list, whatever it is.
    Element,
}

impl Holds {
    /// What it is called in a definition.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::One(ValueType::String) => "text",
            Self::One(ValueType::Integer) => "a whole number",
            Self::One(ValueType::Decimal) => "a decimal number",
            Self::One(ValueType::Boolean) => "true or false",
            Self::One(ValueType::DateTime) => "a time",
            Self::List => "a list",
            Self::Element => "an element of a list",
        }
    }

    /// `datum` as this kind of variable holds it; `None`: it cannot.
    pub(crate) fn take(self, datum: Datum) -> Option<Datum> {
        match (self, datum) {
            (Self::List, Datum::Many(list)) => Some(Datum::Many(list)),
            (Self::One(wanted), Datum::One(value)) => as_type(value, wanted).map(Datum::One),
            (Self::Element, Datum::One(value)) => Some(Datum::One(value)),
            _ => None,
        }
    }
}

fn as_type(value: Value, wanted: ValueType) -> Option<Value> {
    match (wanted, value) {
        (ValueType::String, Value::Text(text)) => Some(Value::Text(text)),
        (ValueType::String, Value::Time(time)) => Text::new(time.to_string()).ok().map(Value::Text),
        (ValueType::Integer, Value::Integer(number)) => Some(Value::Integer(number)),
        (ValueType::Decimal, Value::Integer(number)) => {
            number.to_string().parse().ok().map(Value::Decimal)
        }
        (ValueType::Decimal, Value::Decimal(number)) => Some(Value::Decimal(number)),
        (ValueType::Boolean, Value::Boolean(truth)) => Some(Value::Boolean(truth)),
        (ValueType::DateTime, Value::Time(time)) => Some(Value::Time(time)),
        (ValueType::DateTime, Value::Text(text)) => text.trim().parse().ok().map(Value::Time),
        _ => None,
    }
}

impl Datum {
    /// Its length in bytes, roughly.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::One(value) => weight(value),
            Self::Many(values) => values.iter().map(weight).sum::<usize>() + 2,
        }
    }

    /// Whether it is within the limits of one variable.
    pub(crate) fn fits(&self) -> bool {
        match self {
            Self::One(_) => true,
            Self::Many(values) => {
                values.len() <= limits::LIST && self.weight() <= limits::STATE_BYTES / 2
            }
        }
    }
}

/// The length of a value in bytes, roughly.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len() + 12,
        _ => 36,
    }
}

/// The decimal nearest to what an expression came to.
pub(crate) fn decimal(number: f64) -> Option<Decimal> {
    // Rust writes the shortest digits that read back as the same number, and never an exponent.
    number
        .is_finite()
        .then(|| number.to_string().parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_stay_short() {
        let text = |number: f64| decimal(number).map(|d| d.to_string());
        assert_eq!(text(99.5).as_deref(), Some("99.5"));
        assert_eq!(text(-0.1).as_deref(), Some("-0.1"));
        assert_eq!(text(f64::NAN), None);
        assert_eq!(text(1e300), None);
    }
}

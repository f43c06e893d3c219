//! Single values: text, exact numbers, true and false.

use std::borrow::Cow;

use quayside_model::Value;

use crate::Invalid;

/// A single value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scalar {
    Text(String),
    /// A number, as JSON writes it and with the digits that it came with.
    Number(String),
    Boolean(bool),
}

/// What a value has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// Whatever it is.
    #[default]
    Any,
    Text,
    Number,
    Integer,
    Boolean,
}

impl Form {
    /// By their names in a map.
    pub(super) const NAMED: [(&'static str, Self); 4] = [
        ("text", Self::Text),
        ("number", Self::Number),
        ("integer", Self::Integer),
        ("boolean", Self::Boolean),
    ];

    /// `scalar` in this form.
    ///
    /// # Errors
    /// That it is none.
    pub(super) fn take(self, scalar: Scalar) -> Result<Scalar, String> {
        let taken = match (self, &scalar) {
            (Self::Any, _)
            | (Self::Text, Scalar::Text(_))
            | (Self::Number, Scalar::Number(_))
            | (Self::Boolean, Scalar::Boolean(_)) => return Ok(scalar),
            (Self::Text, other) => Some(Scalar::Text(other.text().into_owned())),
            (Self::Number, Scalar::Text(text)) => number(text).map(Scalar::Number),
            (Self::Integer, Scalar::Text(text) | Scalar::Number(text)) => number(text)
                .filter(|number| number.bytes().all(|b| b == b'-' || b.is_ascii_digit()))
                .map(Scalar::Number),
            (Self::Boolean, Scalar::Text(text) | Scalar::Number(text)) => match text.trim() {
                "true" | "1" => Some(Scalar::Boolean(true)),
                "false" | "0" => Some(Scalar::Boolean(false)),
                _ => None,
            },
            (Self::Number | Self::Integer, Scalar::Boolean(_)) => None,
        };
        taken.ok_or_else(|| {
            let wanted = match self {
                Self::Number => "a number",
                Self::Integer => "a whole number",
                _ => "`true`, `false`, `1` or `0`",
            };
            format!("{} is not {wanted}", Invalid::quote(&scalar.text()))
        })
    }
}

impl Scalar {
    /// As text.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) | Self::Number(text) => Cow::Borrowed(text),
            Self::Boolean(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        }
    }
}

impl From<&Value> for Scalar {
    fn from(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.to_string()),
            Value::Integer(number) => Self::Number(number.to_string()),
            Value::Decimal(number) => Self::Number(number.to_string()),
            Value::Boolean(truth) => Self::Boolean(*truth),
            Value::Time(time) => Self::Text(time.to_string()),
        }
    }
}

/// The number that `text` is, as JSON writes it: XML Schema also allows a sign before it, zeros in front of it and a point
/// without digits on one side. Digits are never changed.
pub(super) fn number(text: &str) -> Option<String> {
    let text = text.trim();
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let kept = whole.trim_start_matches('0');
    let mut number = format!("{sign}{}", if kept.is_empty() { "0" } else { kept });
    if !fraction.is_empty() {
        number.push('.');
        number.push_str(fraction);
    }
    if let Some(exponent) = exponent {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if unsigned.is_empty() || !all_digits(unsigned) {
            return None;
        }
        number.push('e');
        number.push_str(exponent);
    }
    Some(number)
}

/// A binary number with the 15 digits that it is good for: `0.1 + 0.2` is `0.3`.
pub(super) fn rounded(number: f64) -> Option<String> {
    if !number.is_finite() {
        return None;
    }
    let nearest: f64 = format!("{number:.14e}").parse().ok()?;
    // Zero has no sign here: `-0` is one of computers.
    let nearest = if nearest == 0.0 { 0.0 } else { nearest };
    if nearest.abs() < 1e21 {
        Some(nearest.to_string())
    } else {
        Some(format!("{nearest:e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        for (written, json) in [
            ("12.50", Some("12.50")),
            (" +007.10 ", Some("7.10")),
            ("-.5", Some("-0.5")),
            ("5.", Some("5")),
            ("0", Some("0")),
            ("-000", Some("-0")),
            ("1E+10", Some("1e+10")),
            (
                "123456789012345678901234567890.123456789",
                Some("123456789012345678901234567890.123456789"),
            ),
            ("", None),
            (".", None),
            ("1,5", None),
            ("1e", None),
            ("NaN", None),
            ("0x10", None),
            ("--1", None),
            ("1.5.2", None),
        ] {
            assert_eq!(number(written).as_deref(), json, "{written}");
        }
    }

    #[test]
    fn a_value_is_of_its_form_or_not() {
        let text = |text: &str| Scalar::Text(text.to_owned());
        let number = |text: &str| Scalar::Number(text.to_owned());
        assert_eq!(Form::Integer.take(text("042")), Ok(number("42")));
        assert_eq!(Form::Boolean.take(number("1")), Ok(Scalar::Boolean(true)));
        assert_eq!(Form::Text.take(number("1.0")), Ok(text("1.0")));
        assert_eq!(Form::Any.take(number("1.0")), Ok(number("1.0")));
        for (form, scalar) in [
            (Form::Integer, text("1.5")),
            (Form::Integer, number("1e3")),
            (Form::Number, text("ten")),
            (Form::Number, Scalar::Boolean(true)),
            (Form::Boolean, text("yes")),
        ] {
            assert!(form.take(scalar.clone()).is_err(), "{form:?} {scalar:?}");
        }
    }

    #[test]
    fn sums_of_binary_numbers_look_like_sums() {
        assert_eq!(rounded(0.1 + 0.2).as_deref(), Some("0.3"));
        assert_eq!(rounded(3.0 * 19.99).as_deref(), Some("59.97"));
        assert_eq!(rounded(-0.0).as_deref(), Some("0"));
        assert_eq!(rounded(1e21).as_deref(), Some("1e21"));
        assert_eq!(rounded(f64::NAN), None);
    }
}

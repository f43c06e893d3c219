//! Exact decimal numbers for promoted properties: money in a `double` is a trap.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An exact decimal of at most 28 significant digits. Equal values are equal whatever their zeros:
/// `1.50` is `1.5`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Decimal {
    unscaled: i128,
    scale: u8,
}

/// The text is not a decimal number of at most 28 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number of at most 28 digits")]
pub struct NotADecimal;

const MAX_DIGITS: usize = 28;

impl Decimal {
    /// The nearest binary number. A literal in a filter is rounded in the same way, so comparing both is
    /// exact up to 15 significant digits.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.to_string()
            .parse()
            .expect("every decimal is also a float literal")
    }
}

impl FromStr for Decimal {
    type Err = NotADecimal;

    /// The lexical form of `xs:decimal`: sign, digits, point, digits; no exponent.
    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        let (negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(NotADecimal);
        }
        if !whole
            .bytes()
            .chain(fraction.bytes())
            .all(|b| b.is_ascii_digit())
        {
            return Err(NotADecimal);
        }
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        if whole.len() + fraction.len() > MAX_DIGITS {
            return Err(NotADecimal);
        }
        let mut unscaled: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            unscaled = unscaled * 10 + i128::from(digit - b'0');
        }
        let scale = u8::try_from(fraction.len()).map_err(|_| NotADecimal)?;
        Ok(Self {
            unscaled: if negative { -unscaled } else { unscaled },
            scale,
        })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        // 28 digits brought to the other's scale have up to 56: more than i128 holds. So compare the
        // whole parts first, then the fractions, which fit side by side.
        let parts = |d: &Self| {
            let unit = 10_i128.pow(u32::from(d.scale));
            (d.unscaled.div_euclid(unit), d.unscaled.rem_euclid(unit))
        };
        let ((whole, fraction), (other_whole, other_fraction)) = (parts(self), parts(other));
        whole.cmp(&other_whole).then_with(|| {
            let scale = self.scale.max(other.scale);
            let raise = |f: i128, from: u8| f * 10_i128.pow(u32::from(scale - from));
            raise(fraction, self.scale).cmp(&raise(other_fraction, other.scale))
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let digits = self.unscaled.unsigned_abs().to_string();
        let scale = usize::from(self.scale);
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Decimal {
    type Error = NotADecimal;
    fn try_from(text: String) -> Result<Self, NotADecimal> {
        text.parse()
    }
}

impl From<Decimal> for String {
    fn from(decimal: Decimal) -> String {
        decimal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dec(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    #[test]
    fn text_is_canonical() {
        for (text, canonical) in [
            ("1.50", "1.5"),
            ("-0.05", "-0.05"),
            ("+7", "7"),
            (".5", "0.5"),
            ("007.", "7"),
            ("-0", "0"),
        ] {
            assert_eq!(dec(text).to_string(), canonical, "{text}");
        }
        for bad in ["", ".", "-", "1e5", "1.2.3", "NaN", &"9".repeat(29)] {
            assert_eq!(bad.parse::<Decimal>(), Err(NotADecimal), "{bad}");
        }
    }

    #[test]
    fn order_is_that_of_the_numbers() {
        let sorted = [
            "-100",
            "-1.5",
            "-1.49",
            "0",
            "0.0001",
            "1",
            "1.0001",
            "9999999999999999999999999999",
        ];
        for pair in sorted.windows(2) {
            assert!(dec(pair[0]) < dec(pair[1]), "{pair:?}");
        }
        assert_eq!(dec("1.50").cmp(&dec("1.5")), Ordering::Equal);
        assert!((dec("100000.0").to_f64() - 100_000.0).abs() < f64::EPSILON);
    }
}

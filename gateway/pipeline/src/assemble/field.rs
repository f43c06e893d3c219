//! Values as they stand in a line.

use quayside_model::{Value, ValueType};

use crate::{
    Invalid, codes,
    lines::{Align, Column, CountOf, Layout},
    map::{Selector, Stop},
};

/// A column that is written.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) column: Column,
    pub(super) origin: Origin,
    pub(super) align: Align,
    pub(super) pad: char,
    /// Decimals: how many digits stand behind the point.
    pub(super) digits: Option<usize>,
}

/// Where a value comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// There is none.
    Nothing,
    /// The child or member of the column's name.
    Name,
    Path(Selector),
    /// Always this, as it stands in the line.
    Constant(String),
    Count(CountOf),
}

fn fault(detail: impl Into<String>) -> Stop {
    Stop::new(codes::FIELD, detail)
}

impl Field {
    /// `text` as the value of its type that it is.
    ///
    /// # Errors
    /// That it is none, or that there has to be one.
    pub(super) fn value(&self, text: &str) -> Result<String, Stop> {
        let column = &self.column;
        let text = column.trimmed(text);
        if text.trim().is_empty() {
            if column.required {
                return Err(fault("there is no value"));
            }
            // Of text, spaces are a value too.
            return Ok(match column.value_type {
                ValueType::String => text.to_owned(),
                _ => String::new(),
            });
        }
        if column.value_type == ValueType::String {
            return Ok(text.to_owned());
        }
        let value = Value::parse(text, column.value_type).map_err(|_| {
            let wanted = crate::found::in_words(column.value_type);
            fault(format!("{} is not {wanted}", Invalid::quote(text)))
        })?;
        match value {
            Value::Decimal(number) => self.decimal(&number.to_string()),
            // Times stand as the sender wrote them.
            Value::Time(_) | Value::Text(_) => Ok(text.trim().to_owned()),
            other => Ok(other.to_string()),
        }
    }

    /// `number`, with a point in it and without zeros at its end, as the column has it.
    fn decimal(&self, number: &str) -> Result<String, Stop> {
        let (sign, digits) = match number.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let behind = self.column.scale.map(usize::from).or(self.digits);
        let behind = behind.unwrap_or(fraction.len());
        if fraction.len() > behind {
            let detail = format!("`{number}` has more than {behind} digits behind its point");
            return Err(fault(detail));
        }
        let fraction = format!("{fraction:0<behind$}");
        if self.column.scale.is_some() {
            let all = format!("{whole}{fraction}");
            let kept = all.trim_start_matches('0');
            return Ok(format!(
                "{sign}{}",
                if kept.is_empty() { "0" } else { kept }
            ));
        }
        Ok(match fraction.is_empty() {
            true => format!("{sign}{whole}"),
            false => format!("{sign}{whole}{}{fraction}", self.column.point),
        })
    }

    /// Adds `value` to a line of CSV that has `alone` this field.
    ///
    /// # Errors
    /// That it needs quotes, and there are none.
    pub(super) fn quoted(
        value: &str,
        (delimiter, quote): (u8, Option<u8>),
        alone: bool,
        line: &mut String,
    ) -> Result<(), Stop> {
        let (delimiter, quote) = (char::from(delimiter), quote.map(char::from));
        let special = |c: char| c == delimiter || Some(c) == quote || matches!(c, '\r' | '\n');
        // An empty line is passed over, and a byte order mark in front of the first one.
        let lost = (alone && value.is_empty()) || value.starts_with('\u{feff}');
        if !lost && !value.contains(special) {
            line.push_str(value);
            return Ok(());
        }
        let Some(quote) = quote else {
            let shown = Invalid::quote(value);
            return Err(fault(format!(
                "{shown} would need quotes, and there are none"
            )));
        };
        line.push(quote);
        for c in value.chars() {
            if c == quote {
                line.push(c);
            }
            line.push(c);
        }
        line.push(quote);
        Ok(())
    }

    /// `value` filled up to the width of its column.
    ///
    /// # Errors
    /// That it is longer, or would begin another line.
    pub(super) fn filled(&self, value: &str) -> Result<String, Stop> {
        let width = self.column.width;
        let length = value.chars().count();
        if length > width {
            let shown = Invalid::quote(value);
            let detail = format!("{shown} has {length} characters, and {width} are the most");
            return Err(Stop::new(codes::FIELD_TOO_LONG, detail));
        }
        if value.contains(['\r', '\n']) {
            return Err(fault(format!("{} has a line end", Invalid::quote(value))));
        }
        if value.is_empty() {
            // Zeros would be a value.
            return Ok(" ".repeat(width));
        }
        let fill: String = std::iter::repeat_n(self.pad, width - length).collect();
        Ok(match self.align {
            Align::Left => format!("{value}{fill}"),
            Align::Right => match value.strip_prefix('-') {
                // A sign between zeros is none.
                Some(digits) if self.pad == '0' && self.is_number() => format!("-{fill}{digits}"),
                _ => format!("{fill}{value}"),
            },
        })
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(
            self.column.value_type,
            ValueType::Integer | ValueType::Decimal
        )
    }

    /// Looks whether a constant can stand in the line, and gives it as its type has it.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn constant(&self, text: &str, layout: Layout) -> Result<String, Stop> {
        let value = self.value(text)?;
        match layout {
            Layout::Fixed => self.filled(&value)?,
            Layout::Csv { delimiter, quote } => {
                let mut line = String::new();
                Self::quoted(&value, (delimiter, quote), false, &mut line)?;
                line
            }
        };
        Ok(value)
    }
}

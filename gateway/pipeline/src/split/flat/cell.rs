//! Values of columns: read from a line, checked, and written into a document.

use quayside_model::{Code, Value, ValueType};

use super::rows::Line;
use crate::{
    Invalid, codes,
    lines::{Column, Trim},
    xml,
};

/// A value that was read.
#[derive(Debug)]
pub(super) enum Cell<'t> {
    /// Text as it stands.
    Text(&'t str),
    /// Of another type than text, with the text that it was.
    Value(Value, &'t str),
    /// Empty, where that is no value.
    Nothing,
}

/// How records are written.
#[derive(Debug)]
pub(in crate::split) enum Out {
    Json,
    Xml {
        /// The start tag of the root element.
        open: String,
        /// Its end tag.
        close: String,
    },
}

impl Out {
    /// The media type.
    pub(in crate::split) fn media_type(&self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml { .. } => "application/xml",
        }
    }

    /// As XML with this root element.
    pub(in crate::split) fn xml(root: &str, namespace: &str) -> Self {
        let mut open = format!("<{root}");
        if !namespace.is_empty() {
            open.push_str(" xmlns=\"");
            xml::escape(namespace, &mut open);
            open.push('"');
        }
        open.push('>');
        Self::Xml {
            open,
            close: format!("</{root}>"),
        }
    }

    /// A document with these cells, of at most about `limit` bytes.
    pub(super) fn write(
        &self,
        columns: &[Column],
        cells: &[Cell<'_>],
        limit: usize,
    ) -> Result<String, (Code, String)> {
        let mut document = String::new();
        match self {
            Self::Json => document.push('{'),
            Self::Xml { open, .. } => document.push_str(open),
        }
        let begin = document.len();
        for (column, cell) in columns.iter().zip(cells) {
            if column.skip || matches!(cell, Cell::Nothing) {
                continue;
            }
            match self {
                Self::Json => {
                    if document.len() > begin {
                        document.push(',');
                    }
                    member(&column.name, cell, &mut document);
                }
                Self::Xml { .. } => element(&column.name, cell, &mut document)?,
            }
            if document.len() > limit {
                let detail = format!("the record is longer than {limit} bytes when it is written");
                return Err((codes::RECORD_TOO_LARGE, detail));
            }
        }
        match self {
            Self::Json => document.push('}'),
            Self::Xml { close, .. } => document.push_str(close),
        }
        Ok(document)
    }
}

fn member(name: &str, cell: &Cell<'_>, document: &mut String) {
    quoted(name, document);
    document.push(':');
    match cell {
        Cell::Text(text) => quoted(text, document),
        // Times stand as the partner wrote them.
        Cell::Value(Value::Text(_) | Value::Time(_), text) => quoted(text, document),
        Cell::Value(value, _) => document.push_str(&value.to_string()),
        Cell::Nothing => document.push_str("null"),
    }
}

fn quoted(text: &str, document: &mut String) {
    document.push_str(&serde_json::to_string(text).expect("every text can be written as JSON"));
}

fn element(name: &str, cell: &Cell<'_>, document: &mut String) -> Result<(), (Code, String)> {
    document.push_str(&format!("<{name}>"));
    match cell {
        Cell::Text(text) => {
            if xml::any_forbidden(text) {
                let detail = format!("column `{name}` has a character that XML forbids");
                return Err((codes::CHARACTER, detail));
            }
            xml::escape(text, document);
        }
        Cell::Value(Value::Text(_) | Value::Time(_), text) => xml::escape(text, document),
        Cell::Value(value, _) => document.push_str(&value.to_string()),
        Cell::Nothing => {}
    }
    document.push_str(&format!("</{name}>"));
    Ok(())
}

/// The values of `line`, one for each of `columns`.
pub(super) fn read<'t>(
    line: &'t Line,
    columns: &[Column],
    fixed: bool,
) -> Result<Vec<Cell<'t>>, (Code, String)> {
    let raw = if fixed {
        fixed_fields(line, columns)?
    } else if line.fields() == columns.len() {
        (0..columns.len()).filter_map(|no| line.field(no)).collect()
    } else {
        let detail = format!(
            "{} fields where there are {} columns",
            line.fields(),
            columns.len()
        );
        return Err((codes::COLUMNS, detail));
    };
    let cells = columns
        .iter()
        .zip(raw)
        .map(|(column, raw)| column.read(raw));
    cells.collect()
}

/// Cuts a line of fixed width. It may end early, as editors and some programs leave spaces at its end out.
fn fixed_fields<'t>(line: &'t Line, columns: &[Column]) -> Result<Vec<&'t str>, (Code, String)> {
    let mut rest = line.field(0).unwrap_or_default();
    let mut passed = 0;
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let (_, from) = split_at_character(rest, column.from - passed);
        let (field, after) = split_at_character(from, column.width);
        fields.push(field);
        rest = after;
        passed = column.from + column.width;
    }
    if rest.trim_end().is_empty() {
        return Ok(fields);
    }
    let detail = format!("the line goes on behind character {passed}, where its columns end");
    Err((codes::COLUMNS, detail))
}

fn split_at_character(text: &str, count: usize) -> (&str, &str) {
    let at = text
        .char_indices()
        .nth(count)
        .map_or(text.len(), |(at, _)| at);
    text.split_at(at)
}

impl Column {
    /// A column of text as a line of names makes it.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            value_type: ValueType::String,
            required: false,
            trim: Trim::None,
            skip: false,
            from: 0,
            width: 0,
            scale: None,
            point: '.',
        }
    }

    fn read<'t>(&self, raw: &'t str) -> Result<Cell<'t>, (Code, String)> {
        if self.skip {
            return Ok(Cell::Nothing);
        }
        let text = self.trimmed(raw);
        let name = &self.name;
        if text.trim().is_empty() {
            if self.required {
                return Err((codes::CELL, format!("column `{name}` is empty")));
            }
            // Of text, spaces are a value too.
            return Ok(match self.value_type {
                ValueType::String => Cell::Text(text),
                _ => Cell::Nothing,
            });
        }
        let value = match self.value_type {
            ValueType::String => return Ok(Cell::Text(text)),
            ValueType::Decimal => self.decimal(text),
            other => Value::parse(text, other).ok(),
        };
        let value = value.map(|value| Cell::Value(value, text.trim()));
        value.ok_or_else(|| {
            let wanted = crate::found::in_words(self.value_type);
            let detail = format!("column `{name}` is {}, not {wanted}", Invalid::quote(text));
            (codes::CELL, detail)
        })
    }

    fn decimal(&self, text: &str) -> Option<Value> {
        let text = text.trim();
        // A point would be one between thousands, and those are not read.
        if self.point != '.' && text.contains('.') {
            return None;
        }
        let mut text = text.replace(self.point, ".");
        let signed = text.starts_with(['-', '+']);
        let digits = &text[usize::from(signed)..];
        let implied = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if let Some(scale) = self.scale.map(usize::from).filter(|_| implied) {
            let missing = (scale + 1).saturating_sub(digits.len());
            text.insert_str(usize::from(signed), &"0".repeat(missing));
            text.insert(text.len() - scale, '.');
        }
        Value::parse(&text, ValueType::Decimal).ok()
    }
}

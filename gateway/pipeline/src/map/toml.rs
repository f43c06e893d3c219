//! The TOML of a map as a tree: in the order of the file, and with the place of every key and value.

use toml::de::{DeTable, DeValue};

use super::{
    defect::{Defects, Place},
    limits,
};
use crate::codes;

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Place,
    pub(super) node: Node,
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    /// Whether each character of a text stands in the file as it is, so that places in it can be told.
    verbatim: bool,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Value {
    Table(Vec<Entry>),
    Text(String),
    /// A number as it is written, without `_`.
    Number(String),
    Boolean(bool),
    /// A list, or a date or time without quotes: nothing in a map is one.
    Other(&'static str),
}

impl Node {
    /// What it is called in a message.
    pub(super) fn in_words(&self) -> &'static str {
        match &self.value {
            Value::Table(_) => "a table",
            Value::Text(_) => "text",
            Value::Number(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Other(what) => what,
        }
    }

    /// The place of the byte `offset` of a text.
    pub(super) fn place_in(&self, text: &str, offset: usize) -> Place {
        if !self.verbatim {
            return self.at;
        }
        let before = &text[..text.floor_char_boundary(offset)];
        Place {
            line: self.at.line,
            column: self.at.column + 1 + before.chars().count(),
        }
    }
}

/// Reads `text`, and tells every place where it is not TOML.
pub(super) fn parse(text: &str, defects: &mut Defects) -> Vec<Entry> {
    if text.len() > limits::FILE_BYTES {
        let message = format!(
            "the file has {} bytes, and {} are the most",
            text.len(),
            limits::FILE_BYTES
        );
        defects.add(Place { line: 1, column: 1 }, codes::MAP_TOO_LARGE, message);
        return Vec::new();
    }
    let reader = Reader::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let place = reader.place(error.span().map_or(0, |span| span.start));
        let lines = error.message().lines().map(str::trim);
        let message: Vec<&str> = lines.collect();
        defects.add(place, codes::MAP_SYNTAX, message.join(", "));
    }
    reader.table(table.into_inner())
}

struct Reader<'t> {
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            lines: std::iter::once(0).chain(after).collect(),
        }
    }

    fn place(&self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.lines.partition_point(|&start| start <= offset);
        let start = self.lines[line - 1];
        Place {
            line,
            column: self.text[start..offset].chars().count() + 1,
        }
    }

    fn table(&self, table: DeTable<'_>) -> Vec<Entry> {
        let mut entries: Vec<(usize, Entry)> = table
            .into_iter()
            .map(|(key, value)| {
                let start = key.span().start;
                let span = value.span();
                let entry = Entry {
                    key: key.into_inner().into_owned(),
                    at: self.place(start),
                    node: self.node(value.into_inner(), span),
                };
                (start, entry)
            })
            .collect();
        // The parser sorts by name; here the order of the file means the order of the document that is made.
        entries.sort_by_key(|(start, _)| *start);
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    fn node(&self, value: DeValue<'_>, span: std::ops::Range<usize>) -> Node {
        let written = self.text.get(span.clone()).unwrap_or_default();
        let mut verbatim = false;
        let value = match value {
            DeValue::String(text) => {
                let inner = written.get(1..written.len().saturating_sub(1));
                verbatim = inner == Some(&*text);
                Value::Text(text.into_owned())
            }
            DeValue::Integer(number) if number.radix() == 10 => {
                Value::Number(number.as_str().to_owned())
            }
            DeValue::Integer(_) => Value::Other("a number that is not decimal"),
            DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
            DeValue::Boolean(truth) => Value::Boolean(truth),
            DeValue::Datetime(_) => Value::Other("a time without quotes"),
            DeValue::Array(_) => Value::Other("a list"),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node {
            at: self.place(span.start),
            verbatim,
            value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_the_order_of_the_file_with_their_places() {
        let text = "z = 1_0\n[b]\n\"/ä\" = \"text\"\na = { y = true,\n  x = 1.50 }\n[a]\n";
        let mut defects = Defects::default();
        let entries = parse(text, &mut defects);
        assert!(defects.is_empty());
        let keys: Vec<&str> = entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["z", "b", "a"]);
        let Value::Table(b) = &entries[1].node.value else {
            panic!("a table");
        };
        assert_eq!((b[0].key.as_str(), b[1].key.as_str()), ("/ä", "a"));
        assert_eq!(b[0].at, Place { line: 3, column: 1 });
        let place = b[0].node.place_in("text", 2);
        assert_eq!(
            place,
            Place {
                line: 3,
                column: 11
            }
        );
        let Value::Table(inner) = &b[1].node.value else {
            panic!("a table over two lines");
        };
        assert_eq!(inner[1].at, Place { line: 5, column: 3 });
        assert!(matches!(&inner[1].node.value, Value::Number(n) if n == "1.50"));
    }

    #[test]
    fn a_fault_of_the_text_has_its_place() {
        let mut defects = Defects::default();
        parse("a = 1\nb = \n", &mut defects);
        let defects = defects.finish();
        assert_eq!(defects[0].place.line, 2);
        assert_eq!(defects[0].fault.code, codes::MAP_SYNTAX);
    }
}

//! TOML as a tree in which every key and value knows its place in the text.
//!
//! The sections read this tree instead of deserializing from text, because serde stops at the first
//! fault and forgets where a value stood once it is part of a struct.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Map, Number, json};
use toml::de::{DeTable, DeValue};

/// A file of the configuration.
#[derive(Debug)]
pub(crate) struct Source {
    /// As it is shown.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// Line and column of the byte `offset`, both from 1; the column counts characters.
    pub(crate) fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[start..].chars().count() + 1)
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Where its key begins; for an element of a list, where the element begins.
    pub(crate) key_at: usize,
    /// What it is.
    pub(crate) value: Value,
    /// The variable that it was put in for.
    pub(crate) from_var: Option<String>,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Named values.
    Table(BTreeMap<String, Node>),
    /// A list.
    List(Vec<Node>),
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A date, a time or both.
    Time(String),
}

/// A fault of the text itself: where, and what.
#[derive(Debug)]
pub(crate) struct SyntaxFault {
    /// The byte at which it begins.
    pub(crate) at: usize,
    /// What is wrong.
    pub(crate) message: String,
}

/// Reads `text`. What can be read around a fault is read all the same, so that the faults further down
/// are found in the same run.
pub(crate) fn parse(text: &str) -> (Node, Vec<SyntaxFault>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut faults: Vec<SyntaxFault> = errors
        .iter()
        .map(|error| SyntaxFault {
            at: error.span().map_or(0, |span| span.start),
            message: one_line(error.message()),
        })
        .collect();
    let root = Node {
        key_at: 0,
        value: table_of(table.into_inner(), &mut faults),
        from_var: None,
    };
    (root, faults)
}

fn one_line(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(", ")
}

fn table_of(table: DeTable<'_>, faults: &mut Vec<SyntaxFault>) -> Value {
    let entries = table.into_iter().map(|(key, value)| {
        let key_at = key.span().start;
        let value_at = value.span().start;
        let value = value_of(value.into_inner(), value_at, faults);
        (
            key.into_inner().into_owned(),
            Node {
                key_at,
                value,
                from_var: None,
            },
        )
    });
    Value::Table(entries.collect())
}

fn value_of(value: DeValue<'_>, at: usize, faults: &mut Vec<SyntaxFault>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(truth) => Value::Boolean(truth),
        DeValue::Datetime(time) => Value::Time(time.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(error) => {
                faults.push(SyntaxFault {
                    at,
                    message: format!("not a whole number: {error}"),
                });
                Value::Integer(0)
            }
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Array(list) => {
            let elements = list.into_iter().map(|element| {
                let key_at = element.span().start;
                let value = value_of(element.into_inner(), key_at, faults);
                Node {
                    key_at,
                    value,
                    from_var: None,
                }
            });
            Value::List(elements.collect())
        }
        DeValue::Table(table) => table_of(table, faults),
    }
}

impl Node {
    /// The table, if it is one.
    pub(crate) fn table(&self) -> Option<&BTreeMap<String, Node>> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What `path` leads to, or the last node on the way that exists.
    pub(crate) fn nearest(&self, path: &[String]) -> &Self {
        let Some((first, rest)) = path.split_first() else {
            return self;
        };
        let inner = match &self.value {
            Value::Table(table) => table.get(first),
            Value::List(list) => first
                .parse::<usize>()
                .ok()
                .and_then(|index| list.get(index)),
            _ => None,
        };
        inner.map_or(self, |inner| inner.nearest(rest))
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Table(_) => "a table",
            Value::List(_) => "a list",
            Value::Text(_) => "text",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Time(_) => "a time",
        }
    }

    /// The node as JSON, which is what adapters read.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Table(table) => serde_json::Value::Object(
                table
                    .iter()
                    .map(|(key, node)| (key.clone(), node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
            Value::List(list) => list.iter().map(Self::to_json).collect(),
            Value::Text(text) => json!(text),
            Value::Integer(number) => json!(number),
            // JSON has no NaN or infinity: they become null, which no setting takes for a number.
            Value::Float(number) => Number::from_f64(*number).map_or(json!(null), Into::into),
            Value::Boolean(truth) => json!(truth),
            Value::Time(time) => json!(time),
        }
    }

    /// Calls `visit` with each text below and its path, in the order of the keys.
    pub(crate) fn texts<'a>(
        &'a self,
        path: &mut Vec<&'a str>,
        visit: &mut dyn FnMut(&[&str], &Node),
    ) {
        match &self.value {
            Value::Text(_) => visit(path, self),
            Value::Table(table) => {
                for (key, node) in table {
                    path.push(key);
                    node.texts(path, visit);
                    path.pop();
                }
            }
            Value::List(list) => list.iter().for_each(|node| node.texts(path, visit)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_knows_its_place() {
        let text =
            "[send.erp]\nfilter = \"x\"\n[send.erp.primary.http]\nurls = [\"ä\", { a = 1 }]\n";
        let (root, faults) = parse(text);
        assert!(faults.is_empty(), "{faults:?}");
        let source = Source {
            path: "a.toml".into(),
            text: text.to_owned(),
        };
        let place = |path: &str| {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            source.line_column(root.nearest(&path).key_at)
        };
        assert_eq!(place("send.erp.filter"), (2, 1));
        assert_eq!(place("send.erp.primary.http"), (3, 19));
        assert_eq!(place("send.erp.primary.http.urls.1.a"), (4, 16));
        assert_eq!(place("send.erp.primary.http.missing"), (3, 19));
    }

    #[test]
    fn several_faults_of_the_text_are_found_at_once() {
        let (root, faults) = parse("a = \nb = 1\nc = = 2\nd = 99999999999999999999\n");
        assert!(faults.len() >= 3, "{faults:?}");
        assert!(root.table().is_some_and(|table| table.contains_key("b")));
    }
}

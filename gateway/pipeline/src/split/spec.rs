//! How a split is configured.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    Rule,
    lines::{ColumnSpec, HeadSpec, TrailerSpec},
};

/// How bodies are split into records, as it is configured. [`SplitSpec::compile`](Self::compile) checks it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// What the bodies are.
    pub format: Format,
    /// What a faulty record does to the others. Default: all.
    #[serde(default)]
    pub batch: Batch,

    /// XML: the elements that become documents, as an XPath of at least two steps. JSON: the array whose elements
    /// do, as a JSONPath; `$` is the whole document.
    pub path: Option<String>,
    /// XML: what the prefixes in XPaths stand for.
    #[serde(default)]
    pub namespaces: BTreeMap<String, String>,
    /// XML and JSON: values around the records that every record carries, by property name.
    #[serde(default)]
    pub header: BTreeMap<String, Rule>,

    /// CSV: what stands between fields, one ASCII character. Default: a comma.
    pub delimiter: Option<String>,
    /// CSV: what stands around fields, one ASCII character, or nothing if quotes mean nothing. Default: `"`.
    pub quote: Option<String>,
    /// CSV: whether a line before the records names the columns. Default: no.
    #[serde(default)]
    pub names: bool,
    /// CSV and fixed width: the columns of a record. With `names` they may be left out: all are strings then.
    #[serde(default)]
    pub columns: Vec<ColumnSpec>,
    /// CSV and fixed width: how a record is written. Default: as JSON.
    pub record: Option<RecordSpec>,
    /// CSV and fixed width: the tag of a record's line. Default: whatever is no head and no trailer is a record.
    pub tag: Option<String>,
    /// Where tags stand: the number of the field (CSV) or of the first character (fixed width), from 1. Default: 1.
    pub tag_at: Option<usize>,
    /// CSV and fixed width: the line before the records.
    pub head: Option<HeadSpec>,
    /// CSV and fixed width: the line after the records.
    pub trailer: Option<TrailerSpec>,

    /// How many records a body may have. Default: 1,000,000.
    pub max_records: Option<u64>,
    /// The longest record, in bytes. Default: 4 MiB.
    pub max_record_bytes: Option<usize>,
    /// The bytes of all records of a body. Default: 4 GiB.
    pub max_total_bytes: Option<u64>,
}

/// What bodies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One XML document around the records.
    Xml,
    /// A JSON document with an array of records.
    Json,
    /// Lines of fields with something between them.
    Csv,
    /// Lines of fields of fixed widths.
    Fixed,
}

/// What a faulty record does to the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Batch {
    /// The whole body is refused.
    #[default]
    All,
    /// The good ones go on, and each faulty one is dealt with by itself.
    PerMessage,
}

/// How records of lines are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordSpec {
    /// As what. Default: JSON.
    #[serde(default, rename = "as")]
    pub form: Form,
    /// XML: the name of the root element.
    pub root: Option<String>,
    /// XML: its namespace. Default: none.
    pub namespace: Option<String>,
}

/// As what a record of a line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// An object with a member for each column.
    #[default]
    Json,
    /// An element with a child for each column.
    Xml,
}

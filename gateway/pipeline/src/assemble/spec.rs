//! How assembling is configured.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::lines::{ColumnSpec, HeadSpec, TrailerSpec};

/// How documents become files of lines, as it is configured. [`AssembleSpec::compile`](Self::compile) checks it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssembleSpec {
    /// What the lines are.
    pub format: LineFormat,
    /// Where the records are: an XPath, or a JSONPath. Default: the document is the one record.
    pub path: Option<String>,
    /// What the prefixes in XPaths stand for.
    #[serde(default)]
    pub namespaces: BTreeMap<String, String>,
    /// Whether a document without records is written, too. Default: no.
    #[serde(default)]
    pub empty: bool,
    /// What ends a line. Default: a line feed.
    #[serde(default)]
    pub line_end: LineEnd,

    /// CSV: what stands between fields, one ASCII character. Default: a comma.
    pub delimiter: Option<String>,
    /// CSV: what stands around fields that need it, one ASCII character, or nothing if there are no quotes. Default: `"`.
    pub quote: Option<String>,
    /// CSV: whether a line before the records names the columns. Default: no.
    #[serde(default)]
    pub names: bool,
    /// The columns of a record.
    #[serde(default)]
    pub columns: Vec<ColumnSpec>,
    /// The tag of a record's line. Default: none.
    pub tag: Option<String>,
    /// Where tags stand: the number of the field (CSV) or of the first character (fixed width), from 1. Default: 1.
    pub tag_at: Option<usize>,
    /// The line before the records.
    pub head: Option<HeadSpec>,
    /// The line after the records.
    pub trailer: Option<TrailerSpec>,
}

/// What lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineFormat {
    /// Fields with something between them.
    Csv,
    /// Fields of fixed widths.
    Fixed,
}

/// What ends a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineEnd {
    /// A line feed.
    #[default]
    Lf,
    /// A carriage return and a line feed.
    Crlf,
}

impl LineEnd {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Lf => "\n",
            Self::Crlf => "\r\n",
        }
    }
}

//! From one document to a file of lines: the other direction of [`split`](crate::split) for CSV and lines of fixed width.
//!
//! It promises that
//! - what it writes, a splitter of the same columns reads as the same records;
//! - a value that cannot stand in its column is a fault, and nothing is cut off, rounded or replaced;
//! - the document is bounded as that of a map is, and the file has 16 MiB at most.
//!
//! ```
//! use quayside_pipeline::assemble::AssembleSpec;
//! let spec: AssembleSpec = serde_json::from_str(
//!     r#"{"format": "csv", "path": "$.items", "columns": [{"name": "Id"}, {"name": "Name"}]}"#,
//! ).expect("a spec");
//! let assemble = spec.compile().expect("no fault");
//! let document = br#"{"items": [{"Id": 1, "Name": "a,b"}, {"Id": 2}]}"#;
//! let file = assemble.apply(Some("application/json"), document).expect("a file");
//! assert_eq!(file, b"1,\"a,b\"\n2,\n");
//! ```

mod compile;
mod field;
mod file;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use quayside_model::Code;

pub use self::spec::{AssembleSpec, LineEnd, LineFormat};
use self::{
    field::Field,
    file::{Counts, Writer},
};
pub use crate::lines::{Align, ColumnSpec, CountOf, HeadSpec, TrailerSpec, Trim};
use crate::{
    Kind, codes,
    lines::Layout,
    map::{Reader, Selector, Stop, Work, text},
};

/// Assembling that can be used.
#[derive(Debug)]
pub struct Assemble {
    layout: Layout,
    line_end: LineEnd,
    /// What the documents are, if a path says it.
    kind: Option<Kind>,
    path: Option<Selector>,
    empty: bool,
    /// The line that names the columns.
    names: Option<String>,
    head: Option<Line>,
    record: Line,
    trailer: Option<Line>,
    /// The tags of head and trailer, which a record without one must not seem to have, and where they stand, from 0.
    others: Vec<String>,
    tag_at: usize,
}

/// One kind of line.
#[derive(Debug)]
struct Line {
    fields: Vec<Field>,
    /// The fields that are found by their names.
    names: HashMap<String, usize>,
    /// Fixed width: how many characters it has.
    width: usize,
}

/// Why there is no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct AssembleError {
    /// The stable code.
    pub code: Code,
    /// The cause, for a person.
    pub detail: String,
}

impl Assemble {
    /// The media type of its files.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self.layout {
            Layout::Csv { .. } => "text/csv; charset=utf-8",
            Layout::Fixed => "text/plain; charset=utf-8",
        }
    }

    /// The file for a document whose content type is `content_type`.
    ///
    /// # Errors
    /// The first reason why there is none.
    pub fn apply(&self, content_type: Option<&str>, body: &[u8]) -> Result<Vec<u8>, AssembleError> {
        let made = self.file(Kind::sniff(content_type, body), body);
        made.map_err(|Stop { code, detail }| AssembleError { code, detail })
    }

    fn file(&self, kind: Kind, body: &[u8]) -> Result<Vec<u8>, Stop> {
        let wanted = self.kind.unwrap_or(kind);
        if kind == Kind::Opaque || kind != wanted {
            let what = match wanted {
                Kind::Xml => "the message is not XML",
                Kind::Json => "the message is not JSON",
                Kind::Opaque => "the message is neither XML nor JSON",
            };
            return Err(Stop::new(codes::NO_RECORDS, what));
        }
        let text = text(kind, body)?;
        let reader = Reader::new(kind, &text)?;
        let mut work = Work::default();
        let records = reader.records(self.path.as_ref(), &mut work)?;
        if records.is_empty() && !self.empty {
            return Err(Stop::new(codes::NO_RECORDS, "there is no record in it"));
        }
        let around = [
            self.head.is_some(),
            self.names.is_some(),
            self.trailer.is_some(),
        ];
        let around = around.into_iter().filter(|there| *there).count();
        let counts = Counts {
            records: records.len(),
            lines: records.len() + around,
        };
        let mut writer = Writer::new(self, &reader, work, counts);
        if let Some(head) = &self.head {
            writer.line(head, reader.top(), "head")?;
        }
        if let Some(names) = &self.names {
            writer.push_line(names)?;
        }
        for (number, record) in records.into_iter().enumerate() {
            writer.record(number + 1, record)?;
        }
        if let Some(trailer) = &self.trailer {
            writer.line(trailer, reader.top(), "trailer")?;
        }
        Ok(writer.finish())
    }
}

//! From one body to its records, each a document of its own.
//!
//! A [`Splitter`] reads a body while it streams by and holds one record at most, or two if the last line is
//! told from the others only by being the last. It promises that
//! - how the body was cut into pieces changes neither a record nor a fault;
//! - each record says where it was: its number, line and offset;
//! - a record that is faulty is an outcome of its own, with its cause, and the next one comes after it: what
//!   to do with the batch is the caller's choice ([`Batch`]);
//! - what makes it unknown where the next record begins, or whether any is missing, is a fault of the
//!   batch, and nothing comes after it;
//! - records and all of them together are bounded by [`SplitLimits`].
//!
//! ```
//! use quayside_pipeline::split::{SplitSpec, Splitter};
//! let spec: SplitSpec = serde_json::from_str(r#"{"format": "json", "path": "$.items"}"#).expect("a spec");
//! let split = spec.compile().expect("no fault");
//! let mut splitter = Splitter::new(&split);
//! let mut body: &[u8] = br#"{"items": [{"a": 1}, 2]}"#;
//! let mut records = Vec::new();
//! while let Some(record) = splitter.pull(&mut body).expect("JSON so far") {
//!     records.push(record.document.expect("within the limits"));
//! }
//! while let Some(record) = splitter.finish().expect("a whole document") {
//!     records.push(record.document.expect("within the limits"));
//! }
//! assert_eq!(records, [r#"{"a": 1}"#, "2"]);
//! ```

mod compile;
mod cut;
mod flat;
mod spec;
#[cfg(test)]
mod tests;

use quayside_model::{Name, Value};

pub(crate) use self::cut::{Cut, Lines, Shared};
use self::{compile::How, flat::FlatSplitter};
pub use self::{
    compile::Split,
    spec::{Batch, Form, Format, RecordSpec, SplitSpec},
};
pub use crate::lines::{Align, ColumnSpec, CountOf, HeadSpec, TrailerSpec, Trim};
use crate::{
    Invalid, Limits, Promotions, codes, decode::Decoder, decode::Sink, json, json::JsonScanner,
    scanner::Numbered, xml, xml::XmlScanner,
};

/// How much of anything a batch may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitLimits {
    /// The longest record, in bytes, as it stands and as it is given out. A longer one is a faulty record.
    pub record_bytes: usize,
    /// How many records a body has.
    pub records: u64,
    /// The bytes of all records that are given out: an envelope with long declarations makes each record longer.
    pub total_bytes: u64,
    /// How many columns a line has.
    pub columns: usize,
    /// Limits of XML and JSON.
    pub content: Limits,
}

impl Default for SplitLimits {
    fn default() -> Self {
        Self {
            record_bytes: 4 * 1024 * 1024,
            records: 1_000_000,
            total_bytes: 4 * 1024 * 1024 * 1024,
            columns: 1024,
            content: Limits::default(),
        }
    }
}

/// One record of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number, from 1, faulty ones counted.
    pub number: u64,
    /// The line on which it begins, from 1.
    pub line: u64,
    /// Where it begins in the body, in bytes; in UTF-16, in bytes of the same text in UTF-8.
    pub offset: u64,
    /// The values around the records that each of them carries, in the order of their names.
    pub properties: std::sync::Arc<[(Name, Value)]>,
    /// What a faulty record looks like, as it stands, as far as a record may go; empty for others.
    pub raw: Vec<u8>,
    /// The record as a document, in UTF-8, or why it is none.
    pub document: Result<String, Invalid>,
}

/// What a body was, when it has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many records it had, faulty ones counted.
    pub records: u64,
    /// How many of them were faulty.
    pub faulty: u64,
}

/// Splits one body that comes in pieces.
#[derive(Debug)]
pub struct Splitter<'a> {
    limits: SplitLimits,
    content: Content<'a>,
    summary: Summary,
    /// The bytes of the records that were given out.
    total: u64,
    /// Why the batch has ended early.
    failed: Option<Invalid>,
}

#[derive(Debug)]
enum Content<'a> {
    Xml(Decoder, Box<XmlScanner<'a>>),
    Json(Decoder, Box<JsonScanner<'a>>),
    Flat(Box<FlatSplitter<'a>>),
    Ended,
}

impl<'a> Splitter<'a> {
    /// Splits a body as `split` says.
    #[must_use]
    pub fn new(split: &'a Split) -> Self {
        let limits = split.limits;
        let content = match &split.how {
            How::Xml { path, header } => {
                let recorder = xml::Recorder::new(path, limits.record_bytes);
                let xml = XmlScanner::with_recorder(around(header), limits.content, recorder);
                Content::Xml(Decoder::default(), Box::new(xml))
            }
            How::Json { path, header } => {
                let recorder = json::Recorder::new(path, limits.record_bytes);
                let json = JsonScanner::with_recorder(around(header), limits.content, recorder);
                Content::Json(Decoder::default(), Box::new(json))
            }
            How::Flat(flat) => Content::Flat(Box::new(FlatSplitter::new(flat, limits))),
        };
        Self {
            limits,
            content,
            summary: Summary::default(),
            total: 0,
            failed: None,
        }
    }

    /// Takes bytes from the front of `bytes` until a record has ended, and gives that; nothing if all bytes
    /// are taken and more are needed.
    ///
    /// # Errors
    /// Why the batch cannot be split further. It is given again by every later call.
    pub fn pull(&mut self, bytes: &mut &[u8]) -> Result<Option<Record>, Invalid> {
        loop {
            if let Some(record) = self.content.ready() {
                return self.give(record).map(Some);
            }
            if let Some(failed) = &self.failed {
                return Err(failed.clone());
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            // A record that ended before the fault in the same bytes is given first: how a body is cut
            // must not decide whether it comes.
            self.failed = self.content.feed(bytes).err();
        }
    }

    /// Ends the body. To be called until it gives nothing: the last record may end with the body.
    ///
    /// # Errors
    /// Why the body, which is whole now, is none that can be split.
    pub fn finish(&mut self) -> Result<Option<Record>, Invalid> {
        if let Some(record) = self.content.ready() {
            return self.give(record).map(Some);
        }
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        match self.content.finish() {
            Ok(record) => record.map(|record| self.give(record)).transpose(),
            Err(invalid) => {
                self.failed = Some(invalid.clone());
                Err(invalid)
            }
        }
    }

    /// What was given out so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Counts a record.
    fn give(&mut self, record: Record) -> Result<Record, Invalid> {
        self.total += record
            .document
            .as_ref()
            .map_or(0, |document| document.len() as u64);
        let SplitLimits {
            records,
            total_bytes,
            ..
        } = self.limits;
        let detail = if record.number > records {
            format!("the body has more than {records} records")
        } else if self.total > total_bytes {
            let number = record.number;
            format!("the records up to number {number} have more than {total_bytes} bytes together")
        } else {
            self.summary.records += 1;
            self.summary.faulty += u64::from(record.document.is_err());
            return Ok(record);
        };
        let invalid = Invalid::new(codes::TOO_MANY_RECORDS, record.offset, detail);
        self.content = Content::Ended;
        self.failed = Some(invalid.clone());
        Err(invalid)
    }
}

impl Content<'_> {
    fn ready(&mut self) -> Option<Record> {
        match self {
            Self::Xml(_, xml) => xml.ready(),
            Self::Json(_, json) => json.ready(),
            Self::Flat(flat) => flat.ready(),
            Self::Ended => None,
        }
    }

    /// Takes bytes from the front of `bytes` in which at most one record ends.
    fn feed(&mut self, bytes: &mut &[u8]) -> Result<(), Invalid> {
        match self {
            // An element ends with a `>`, and an element of an array at the latest with the comma after it.
            Self::Xml(decoder, xml) => through(decoder, bytes, b'>', &mut **xml),
            Self::Json(decoder, json) => through(decoder, bytes, b',', &mut **json),
            Self::Flat(flat) => flat.feed(bytes),
            Self::Ended => {
                *bytes = &[];
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<Option<Record>, Invalid> {
        match std::mem::replace(self, Self::Ended) {
            Self::Xml(decoder, mut xml) => {
                let offset = decoder.finish(&mut *xml)?;
                // A whole document ends outside of its records.
                xml.finish(offset).map(|_| None)
            }
            Self::Json(decoder, mut json) => {
                let offset = decoder.finish(&mut *json)?;
                json.finish(offset).map(|_| None)
            }
            Self::Flat(mut flat) => {
                let record = flat.finish()?;
                if record.is_some() {
                    *self = Self::Flat(flat);
                }
                Ok(record)
            }
            Self::Ended => Ok(None),
        }
    }
}

/// Feeds what comes up to the next `last`, with it.
fn through(
    decoder: &mut Decoder,
    bytes: &mut &[u8],
    last: u8,
    sink: &mut dyn Sink,
) -> Result<(), Invalid> {
    let end = bytes
        .iter()
        .position(|&b| b == last)
        .map_or(bytes.len(), |at| at + 1);
    let (piece, rest) = bytes.split_at(end);
    *bytes = rest;
    decoder.push(piece, sink)
}

/// Expects any document, with these values in it.
fn around(header: &Promotions) -> Vec<Numbered<'_>> {
    if header.rules().is_empty() {
        Vec::new()
    } else {
        vec![(0, (None, header))]
    }
}

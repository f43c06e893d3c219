//! The record at hand of a splitter that reads tokens: where it began and what it is so far.

use std::sync::Arc;

use quayside_model::{Name, Value};

use super::Record;
use crate::{Invalid, codes};

/// Values that every record of a batch carries.
pub(crate) type Shared = Arc<[(Name, Value)]>;

/// A record that is being copied out of the text around it.
#[derive(Debug)]
pub(crate) struct Cut {
    line: u64,
    offset: u64,
    text: String,
    /// The longest record, in bytes.
    limit: usize,
    /// Whether it was longer. What came is all that is kept then.
    over: bool,
}

impl Cut {
    /// A record that begins here.
    pub(crate) fn begin(line: u64, offset: u64, limit: usize) -> Self {
        Self {
            line,
            offset,
            text: String::new(),
            limit,
            over: false,
        }
    }

    /// Adds `text`, within the limit.
    pub(crate) fn push(&mut self, text: &str) {
        if self.over {
            return;
        }
        let room = self.limit - self.text.len();
        let mut end = text.len().min(room);
        // Whatever pieces it comes in, the same of it is kept.
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.text.push_str(&text[..end]);
        self.over = end < text.len();
    }

    /// The record, which is whole, as the one of this `number`.
    pub(crate) fn into_record(self, number: u64, properties: Shared) -> Record {
        let (document, raw) = if self.over {
            let detail = format!(
                "record {number}, line {}, is longer than {} bytes",
                self.line, self.limit
            );
            let invalid = Invalid::new(codes::RECORD_TOO_LARGE, self.offset, detail);
            (Err(invalid), self.text.into_bytes())
        } else {
            (Ok(self.text), Vec::new())
        };
        Record {
            number,
            line: self.line,
            offset: self.offset,
            properties,
            raw,
            document,
        }
    }
}

/// The lines of what went by.
#[derive(Debug)]
pub(crate) struct Lines(u64);

impl Default for Lines {
    fn default() -> Self {
        Self(1)
    }
}

impl Lines {
    /// The line that comes next, from 1.
    pub(crate) fn here(&self) -> u64 {
        self.0
    }

    /// Passes `text`.
    pub(crate) fn pass(&mut self, text: &str) {
        self.0 += text.bytes().filter(|&b| b == b'\n').count() as u64;
    }
}

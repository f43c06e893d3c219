//! From bytes in any pieces to lines, and with CSV to their fields.

use quayside_model::Code;

use crate::{Invalid, codes, lines::Layout, split::SplitLimits};

/// One line, which with quotes may have line ends inside.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// Its fields, one behind the other; with fixed width all of it.
    bytes: Vec<u8>,
    /// Where each field ends.
    ends: Vec<usize>,
    /// Why it cannot be read.
    fault: Option<(Code, String)>,
    /// Whether a field of it stands in quotes: it is no empty line then.
    quoted: bool,
    /// All of it as it stands, as far as a record may go.
    raw: Vec<u8>,
}

/// The text of a line.
#[derive(Debug)]
pub(super) struct Line {
    text: String,
    ends: Vec<usize>,
}

impl Row {
    /// All of it as it stands, without its end, as far as a record may go. Once.
    pub(super) fn take_raw(&mut self) -> Vec<u8> {
        let mut raw = std::mem::take(&mut self.raw);
        for end in [b'\n', b'\r'] {
            if raw.last() == Some(&end) {
                raw.pop();
            }
        }
        raw
    }

    /// Its text, if it can be read.
    pub(super) fn into_line(self) -> Result<Line, (Code, String)> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let bad = || (codes::BAD_UTF, "bytes that are not valid UTF-8".to_owned());
        let text = String::from_utf8(self.bytes).map_err(|_| bad())?;
        // Halves of a character on both sides of a delimiter are whole only where it is left out.
        if self.ends.iter().any(|&end| !text.is_char_boundary(end)) {
            return Err(bad());
        }
        Ok(Line {
            text,
            ends: self.ends,
        })
    }
}

impl Line {
    /// How many fields it has; with fixed width one.
    pub(super) fn fields(&self) -> usize {
        self.ends.len()
    }

    /// The field of this number, from 0.
    pub(super) fn field(&self, no: usize) -> Option<&str> {
        let end = *self.ends.get(no)?;
        let start = no.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[start..end])
    }
}

/// Reads lines. Holds one at most.
#[derive(Debug)]
pub(super) struct Rows {
    delimiter: Option<u8>,
    quote: Option<u8>,
    limits: SplitLimits,
    /// How much of a byte order mark has come; all of it, or none, when the first line begins.
    mark: usize,
    state: State,
    /// Line and offset of the next byte.
    line: u64,
    offset: u64,
    /// Line and offset of the quote that is open.
    opened: (u64, u64),
    row: Row,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two lines.
    Between,
    /// At the beginning of a field.
    Begin,
    Plain,
    Quoted,
    /// Behind a quote that ends a field, or is the first of two.
    Closed,
    /// Behind that and a carriage return.
    Return,
    /// In a faulty line.
    Skip,
}

const MARK: &[u8] = b"\xef\xbb\xbf";

impl Rows {
    pub(super) fn new(layout: &Layout, limits: SplitLimits) -> Self {
        let (delimiter, quote) = match *layout {
            Layout::Csv { delimiter, quote } => (Some(delimiter), quote),
            Layout::Fixed => (None, None),
        };
        Self {
            delimiter,
            quote,
            limits,
            mark: 0,
            state: State::Between,
            line: 1,
            offset: 0,
            opened: (0, 0),
            row: Row::default(),
        }
    }

    /// Takes bytes from the front of `bytes`, up to the end of a line.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Row>, Invalid> {
        while self.mark < MARK.len() {
            match bytes.split_first() {
                None => return Ok(None),
                Some((&byte, rest)) if byte == MARK[self.mark] => {
                    *bytes = rest;
                    self.mark += 1;
                    if self.mark == MARK.len() {
                        self.offset = MARK.len() as u64;
                    }
                }
                Some(_) => self.no_mark()?,
            }
        }
        self.read(bytes)
    }

    /// The last line, if it has no end of its own.
    pub(super) fn finish(&mut self) -> Result<Option<Row>, Invalid> {
        if self.mark < MARK.len() {
            self.no_mark()?;
        }
        match self.state {
            State::Between => Ok(None),
            State::Quoted => Err(self.never_closed("the body ends")),
            _ => Ok(self.end()),
        }
    }

    /// Where the next byte is.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// What looked like a mark is part of the first line.
    fn no_mark(&mut self) -> Result<(), Invalid> {
        let mut begun = &MARK[..self.mark];
        self.mark = MARK.len();
        // None of these bytes ends a line.
        self.read(&mut begun).map(|_| ())
    }

    fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Row>, Invalid> {
        while !bytes.is_empty() {
            let (used, ended) = match self.state {
                State::Between => {
                    self.row.line = self.line;
                    self.row.offset = self.offset;
                    self.state = State::Begin;
                    (0, false)
                }
                State::Begin if Some(bytes[0]) == self.quote => {
                    self.opened = (self.line, self.offset);
                    self.row.quoted = true;
                    self.state = State::Quoted;
                    (1, false)
                }
                State::Begin | State::Plain => self.plain(bytes),
                State::Quoted => (self.quoted(bytes)?, false),
                State::Closed | State::Return => self.closed(bytes[0]),
                State::Skip => match bytes.iter().position(|&b| b == b'\n') {
                    None => (bytes.len(), false),
                    Some(at) => (at + 1, true),
                },
            };
            let room = self.limits.record_bytes.saturating_sub(self.row.raw.len());
            self.row.raw.extend_from_slice(&bytes[..used.min(room)]);
            self.line += bytes[..used].iter().filter(|&&b| b == b'\n').count() as u64;
            self.offset += used as u64;
            *bytes = &bytes[used..];
            if ended && let Some(row) = self.end() {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// A field without quotes. Returns how much was used, and whether the line has ended.
    fn plain(&mut self, bytes: &[u8]) -> (usize, bool) {
        let (delimiter, quote) = (self.delimiter, self.quote);
        let special = |b: u8| b == b'\n' || Some(b) == delimiter || Some(b) == quote;
        let run = bytes
            .iter()
            .position(|&b| special(b))
            .unwrap_or(bytes.len());
        if run > 0 {
            self.state = State::Plain;
            if self.row.bytes.len() + run > self.limits.record_bytes {
                let limit = self.limits.record_bytes;
                self.fault(
                    codes::RECORD_TOO_LARGE,
                    format!("the line is longer than {limit} bytes"),
                );
                return (run, false);
            }
            self.row.bytes.extend_from_slice(&bytes[..run]);
        }
        match bytes.get(run) {
            None => (run, false),
            Some(b'\n') => (run + 1, true),
            Some(&byte) if Some(byte) == delimiter => {
                self.end_field();
                (run + 1, false)
            }
            Some(_) => {
                let number = self.row.ends.len() + 1;
                let detail =
                    format!("field {number} has a quote inside, and does not begin with one");
                self.fault(codes::QUOTES, detail);
                (run + 1, false)
            }
        }
    }

    /// A field in quotes, up to the next quote.
    fn quoted(&mut self, bytes: &[u8]) -> Result<usize, Invalid> {
        let quote = self.quote;
        let run = bytes.iter().position(|&b| Some(b) == quote);
        let end = run.unwrap_or(bytes.len());
        if self.row.bytes.len() + end > self.limits.record_bytes {
            let limit = self.limits.record_bytes;
            return Err(self.never_closed(&format!("the record is longer than {limit} bytes")));
        }
        self.row.bytes.extend_from_slice(&bytes[..end]);
        if run.is_none() {
            return Ok(end);
        }
        self.state = State::Closed;
        Ok(end + 1)
    }

    /// Behind a quote that ends a field, or is the first of two.
    fn closed(&mut self, byte: u8) -> (usize, bool) {
        match byte {
            b'\n' => return (1, true),
            _ if self.state == State::Return => {}
            _ if Some(byte) == self.delimiter => {
                self.end_field();
                return (1, false);
            }
            _ if Some(byte) == self.quote => {
                self.row.bytes.push(byte);
                self.state = State::Quoted;
                return (1, false);
            }
            b'\r' => {
                self.state = State::Return;
                return (1, false);
            }
            _ => {}
        }
        let number = self.row.ends.len() + 1;
        self.fault(
            codes::QUOTES,
            format!("field {number} goes on behind the quote that ends it"),
        );
        (0, false)
    }

    fn end_field(&mut self) {
        if self.row.ends.len() + 1 >= self.limits.columns {
            let limit = self.limits.columns;
            self.fault(
                codes::COLUMNS,
                format!("the line has more than {limit} fields"),
            );
            return;
        }
        self.row.ends.push(self.row.bytes.len());
        self.state = State::Begin;
    }

    /// Gives the line up: what follows up to its end is passed over.
    fn fault(&mut self, code: Code, detail: String) {
        self.row.fault = Some((code, detail));
        self.row.bytes = Vec::new();
        self.row.ends = Vec::new();
        self.state = State::Skip;
    }

    /// The line at hand; nothing if it is empty.
    fn end(&mut self) -> Option<Row> {
        let plain = self.state == State::Plain;
        self.state = State::Between;
        let mut row = std::mem::take(&mut self.row);
        if plain && row.bytes.last() == Some(&b'\r') {
            row.bytes.pop();
        }
        if row.fault.is_none() {
            if row.bytes.is_empty() && row.ends.is_empty() && !row.quoted {
                return None;
            }
            row.ends.push(row.bytes.len());
        }
        Some(row)
    }

    fn never_closed(&self, what: &str) -> Invalid {
        let (line, offset) = self.opened;
        let detail = format!("{what}, and the quote that was opened on line {line} is not closed");
        Invalid::new(codes::OPEN_QUOTE, offset, detail)
    }
}

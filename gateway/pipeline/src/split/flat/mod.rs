//! Lines of a file, with fields between delimiters or of fixed widths, to records.

mod cell;
mod rows;

use std::borrow::Cow;

use quayside_model::{Code, Name, Text, Value};

pub(super) use self::cell::Out;
use self::{
    cell::Cell,
    rows::{Line, Row, Rows},
};
use super::{CountOf, Record, Shared, SplitLimits};
use crate::{
    Invalid, codes,
    lines::{Column, Layout},
    xml,
};

/// What lines are and mean.
#[derive(Debug)]
pub(super) struct Flat {
    pub(super) layout: Layout,
    /// Whether a line names the columns.
    pub(super) names: bool,
    pub(super) columns: Vec<Column>,
    pub(super) out: Out,
    /// The tag of a record.
    pub(super) tag: Option<String>,
    /// Where tags stand, from 1.
    pub(super) tag_at: usize,
    pub(super) head: Option<Head>,
    pub(super) trailer: Option<Trailer>,
}

/// The line before the records.
#[derive(Debug)]
pub(super) struct Head {
    /// Without one it is the first line.
    pub(super) tag: Option<String>,
    pub(super) columns: Vec<Column>,
    /// The columns that every record carries, in the order of their names.
    pub(super) promote: Vec<(Name, usize)>,
}

/// The line after the records.
#[derive(Debug)]
pub(super) struct Trailer {
    /// Without one it is the last line.
    pub(super) tag: Option<String>,
    pub(super) columns: Vec<Column>,
    /// The column that counts, and what.
    pub(super) count: Option<usize>,
    pub(super) count_of: CountOf,
}

/// Splits one file.
#[derive(Debug)]
pub(super) struct FlatSplitter<'a> {
    flat: &'a Flat,
    limits: SplitLimits,
    rows: Rows,
    /// Those of the line of names, if there is one.
    columns: Cow<'a, [Column]>,
    head_due: bool,
    names_due: bool,
    /// On which line the trailer was.
    trailer: Option<u64>,
    /// The last line so far, if only its being the last one makes it the trailer.
    held: Option<Row>,
    /// How many records and lines there were.
    records: u64,
    lines: u64,
    shared: Shared,
    ready: Option<Record>,
}

/// What is wrong with one line.
type Fault = (Code, String);

impl<'a> FlatSplitter<'a> {
    pub(super) fn new(flat: &'a Flat, limits: SplitLimits) -> Self {
        Self {
            flat,
            limits,
            rows: Rows::new(&flat.layout, limits),
            columns: Cow::Borrowed(&flat.columns),
            head_due: flat.head.is_some(),
            names_due: flat.names,
            trailer: None,
            held: None,
            records: 0,
            lines: 0,
            shared: Shared::default(),
            ready: None,
        }
    }

    /// The record that ended last, once.
    pub(super) fn ready(&mut self) -> Option<Record> {
        self.ready.take()
    }

    /// Takes bytes from the front of `bytes`, up to the end of a line.
    pub(super) fn feed(&mut self, bytes: &mut &[u8]) -> Result<(), Invalid> {
        match self.rows.take(bytes)? {
            Some(row) => self.row(row),
            None => Ok(()),
        }
    }

    /// Ends the file. The last record may end with it.
    pub(super) fn finish(&mut self) -> Result<Option<Record>, Invalid> {
        if let Some(row) = self.rows.finish()? {
            self.row(row)?;
            if let Some(record) = self.ready() {
                return Ok(Some(record));
            }
        }
        let due = self.head_due || self.names_due;
        if due && let Some(row) = self.held.take() {
            // The only line is the first one, and the last one is missing.
            self.line(row)?;
        }
        if self.head_due || self.names_due {
            let what = if self.head_due {
                "its head"
            } else {
                "the line that names the columns"
            };
            return Err(Invalid::new(
                codes::HEAD,
                0,
                format!("the body has not {what}"),
            ));
        }
        if let Some(row) = self.held.take() {
            self.end_with(row)?;
        }
        if self.flat.trailer.is_some() && self.trailer.is_none() {
            let detail = format!(
                "the body ends after {} records, without its trailer",
                self.records
            );
            return Err(Invalid::new(codes::TRAILER, self.rows.offset(), detail));
        }
        Ok(None)
    }

    fn row(&mut self, row: Row) -> Result<(), Invalid> {
        self.lines += 1;
        let trailer = self.flat.trailer.as_ref();
        let row = if trailer.is_some_and(|trailer| trailer.tag.is_none()) {
            self.held.replace(row)
        } else {
            Some(row)
        };
        row.map_or(Ok(()), |row| self.line(row))
    }

    fn line(&mut self, mut row: Row) -> Result<(), Invalid> {
        let (no, offset, raw) = (row.line, row.offset, row.take_raw());
        if let Some(trailer) = self.trailer {
            let detail = format!("line {no} stands behind the trailer on line {trailer}");
            return Err(Invalid::new(codes::TRAILER, offset, detail));
        }
        let line = row.into_line();
        let batch =
            |(code, detail): Fault| Invalid::new(code, offset, format!("line {no}: {detail}"));
        if self.head_due {
            self.head_due = false;
            return line
                .and_then(|line| self.head(&line))
                .map_err(as_head)
                .map_err(batch);
        }
        if self.names_due {
            self.names_due = false;
            return line
                .and_then(|line| self.names(&line))
                .map_err(as_head)
                .map_err(batch);
        }
        if let Ok(line) = &line {
            if self.is(
                self.flat.head.as_ref().and_then(|head| head.tag.as_ref()),
                line,
            ) {
                return Err(batch((
                    codes::HEAD,
                    "the head comes a second time".to_owned(),
                )));
            }
            let trailer = self.flat.trailer.as_ref();
            if self.is(trailer.and_then(|trailer| trailer.tag.as_ref()), line) {
                self.trailer = Some(no);
                return self.count(line).map_err(as_trailer).map_err(batch);
            }
        }
        self.records += 1;
        let number = self.records;
        let document = line
            .and_then(|line| self.record(&line))
            .map_err(|(code, detail)| {
                Invalid::new(
                    code,
                    offset,
                    format!("record {number}, line {no}: {detail}"),
                )
            });
        self.ready = Some(Record {
            number,
            line: no,
            offset,
            properties: self.shared.clone(),
            raw: if document.is_err() { raw } else { Vec::new() },
            document,
        });
        Ok(())
    }

    /// The last line, which is the trailer.
    fn end_with(&mut self, row: Row) -> Result<(), Invalid> {
        let (no, offset) = (row.line, row.offset);
        self.trailer = Some(no);
        let counted = row.into_line().and_then(|line| self.count(&line));
        counted
            .map_err(as_trailer)
            .map_err(|(code, detail)| Invalid::new(code, offset, format!("line {no}: {detail}")))
    }

    /// Whether `line` is one with this tag.
    fn is(&self, tag: Option<&String>, line: &Line) -> bool {
        let Some(tag) = tag else { return false };
        let at = self.flat.tag_at - 1;
        match self.flat.layout {
            Layout::Csv { .. } => line.field(at).is_some_and(|field| field.trim() == *tag),
            Layout::Fixed => {
                let text = line.field(0).unwrap_or_default();
                let mut characters = text.char_indices().map(|(at, _)| at);
                let at = characters.nth(at);
                at.is_some_and(|at| text[at..].starts_with(tag.as_str()))
            }
        }
    }

    fn cells<'t>(&self, line: &'t Line, columns: &[Column]) -> Result<Vec<Cell<'t>>, Fault> {
        cell::read(line, columns, matches!(self.flat.layout, Layout::Fixed))
    }

    fn head(&mut self, line: &Line) -> Result<(), Fault> {
        let Some(head) = &self.flat.head else {
            return Ok(());
        };
        if let Some(tag) = &head.tag
            && !self.is(Some(tag), line)
        {
            let detail =
                format!("the first line is the head, with the tag `{tag}`, and this one is not");
            return Err((codes::HEAD, detail));
        }
        if head.columns.is_empty() {
            return Ok(());
        }
        let mut cells = self.cells(line, &head.columns)?;
        let mut shared = Vec::with_capacity(head.promote.len());
        for (name, column) in &head.promote {
            let value = match std::mem::replace(&mut cells[*column], Cell::Nothing) {
                Cell::Nothing => continue,
                Cell::Value(value, _) => value,
                Cell::Text(text) => {
                    let text = Text::new(text);
                    Value::Text(text.map_err(|error| (codes::HEAD, format!("`{name}`: {error}")))?)
                }
            };
            shared.push((name.clone(), value));
        }
        self.shared = shared.into();
        Ok(())
    }

    /// Takes the columns from the line that names them.
    fn names(&mut self, line: &Line) -> Result<(), Fault> {
        let fault = |detail: String| Err((codes::HEAD, detail));
        let known = &self.flat.columns;
        let mut columns: Vec<Column> = Vec::with_capacity(line.fields());
        for name in (0..line.fields()).filter_map(|no| line.field(no)) {
            let name = name.trim();
            let shown = Invalid::quote(name);
            if name.is_empty() || name.len() > self.limits.content.name_bytes {
                return fault(format!("{shown} is no name of a column"));
            }
            if matches!(self.flat.out, Out::Xml { .. }) && !xml::is_name(name) {
                return fault(format!("{shown} cannot be the name of an element"));
            }
            if columns.iter().any(|column| column.name == name) {
                return fault(format!("there are two columns {shown}"));
            }
            match known.iter().find(|column| column.name == name) {
                Some(column) => columns.push(column.clone()),
                None if known.is_empty() => columns.push(Column::named(name)),
                None => return fault(format!("the column {shown} is not known")),
            }
        }
        let missing = known
            .iter()
            .find(|column| !columns.iter().any(|c| c.name == column.name));
        if let Some(missing) = missing {
            return fault(format!("the column `{}` is not there", missing.name));
        }
        self.columns = Cow::Owned(columns);
        Ok(())
    }

    fn record(&self, line: &Line) -> Result<String, Fault> {
        if let Some(tag) = &self.flat.tag
            && !self.is(Some(tag), line)
        {
            return Err((
                codes::TAG,
                format!("the line has not the tag `{tag}`, nor another one that is known"),
            ));
        }
        let cells = self.cells(line, &self.columns)?;
        self.flat
            .out
            .write(&self.columns, &cells, self.limits.record_bytes)
    }

    /// Reads the trailer and compares what it counts.
    fn count(&self, line: &Line) -> Result<(), Fault> {
        let Some(trailer) = self.flat.trailer.as_ref().filter(|t| !t.columns.is_empty()) else {
            return Ok(());
        };
        let cells = self.cells(line, &trailer.columns)?;
        let Some(column) = trailer.count else {
            return Ok(());
        };
        let (counted, what) = match trailer.count_of {
            CountOf::Records => (self.records, "records"),
            CountOf::Lines => (self.lines, "lines"),
        };
        let said = match cells[column] {
            Cell::Value(Value::Integer(said), _) => Some(said),
            _ => None,
        };
        if said.and_then(|said| u64::try_from(said).ok()) == Some(counted) {
            return Ok(());
        }
        let said = said.map_or_else(|| "nothing".to_owned(), |said| said.to_string());
        Err((
            codes::TRAILER_COUNT,
            format!("the trailer counts {said}, and there are {counted} {what}"),
        ))
    }
}

/// A fault of the first line is one of the whole body.
fn as_head((_, detail): Fault) -> Fault {
    (codes::HEAD, detail)
}

/// So is one of the last line, unless it is what it counts.
fn as_trailer((code, detail): Fault) -> Fault {
    match code {
        codes::TRAILER_COUNT => (code, detail),
        _ => (codes::TRAILER, detail),
    }
}

//! Cutting the elements at a path out of a document, each as a document of its own.
//!
//! A record is the text of its element as it stands, with comments and CDATA; only the namespaces that are
//! declared around it are written into its start tag, because names and values inside may use them.

use quayside_model::{Name, Value};

use super::{follow::Follower, scope::Scope, tag::StartTag};
use crate::{
    Invalid, codes,
    split::{Cut, Lines, Record, Shared},
    xpath::XPath,
};

/// Cuts records out of the document that goes by.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    follower: Follower<'a>,
    /// How many steps lead to a record.
    end: usize,
    /// The longest record, in bytes.
    limit: usize,
    depth: usize,
    lines: Lines,
    /// The line on which the tag at hand began.
    tag_line: u64,
    /// Whether the element around the records was seen.
    enveloped: bool,
    open: Option<Cut>,
    /// Whether the tag at hand is in the record already, rewritten.
    written: bool,
    /// Whether the tag at hand ends the record.
    ends: bool,
    number: u64,
    /// The declarations in force around the records, until an element around them opens.
    around: Option<Vec<Declaration>>,
    /// What was found around the records before the first one.
    shared: Option<Shared>,
    ready: Option<Record>,
}

#[derive(Debug)]
struct Declaration {
    prefix: String,
    /// As it is written into a start tag.
    written: String,
}

impl<'a> Recorder<'a> {
    /// Cuts out the elements at `path`, of at most `limit` bytes each.
    pub(crate) fn new(path: &'a XPath, limit: usize) -> Self {
        Self {
            follower: Follower::new(&path.steps),
            end: path.steps.len(),
            limit,
            depth: 0,
            lines: Lines::default(),
            tag_line: 1,
            enveloped: false,
            open: None,
            written: false,
            ends: false,
            number: 0,
            around: None,
            shared: None,
            ready: None,
        }
    }

    /// Passes text that the scanner has taken, with what it is of the document.
    pub(super) fn pass(&mut self, text: &str) {
        self.lines.pass(text);
        if text.ends_with('<') {
            self.tag_line = self.lines.here();
        }
        if let Some(cut) = self.open.as_mut().filter(|_| !self.written) {
            cut.push(text);
        }
        self.written = false;
        if std::mem::take(&mut self.ends)
            && let Some(cut) = self.open.take()
        {
            let shared = self.shared.clone().unwrap_or_default();
            self.ready = Some(cut.into_record(self.number, shared));
        }
    }

    /// The record that ended last, once.
    pub(crate) fn ready(&mut self) -> Option<Record> {
        self.ready.take()
    }

    /// An element opens. Whether it is a record.
    pub(super) fn enter(&mut self, namespace: &str, local: &str) -> bool {
        self.depth += 1;
        let record = self.follower.enter(self.depth, namespace, local);
        if self.depth < self.end {
            self.around = None;
        }
        self.enveloped |= self.follower.on_path() + 1 >= self.end;
        record
    }

    /// The element that opened is a record: its tag is `raw`, and `found` are the values that every
    /// record carries, `count` of them by now.
    pub(super) fn begin(
        &mut self,
        raw: &str,
        tag: &StartTag<'_>,
        scope: &Scope,
        at: u64,
        (count, found): (usize, impl FnOnce() -> Result<Vec<(Name, Value)>, Invalid>),
    ) -> Result<(), Invalid> {
        self.number += 1;
        match &self.shared {
            None => self.shared = Some(found()?.into()),
            Some(shared) => in_time(shared, count, at)?,
        }
        let mut cut = Cut::begin(self.tag_line, at, self.limit);
        cut.push("<");
        cut.push(tag.name);
        let around = self.around.get_or_insert_with(|| declarations(scope));
        for declaration in around.iter().filter(|d| !tag.declares(&d.prefix)) {
            cut.push(&declaration.written);
        }
        cut.push(&raw[tag.name.len()..]);
        cut.push(">");
        self.open = Some(cut);
        self.written = true;
        Ok(())
    }

    /// The innermost element closes.
    pub(super) fn leave(&mut self) {
        if self.follower.leave(self.depth) && self.depth == self.end {
            self.ends = true;
        }
        self.depth -= 1;
    }

    /// The document ends at `offset`, with `count` values found around the records.
    pub(super) fn finish(&self, count: usize, offset: u64) -> Result<(), Invalid> {
        if !self.enveloped {
            let detail = "the document has no element of the path around the records";
            return Err(Invalid::new(codes::NO_ENVELOPE, offset, detail));
        }
        match &self.shared {
            Some(shared) => in_time(shared, count, offset),
            None => Ok(()),
        }
    }
}

/// Refuses a value for all records that comes when some are gone already.
pub(crate) fn in_time(shared: &Shared, count: usize, at: u64) -> Result<(), Invalid> {
    if shared.len() == count {
        return Ok(());
    }
    let detail = "a value for every record stands behind the first record";
    Err(Invalid::new(codes::LATE_HEADER, at, detail))
}

/// The declarations around the innermost element.
fn declarations(scope: &Scope) -> Vec<Declaration> {
    let write = |(prefix, uri): (&str, &str)| {
        let mut written = String::from(" xmlns");
        if !prefix.is_empty() {
            written.push(':');
            written.push_str(prefix);
        }
        written.push_str("=\"");
        super::escape(uri, &mut written);
        written.push('"');
        Declaration {
            prefix: prefix.to_owned(),
            written,
        }
    };
    scope.around().map(write).collect()
}

//! Cutting the elements of one array out of a document, each as a document of its own.

use quayside_model::{Name, Value};

use crate::{
    Invalid, codes,
    jsonpath::Step,
    split::{Cut, Lines, Record, Shared},
    xml::in_time,
};

/// Cuts records out of the document that goes by: the elements of the array at a path, as they stand.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    path: &'a [Step],
    /// The longest record, in bytes.
    limit: usize,
    lines: Lines,
    /// How many containers are open.
    depth: usize,
    /// How many of them, from the root, are on the path.
    on_path: usize,
    /// Whether the next value is one step further on the path.
    hit: bool,
    /// For each step, how many values its container has so far, and whether the one of the path was among them.
    seen: Vec<(u64, bool)>,
    /// Whether the array was seen.
    found: bool,
    open: Option<Cut>,
    /// Whether the text at hand ends the record.
    ends: bool,
    number: u64,
    /// What was found around the records before the first one.
    shared: Option<Shared>,
    ready: Option<Record>,
}

impl<'a> Recorder<'a> {
    /// Cuts out the elements of the array at `path`, of at most `limit` bytes each.
    pub(crate) fn new(path: &'a [Step], limit: usize) -> Self {
        Self {
            path,
            limit,
            lines: Lines::default(),
            depth: 0,
            on_path: 0,
            hit: true,
            seen: vec![(0, false); path.len()],
            found: false,
            open: None,
            ends: false,
            number: 0,
            shared: None,
            ready: None,
        }
    }

    /// Passes text that the scanner has taken, with what it is of the document.
    pub(super) fn pass(&mut self, text: &str) {
        self.lines.pass(text);
        if let Some(cut) = &mut self.open {
            cut.push(text);
        }
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

    /// Whether a value that begins now is a record.
    pub(super) fn at_record(&self) -> bool {
        self.found && self.depth == self.path.len() + 1 && self.on_path == self.depth
    }

    /// A record begins: `found` are the values that every record carries, `count` of them by now.
    pub(super) fn begin(
        &mut self,
        at: u64,
        (count, found): (usize, impl FnOnce() -> Result<Vec<(Name, Value)>, Invalid>),
    ) -> Result<(), Invalid> {
        self.number += 1;
        match &self.shared {
            None => self.shared = Some(found()?.into()),
            Some(shared) => in_time(shared, count, at)?,
        }
        self.open = Some(Cut::begin(self.lines.here(), at, self.limit));
        Ok(())
    }

    /// An object or array opens.
    pub(super) fn open(&mut self, object: bool, at: u64) -> Result<(), Invalid> {
        self.depth += 1;
        if std::mem::take(&mut self.hit) {
            self.on_path = self.depth;
            if let Some(seen) = self.seen.get_mut(self.depth - 1) {
                *seen = (0, false);
            } else if object {
                return Err(no_array(at));
            } else {
                self.found = true;
            }
        }
        Ok(())
    }

    /// The innermost container closes.
    pub(super) fn close(&mut self) {
        if self.on_path == self.depth {
            self.on_path -= 1;
        }
        self.depth -= 1;
    }

    /// The key of the next value, in the innermost object.
    pub(super) fn member(&mut self, key: &str, at: u64) -> Result<(), Invalid> {
        self.step(
            at,
            |step, _| matches!(step, Step::Member(name) if name == key),
        )
    }

    /// The next value is the next element of the innermost array.
    pub(super) fn element(&mut self, at: u64) -> Result<(), Invalid> {
        self.step(at, |step, position| *step == Step::Element(position))
    }

    fn step(&mut self, at: u64, fits: impl Fn(&Step, u64) -> bool) -> Result<(), Invalid> {
        self.hit = false;
        if self.on_path != self.depth {
            return Ok(());
        }
        let last = self.depth - 1;
        let (Some(step), Some((position, seen))) = (self.path.get(last), self.seen.get_mut(last))
        else {
            return Ok(());
        };
        self.hit = fits(step, *position);
        *position += 1;
        if self.hit && std::mem::replace(seen, true) {
            let detail = "the array of the records, or an object around it, occurs twice";
            return Err(Invalid::new(codes::DUPLICATE_KEY, at, detail));
        }
        Ok(())
    }

    /// A value that is no container has ended.
    pub(super) fn scalar(&mut self, at: u64) -> Result<(), Invalid> {
        if std::mem::take(&mut self.hit) {
            return Err(no_array(at));
        }
        Ok(())
    }

    /// A value has ended.
    pub(super) fn after_value(&mut self) {
        self.ends = self.open.is_some() && self.depth == self.path.len() + 1;
    }

    /// The document ends at `offset`, with `count` values found around the records.
    pub(super) fn finish(&self, count: usize, offset: u64) -> Result<(), Invalid> {
        if !self.found {
            return Err(no_array(offset));
        }
        match &self.shared {
            Some(shared) => in_time(shared, count, offset),
            None => Ok(()),
        }
    }
}

fn no_array(at: u64) -> Invalid {
    let detail = "the document has no array at the path of the records";
    Invalid::new(codes::NO_ENVELOPE, at, detail)
}

//! The lines of one file.

use super::{
    Assemble, Line,
    field::{Field, Origin},
};
use crate::{
    codes,
    lines::{CountOf, Layout},
    map::{Reader, Spot, Stop, Work},
};

/// The largest file, in bytes: it is whole in memory.
const FILE_BYTES: usize = 16 * 1024 * 1024;

/// How many there are in the whole file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) records: usize,
    pub(super) lines: usize,
}

/// Writes one file.
pub(super) struct Writer<'a, 'd> {
    assemble: &'a Assemble,
    reader: &'a Reader<'d>,
    work: Work,
    counts: Counts,
    file: String,
}

impl<'a, 'd> Writer<'a, 'd> {
    pub(super) fn new(
        assemble: &'a Assemble,
        reader: &'a Reader<'d>,
        work: Work,
        counts: Counts,
    ) -> Self {
        Self {
            assemble,
            reader,
            work,
            counts,
            file: String::new(),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.file.into_bytes()
    }

    /// Adds the record of this number.
    pub(super) fn record(&mut self, number: usize, at: Spot<'a>) -> Result<(), Stop> {
        let what = format!("record {number}");
        let begin = self.file.len();
        let values = self.fields(&self.assemble.record, at, &what)?;
        let clear = self.no_other(begin, &values);
        clear.map_err(|stop| stop.in_line(&what))?;
        self.end()
    }

    /// Adds a line with the values of `at`; `what` it is for a person.
    pub(super) fn line(&mut self, line: &'a Line, at: Spot<'a>, what: &str) -> Result<(), Stop> {
        self.fields(line, at, what)?;
        self.end()
    }

    /// Adds the fields of a line, and gives their values.
    fn fields(&mut self, line: &'a Line, at: Spot<'a>, what: &str) -> Result<Vec<String>, Stop> {
        let values = self.values(line, at).map_err(|stop| stop.in_line(what))?;
        let mut written = 0;
        for (number, (field, value)) in line.fields.iter().zip(&values).enumerate() {
            let added = match self.assemble.layout {
                Layout::Csv { delimiter, quote } => {
                    if number > 0 {
                        self.file.push(char::from(delimiter));
                    }
                    let alone = line.fields.len() == 1;
                    Field::quoted(value, (delimiter, quote), alone, &mut self.file)
                }
                Layout::Fixed => field.filled(value).map(|filled| {
                    self.gap(field.column.from - written);
                    written = field.column.from + field.column.width;
                    self.file.push_str(&filled);
                }),
            };
            added.map_err(|stop| stop.of(&field.column.name).in_line(what))?;
            self.bounded()?;
        }
        self.gap(line.width.saturating_sub(written));
        Ok(values)
    }

    /// Adds a line as it stands.
    pub(super) fn push_line(&mut self, line: &str) -> Result<(), Stop> {
        self.file.push_str(line);
        self.end()
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.file.push_str(self.assemble.line_end.text());
        self.bounded()
    }

    fn gap(&mut self, width: usize) {
        self.file.extend(std::iter::repeat_n(' ', width));
    }

    fn bounded(&self) -> Result<(), Stop> {
        if self.file.len() <= FILE_BYTES {
            return Ok(());
        }
        let detail = format!("it would have more than {FILE_BYTES} bytes");
        Err(Stop::new(codes::FILE_TOO_LARGE, detail))
    }

    /// The values of the fields of `line`, as they are written.
    fn values(&mut self, line: &Line, at: Spot<'a>) -> Result<Vec<String>, Stop> {
        let mut found: Vec<Option<String>> = vec![None; line.fields.len()];
        if !line.names.is_empty() {
            if !self.reader.has_names(at) {
                let detail = "it is no element or object, so that nothing in it has a name";
                return Err(Stop::new(codes::FIELD, detail));
            }
            let named = self.reader.named(at, &line.names, &mut self.work)?;
            let mut seen = vec![false; line.fields.len()];
            for (number, value) in named {
                if std::mem::replace(&mut seen[number], true) {
                    let detail = "it is there more than once";
                    let name = &line.fields[number].column.name;
                    return Err(Stop::new(codes::FIELD, detail).of(name));
                }
                found[number] = value;
            }
        }
        let fields = line.fields.iter().zip(found);
        let values = fields.map(|(field, found)| {
            let value = self.value(field, found, at);
            value.map_err(|stop| stop.of(&field.column.name))
        });
        values.collect()
    }

    fn value(
        &mut self,
        field: &Field,
        found: Option<String>,
        at: Spot<'a>,
    ) -> Result<String, Stop> {
        self.work.charge(1)?;
        match &field.origin {
            Origin::Nothing => Ok(String::new()),
            Origin::Constant(value) => Ok(value.clone()),
            Origin::Count(CountOf::Records) => field.value(&self.counts.records.to_string()),
            Origin::Count(CountOf::Lines) => field.value(&self.counts.lines.to_string()),
            Origin::Name => field.value(&found.unwrap_or_default()),
            Origin::Path(path) => {
                let mut texts = self.reader.texts(path, at, &mut self.work)?;
                if texts.len() > 1 {
                    let detail = "the path leads to more than one value";
                    return Err(Stop::new(codes::FIELD, detail));
                }
                field.value(&texts.pop().unwrap_or_default())
            }
        }
    }

    /// Looks whether the record that begins at `begin` would be taken for the head or trailer.
    fn no_other(&self, begin: usize, values: &[String]) -> Result<(), Stop> {
        let at = self.assemble.tag_at;
        let found = self
            .assemble
            .others
            .iter()
            .find(|tag| match self.assemble.layout {
                Layout::Csv { .. } => values.get(at).is_some_and(|value| value.trim() == **tag),
                Layout::Fixed => {
                    let line = &self.file[begin..];
                    let place = line.char_indices().nth(at);
                    place.is_some_and(|(place, _)| line[place..].starts_with(tag.as_str()))
                }
            });
        let Some(tag) = found else { return Ok(()) };
        let detail = format!("it would be taken for the head or trailer, whose tag is `{tag}`");
        Err(Stop::new(codes::FIELD, detail))
    }
}

impl Stop {
    /// In a line of the file. What a map calls a value that does not fit is one of a line here.
    fn in_line(self, what: &str) -> Self {
        let code = match self.code {
            codes::MAP_VALUE => codes::FIELD,
            code => code,
        };
        Self::new(code, format!("{what}: {}", self.detail))
    }
}

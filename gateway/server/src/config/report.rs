//! All faults of a configuration, each at its place, in one form for people and one for programs.

#[cfg(test)]
use std::collections::{BTreeMap, BTreeSet};
use std::{
    cell::RefCell,
    fmt::{self, Write as _},
};

use quayside_model::{Code, Severity};
use serde::Serialize;

use super::spans::Source;

/// A file of the report, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceId(usize);

/// One fault at its place.
#[derive(Debug, Clone)]
struct Problem {
    code: Code,
    severity: Severity,
    place: Option<(SourceId, usize)>,
    message: String,
    help: Option<String>,
}

/// Files and what is wrong with them. Everything that reads the configuration adds to one of these.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sources: RefCell<Vec<Source>>,
    problems: RefCell<Vec<Problem>>,
    /// The known keys of each section that was read: the reference page has to name them.
    #[cfg(test)]
    known: RefCell<BTreeMap<String, BTreeSet<String>>>,
}

/// A fault as programs read it.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    code: &'static str,
    severity: Severity,
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
    help: String,
}

impl Report {
    /// Adds a file.
    pub(crate) fn add_source(&self, source: Source) -> SourceId {
        let mut sources = self.sources.borrow_mut();
        sources.push(source);
        SourceId(sources.len() - 1)
    }

    /// Lends the text of a file.
    pub(crate) fn with_text(&self, source: SourceId, read: impl FnOnce(&str)) {
        read(&self.sources.borrow()[source.0].text);
    }

    /// Where a file is.
    pub(crate) fn path(&self, source: SourceId) -> std::path::PathBuf {
        self.sources.borrow()[source.0].path.clone()
    }

    /// The file, line and column of the byte `at` of a file.
    pub(crate) fn place(&self, SourceId(number): SourceId, at: usize) -> (String, usize, usize) {
        let source = &self.sources.borrow()[number];
        let (line, column) = source.line_column(at);
        (source.path.display().to_string(), line, column)
    }

    /// An error at the byte `at` of a file.
    pub(crate) fn error(
        &self,
        code: Code,
        source: SourceId,
        at: usize,
        message: impl Into<String>,
    ) {
        self.add(
            code,
            Severity::Error,
            Some((source, at)),
            message.into(),
            None,
        );
    }

    /// A warning at the byte `at` of a file.
    pub(crate) fn warning(
        &self,
        code: Code,
        source: SourceId,
        at: usize,
        message: impl Into<String>,
    ) {
        self.add(
            code,
            Severity::Warning,
            Some((source, at)),
            message.into(),
            None,
        );
    }

    /// An error that is not about a place in a file.
    pub(crate) fn error_without_place(&self, code: Code, message: impl Into<String>) {
        self.add(code, Severity::Error, None, message.into(), None);
    }

    /// A fault; `help` instead of the remedy of its code. The same fault at the same place counts once.
    pub(crate) fn add(
        &self,
        code: Code,
        severity: Severity,
        place: Option<(SourceId, usize)>,
        message: String,
        help: Option<String>,
    ) {
        let mut problems = self.problems.borrow_mut();
        if !problems
            .iter()
            .any(|p| p.code == code && p.place == place && p.message == message)
        {
            problems.push(Problem {
                code,
                severity,
                place,
                message,
                help,
            });
        }
    }

    /// How many errors there are.
    pub(crate) fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many warnings there are.
    pub(crate) fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.problems
            .borrow()
            .iter()
            .filter(|p| p.severity == severity)
            .count()
    }

    #[cfg(test)]
    pub(crate) fn note_known(&self, section: &str, keys: &BTreeSet<String>) {
        let mut known = self.known.borrow_mut();
        let section = known.entry(section.to_owned()).or_default();
        section.extend(keys.iter().cloned());
    }

    #[cfg(test)]
    pub(crate) fn known_keys(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.known.borrow().clone()
    }

    /// Every fault by file and place.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let sources = self.sources.borrow();
        let mut problems = self.problems.borrow().clone();
        problems.sort_by_key(|p| p.place);
        let entry = |problem: Problem| {
            let place = problem.place.map(|(SourceId(number), at)| {
                let source = &sources[number];
                (source.path.display().to_string(), source.line_column(at))
            });
            Entry {
                code: problem.code.code,
                severity: problem.severity,
                line: place.as_ref().map(|(_, (line, _))| *line),
                column: place.as_ref().map(|(_, (_, column))| *column),
                file: place.map(|(file, _)| file),
                message: problem.message,
                help: problem
                    .help
                    .unwrap_or_else(|| problem.code.remedy.to_owned()),
            }
        };
        problems.into_iter().map(entry).collect()
    }

    /// `2 errors, 1 warning.`
    pub(crate) fn summary(&self) -> String {
        let many = |count: usize, noun: &str| match count {
            1 => format!("1 {noun}"),
            count => format!("{count} {noun}s"),
        };
        format!(
            "{}, {}.",
            many(self.errors(), "error"),
            many(self.warnings(), "warning")
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (errors, warnings): (Vec<_>, Vec<_>) = self
            .entries()
            .into_iter()
            .partition(|entry| entry.severity == Severity::Error);
        // What stops the configuration first; what may wait apart from it.
        let mut text = String::new();
        for entry in &errors {
            entry.write(&mut text)?;
        }
        if !errors.is_empty() && !warnings.is_empty() {
            text.push('\n');
        }
        for entry in &warnings {
            entry.write(&mut text)?;
        }
        writeln!(f, "{text}{}", self.summary())
    }
}

impl Entry {
    fn write(&self, out: &mut String) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(out, "{severity}[{}] {}", self.code, self.message)?;
        if let (Some(file), Some(line), Some(column)) = (&self.file, self.line, self.column) {
            writeln!(out, "  --> {file}:{line}:{column}")?;
        }
        writeln!(out, "   help: {}", self.help)
    }
}

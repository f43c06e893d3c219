//! What is wrong with a definition, with its place in the file.

use std::fmt;

use quayside_model::{Code, Fault, Severity};
use serde::Serialize;

/// A place in a file, both from 1; the column is in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One fault of a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// Where.
    pub place: Place,
    /// What, with its code and what to do.
    pub fault: Fault,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { code, message, .. } = &self.fault;
        let help = self.fault.help.as_deref().unwrap_or(code.remedy);
        write!(f, "{}: {code}: {message}. {help}", self.place)
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Defects(Vec<Defect>);

impl Defects {
    pub(crate) fn add(&mut self, place: Place, code: Code, message: impl Into<String>) {
        self.push(place, Fault::error(code, &[], message));
    }

    /// A fault with a remedy of its own.
    pub(crate) fn help(
        &mut self,
        place: Place,
        code: Code,
        message: impl Into<String>,
        help: &str,
    ) {
        self.push(place, Fault::error(code, &[], message).with_help(help));
    }

    /// A fault of a name that should have been one of `known`: with the nearest of them.
    pub(crate) fn unknown<'k>(
        &mut self,
        place: Place,
        code: Code,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let known: Vec<&str> = known.into_iter().collect();
        let message = format!("there is no {what} `{}`", shown(name));
        match nearest(name, &known) {
            Some(near) => self.help(place, code, message, &format!("Did you mean `{near}`?")),
            None if !known.is_empty() && known.len() <= 12 => {
                let list = known.join(", ");
                self.help(place, code, message, &format!("There is: {list}."));
            }
            None => self.add(place, code, message),
        }
    }

    fn push(&mut self, place: Place, fault: Fault) {
        // A file of nothing but faults is told in part; what is left out comes with the next check.
        if self.0.len() < 200 {
            self.0.push(Defect { place, fault });
        }
    }

    pub(crate) fn errors(&self) -> usize {
        let errors = self.0.iter();
        errors
            .filter(|d| d.fault.severity == Severity::Error)
            .count()
    }

    /// All of them in the order of their places.
    pub(crate) fn finish(mut self) -> Vec<Defect> {
        self.0.sort_by_key(|defect| defect.place);
        self.0
    }
}

/// The one of `known` that `name` was probably meant to be.
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if name.len() > 64 {
        return None;
    }
    let distances = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), *k));
    let (distance, near) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (name.chars().count() / 3).max(1)).then_some(near)
}

/// `text` as a message repeats it: short and printable.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

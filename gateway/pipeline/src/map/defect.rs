//! What is wrong with a map, with its place in the file.

use std::fmt;

use quayside_model::{Code, Fault};
use serde::Serialize;

use super::limits;

/// A place in a file, both from 1; the column is in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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

/// One fault of a map.
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
pub(super) struct Defects(Vec<Defect>);

impl Defects {
    pub(super) fn add(&mut self, place: Place, code: Code, message: impl Into<String>) {
        self.push(place, Fault::error(code, &[], message));
    }

    /// A fault with a remedy of its own.
    pub(super) fn help(
        &mut self,
        place: Place,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(place, Fault::error(code, &[], message).with_help(help));
    }

    /// A name that should have been one of `known`: with the nearest of them.
    pub(super) fn unknown<'k>(
        &mut self,
        place: Place,
        code: Code,
        message: String,
        name: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let known: Vec<&str> = known.into_iter().collect();
        match nearest(name, &known) {
            Some(near) => self.help(place, code, message, format!("Did you mean `{near}`?")),
            None if !known.is_empty() && known.len() <= 16 => {
                let list = known.join(", ");
                self.help(place, code, message, format!("There is: {list}."));
            }
            None => self.add(place, code, message),
        }
    }

    fn push(&mut self, place: Place, fault: Fault) {
        // What is left out comes with the next check.
        if self.0.len() < limits::DEFECTS {
            self.0.push(Defect { place, fault });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them in the order of their places.
    pub(super) fn finish(mut self) -> Vec<Defect> {
        self.0.sort_by_key(|defect| defect.place);
        self.0
    }
}

/// The one of `known` that `name` was probably meant to be.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if name.len() > 64 {
        return None;
    }
    let distances = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), *k));
    let (distance, near) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (name.chars().count() / 3).max(1)).then_some(near)
}

/// The place of a byte.
pub(super) fn place_of(text: &str, at: usize) -> Place {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: text[line..at].chars().count() + 1,
    }
}

/// `text` as a message repeats it: short and printable.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

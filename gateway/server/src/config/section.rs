//! Reading one table so that every fault in it is found: wrong types, wrong forms, unknown keys.

use std::{cell::RefCell, collections::BTreeSet, fmt::Display, ops::RangeInclusive, str::FromStr};

use quayside_model::{Code, Severity};

use super::{
    codes,
    report::{Report, SourceId},
    spans::{Node, Value},
    vars,
};

/// A table that is being read. Each key that is asked for counts as known; [`Section::finish`] reports
/// the others.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) report: &'a Report,
    pub(crate) source: SourceId,
    pub(crate) path: String,
    pub(crate) node: &'a Node,
    known: RefCell<BTreeSet<String>>,
}

impl<'a> Section<'a> {
    /// The table `node`, called `path` in messages. A node that is no table reads as an empty one,
    /// after a fault.
    pub(crate) fn new(report: &'a Report, source: SourceId, path: String, node: &'a Node) -> Self {
        let section = Self {
            report,
            source,
            path,
            node,
            known: RefCell::default(),
        };
        if node.table().is_none() {
            section.wrong(node, &section.path, "a table");
        }
        section
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        self.known.borrow_mut().insert(key.to_owned());
        self.node.table()?.get(key)
    }

    /// Counts keys as known that somebody else reads.
    pub(crate) fn know(&self, keys: &[&str]) {
        self.known
            .borrow_mut()
            .extend(keys.iter().map(|key| (*key).to_owned()));
    }

    /// Whether `key` was asked for.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.known.borrow().contains(key)
    }

    /// The text under `key`.
    pub(crate) fn text(&self, key: &str) -> Option<&'a str> {
        let node = self.get(key)?;
        let text = node.text();
        if text.is_none() {
            self.wrong(node, &self.name_of(key), "text");
        }
        text
    }

    /// The text under `key`, which must be there.
    pub(crate) fn required_text(&self, key: &str) -> Option<&'a str> {
        if self.get(key).is_none() {
            self.missing(key);
        }
        self.text(key)
    }

    /// The text under `key`, read as a `T`.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, key: &str) -> Option<T> {
        let text = self.text(key)?;
        text.parse()
            .map_err(|error: T::Err| {
                let message = format!("`{}`: {error}", self.name_of(key));
                self.error(codes::WRONG_VALUE, key, message);
            })
            .ok()
    }

    /// The whole number under `key`, within `limits`.
    pub(crate) fn integer(&self, key: &str, limits: RangeInclusive<u32>) -> Option<u32> {
        let node = self.get(key)?;
        let Value::Integer(number) = node.value else {
            self.wrong(node, &self.name_of(key), "a whole number");
            return None;
        };
        let number = u32::try_from(number)
            .ok()
            .filter(|number| limits.contains(number));
        if number.is_none() {
            let (least, most) = (limits.start(), limits.end());
            let message = format!("`{}` must be from {least} to {most}", self.name_of(key));
            self.error(codes::LIMIT, key, message);
        }
        number
    }

    /// The number under `key`, whole or not.
    pub(crate) fn number(&self, key: &str, limits: RangeInclusive<f64>) -> Option<f64> {
        let node = self.get(key)?;
        let number = match node.value {
            Value::Float(number) => number,
            #[expect(clippy::cast_precision_loss, reason = "the limits are far below 2^52")]
            Value::Integer(number) => number as f64,
            _ => {
                self.wrong(node, &self.name_of(key), "a number");
                return None;
            }
        };
        if !limits.contains(&number) {
            let (least, most) = (limits.start(), limits.end());
            let message = format!("`{}` must be from {least} to {most}", self.name_of(key));
            self.error(codes::LIMIT, key, message);
            return None;
        }
        Some(number)
    }

    /// True or false under `key`.
    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        let node = self.get(key)?;
        if let Value::Boolean(truth) = node.value {
            return Some(truth);
        }
        self.wrong(node, &self.name_of(key), "true or false");
        None
    }

    /// One of the words of `choices` under `key`.
    pub(crate) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let message = format!(
                "`{text}` is not a value of `{}`{}",
                self.name_of(key),
                suggestion(text, &words)
            );
            self.error(codes::WRONG_VALUE, key, message);
        }
        found.map(|(_, value)| *value)
    }

    /// The texts under `key`: one, or a list of them. Each with its node.
    pub(crate) fn texts(&self, key: &str) -> Vec<(&'a str, &'a Node)> {
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        let nodes: Vec<&Node> = match &node.value {
            Value::List(list) => list.iter().collect(),
            _ => vec![node],
        };
        let text = |node: &'a Node| {
            let text = node.text();
            if text.is_none() {
                self.wrong(node, &self.name_of(key), "text or a list of texts");
            }
            text.map(|text| (text, node))
        };
        nodes.into_iter().filter_map(text).collect()
    }

    /// The table under `key`.
    pub(crate) fn section(&self, key: &str) -> Option<Section<'a>> {
        let node = self.get(key)?;
        Some(Section::new(
            self.report,
            self.source,
            self.name_of(key),
            node,
        ))
    }

    /// The tables under `key` by their names, each of which is a proper name.
    pub(crate) fn named(&self, key: &str) -> Vec<(&'a str, Section<'a>)> {
        let Some(section) = self.section(key) else {
            return Vec::new();
        };
        section
            .entries()
            .into_iter()
            .filter(|(name, inner)| inner.check_name(name))
            .collect()
    }

    /// Every table of this table with its name.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Section<'a>)> {
        let Some(table) = self.node.table() else {
            return Vec::new();
        };
        let entry = |(name, node): (&'a String, &'a Node)| {
            self.known.borrow_mut().insert(name.clone());
            (
                name.as_str(),
                Section::new(self.report, self.source, self.name_of(name), node),
            )
        };
        table.iter().map(entry).collect()
    }

    fn check_name(&self, name: &str) -> bool {
        let proper = is_name(name);
        if !proper {
            let message = format!("`{name}` is not a name");
            self.report
                .error(codes::BAD_NAME, self.source, self.node.key_at, message);
        }
        proper
    }

    /// `PATH.KEY`.
    pub(crate) fn name_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// An error at `key`, or at the table if the key is not there.
    pub(crate) fn error(&self, code: Code, key: &str, message: impl Into<String>) {
        self.add(code, Severity::Error, key, message.into());
    }

    /// A warning at `key`, or at the table if the key is not there.
    pub(crate) fn warning(&self, code: Code, key: &str, message: impl Into<String>) {
        self.add(code, Severity::Warning, key, message.into());
    }

    fn add(&self, code: Code, severity: Severity, key: &str, message: String) {
        let node = self.node.nearest(&[key.to_owned()]);
        let message = match &node.from_var {
            Some(var) => format!("{message} (the value comes from vars.{var})"),
            None => message,
        };
        self.report.add(
            code,
            severity,
            Some((self.source, node.key_at)),
            message,
            None,
        );
    }

    /// The required `key` is not there.
    pub(crate) fn missing(&self, key: &str) {
        let message = format!("`{}` is missing", self.name_of(key));
        self.error(codes::MISSING_KEY, key, message);
    }

    /// `node`, which is called `name`, is not what is wanted there.
    pub(crate) fn wrong(&self, node: &Node, name: &str, wanted: &str) {
        if vars::reference(node).is_some() {
            // The variable is not defined, which is the one fault to tell.
            return;
        }
        let from = match &node.from_var {
            Some(var) => format!(" (the value comes from vars.{var})"),
            None => String::new(),
        };
        let message = format!("`{name}` must be {wanted}, but is {}{from}", node.kind());
        self.report
            .error(codes::WRONG_VALUE, self.source, node.key_at, message);
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self) {
        let known = self.known.borrow();
        #[cfg(test)]
        self.report.note_known(&self.path, &known);
        let words: Vec<&str> = known.iter().map(String::as_str).collect();
        for (key, node) in self.node.table().into_iter().flatten() {
            if !known.contains(key) {
                let place = if self.path.is_empty() {
                    "here".to_owned()
                } else {
                    format!("in {}", self.path)
                };
                let message = format!("unknown key `{key}` {place}{}", suggestion(key, &words));
                self.report
                    .error(codes::UNKNOWN_KEY, self.source, node.key_at, message);
            }
        }
    }
}

/// Whether `name` may be the name of a port, a host or anything else that becomes part of a full name.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// The one of `words` that `word` was meant to be, if one is near.
pub(crate) fn nearest<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    let near = words
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .min_by_key(|(distance, _)| *distance)
        // A third of the word may be wrong: enough for slips, not enough for another word.
        .filter(|(distance, _)| *distance <= word.chars().count().div_ceil(3));
    near.map(|(_, candidate)| candidate)
}

/// ` — did you mean …?` if one of `words` is near, else the words themselves.
pub(crate) fn suggestion(word: &str, words: &[&str]) -> String {
    match nearest(word, words) {
        Some(candidate) => format!(" — did you mean `{candidate}`?"),
        None if words.is_empty() => String::new(),
        None => format!(" — known are {}", list(words)),
    }
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

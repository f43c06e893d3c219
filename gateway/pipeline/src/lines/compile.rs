//! Compiling what lines are made of.

use quayside_model::ValueType;

use super::{Column, ColumnSpec, Layout, TrailerSpec, Trim};
use crate::{faults::Faults, xml};

/// The layout of CSV with these keys.
pub(crate) fn layout(
    delimiter: Option<&str>,
    quote: Option<&str>,
    faults: &mut Faults,
) -> Option<Layout> {
    let mut one = |key: &str, text: Option<&str>, default: u8| match text.map(str::as_bytes) {
        None => Some(default),
        Some(&[byte]) if byte.is_ascii() && !matches!(byte, b'\r' | b'\n' | 0) => Some(byte),
        Some(_) => {
            faults.at(
                &[key],
                format!("`{key}` is one ASCII character, and no line end"),
            );
            None
        }
    };
    let delimiter = one("delimiter", delimiter, b',');
    let quote = match quote {
        Some("") => Some(None),
        _ => one("quote", quote, b'"').map(Some),
    };
    let (delimiter, quote) = (delimiter?, quote?);
    if quote == Some(delimiter) {
        faults.at(&["quote"], "`quote` and `delimiter` are the same");
    }
    Some(Layout::Csv { delimiter, quote })
}

/// What tells the lines of a file apart.
pub(crate) struct Tags<'a> {
    pub(crate) fixed: bool,
    pub(crate) record: Option<&'a str>,
    pub(crate) head: Option<&'a str>,
    pub(crate) trailer: Option<&'a str>,
    pub(crate) at: Option<usize>,
}

impl Tags<'_> {
    /// What tells lines apart has to do so.
    pub(crate) fn check(&self, faults: &mut Faults) {
        let tags = [
            (&["tag"][..], self.record),
            (&["head", "tag"], self.head),
            (&["trailer", "tag"], self.trailer),
        ];
        for (i, (path, tag)) in tags.iter().enumerate() {
            let Some(tag) = tag else { continue };
            if tag.is_empty() {
                faults.at(path, "an empty tag is every line's");
            }
            // With fixed width a line is of a tag if it begins with it, so one must not begin with another.
            let same = |other: &str| match self.fixed {
                true => other.starts_with(tag) || tag.starts_with(other),
                false => other == *tag,
            };
            if tags[..i].iter().any(|(_, other)| other.is_some_and(same)) {
                faults.at(
                    path,
                    format!("lines with `{tag}` cannot be told from others"),
                );
            }
        }
        if self.at == Some(0) {
            faults.at(&["tag_at"], "places count from 1");
        }
        if self.at.is_some() && tags.iter().all(|(_, tag)| tag.is_none()) {
            faults.at(&["tag_at"], "there is no tag to look for");
        }
    }
}

/// The number of the column in the trailer that counts.
pub(crate) fn count_column(trailer: &TrailerSpec, faults: &mut Faults) -> Option<usize> {
    let name = trailer.count.as_ref()?;
    let columns = &trailer.columns;
    let found = columns.iter().position(|c| c.name == *name && !c.skip);
    let message = match found {
        None => format!("the trailer has no column `{name}`, or passes it over"),
        Some(column) if columns[column].value_type != ValueType::Integer => {
            "a column that counts is of the type `integer`".to_owned()
        }
        Some(_) => return found,
    };
    faults.at(&["trailer", "count"], message);
    found
}

/// Where columns are listed, and what for.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub(crate) csv: bool,
    pub(crate) at: &'a [&'a str],
    /// Whether their names become those of elements.
    pub(crate) elements: bool,
    /// How many columns a line has.
    pub(crate) most: usize,
    /// Up to which character a line goes.
    pub(crate) longest: usize,
}

impl Columns<'_> {
    pub(crate) fn compile(&self, specs: &[ColumnSpec], faults: &mut Faults) -> Vec<Column> {
        if specs.len() > self.most {
            faults.at(self.at, format!("a line has at most {} columns", self.most));
            return Vec::new();
        }
        let mut next = 1;
        let mut columns: Vec<Column> = Vec::with_capacity(specs.len());
        for (i, spec) in specs.iter().enumerate() {
            let number = i.to_string();
            let at = [self.at, &[&number]].concat();
            self.name(spec, &columns, &at, faults);
            let (from, width) = self.place(spec, next, &at, faults);
            next = from.saturating_add(width);
            numbers(spec, &at, faults);
            let trim = spec
                .trim
                .unwrap_or(if self.csv { Trim::None } else { Trim::Both });
            columns.push(Column {
                name: spec.name.clone(),
                value_type: spec.value_type,
                required: spec.required,
                trim,
                skip: spec.skip,
                from: from.saturating_sub(1),
                width,
                scale: spec.scale,
                point: spec.point.unwrap_or('.'),
            });
        }
        columns
    }

    fn name(&self, spec: &ColumnSpec, before: &[Column], at: &[&str], faults: &mut Faults) {
        let name = &spec.name;
        let at = [at, &["name"]].concat();
        if name.is_empty() {
            faults.at(&at, "a column has a name");
        } else if self.elements && !xml::is_name(name) {
            faults.at(&at, format!("`{name}` cannot be the name of an element"));
        } else if before.iter().any(|column| column.name == *name) {
            faults.at(&at, format!("there are two columns `{name}`"));
        }
    }

    /// First character, from 1, and width.
    fn place(
        &self,
        spec: &ColumnSpec,
        next: usize,
        at: &[&str],
        faults: &mut Faults,
    ) -> (usize, usize) {
        if self.csv {
            if spec.from.is_some() || spec.width.is_some() {
                faults.at(at, "`from` and `width` mean nothing for CSV");
            }
            return (1, 0);
        }
        let from = spec.from.unwrap_or(next);
        let end = from.saturating_add(spec.width.unwrap_or(1));
        if end > self.longest {
            faults.at(at, "the column ends behind the end of the longest record");
        }
        if from < next {
            let message = format!("the column before ends with character {}", next - 1);
            faults.at(&[at, &["from"]].concat(), message);
        }
        if spec.width.is_none_or(|width| width == 0) {
            faults.at(
                &[at, &["width"]].concat(),
                "a column of fixed width has a `width` of 1 at least",
            );
        }
        (from.max(next), spec.width.unwrap_or(1))
    }
}

/// How the numbers of a column are written.
fn numbers(spec: &ColumnSpec, at: &[&str], faults: &mut Faults) {
    if spec.value_type != ValueType::Decimal && (spec.scale.is_some() || spec.point.is_some()) {
        faults.at(at, "`scale` and `point` are for the type `decimal`");
    }
    if spec.scale.is_some_and(|scale| scale > 28) {
        let at = [at, &["scale"]].concat();
        faults.at(&at, "a decimal has at most 28 digits");
    }
    let digit = |point: char| point.is_ascii_digit() || matches!(point, '+' | '-');
    if spec.point.is_some_and(digit) {
        let at = [at, &["point"]].concat();
        faults.at(&at, "a digit or sign cannot stand before the fraction");
    }
}

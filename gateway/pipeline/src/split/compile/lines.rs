//! Compiling how lines are split.

use quayside_model::ValueType;

use super::Faults;
use crate::{
    promotions::property,
    split::{
        ColumnSpec, Format, HeadSpec, SplitLimits, SplitSpec, TrailerSpec,
        flat::{Column, Flat, Head, Layout, Out, Trailer},
        spec::{Form, Trim},
    },
    xml,
};

impl SplitSpec {
    pub(super) fn flat(&self, limits: &SplitLimits, faults: &mut Faults) -> Option<Flat> {
        let layout = self.layout(faults);
        let out = self.out(faults);
        if self.columns.is_empty() && !self.names {
            let message = match self.format {
                Format::Csv => "name the columns here, or say with `names = true` that a line does",
                _ => "a record has one column at least",
            };
            faults.at(&["columns"], message);
        }
        let columns = Columns {
            csv: self.format == Format::Csv,
            at: &["columns"],
            written: matches!(out, Some(Out::Xml { .. })),
            limits,
        };
        let around = |at| Columns {
            at,
            written: false,
            ..columns
        };
        let head = self.head.as_ref();
        let trailer = self.trailer.as_ref();
        let columns = columns.compile(&self.columns, faults);
        let head = head.map(|spec| around(&["head", "columns"]).head(spec, faults));
        let trailer = trailer.map(|spec| around(&["trailer", "columns"]).trailer(spec, faults));
        self.tags(faults);
        Some(Flat {
            layout: layout?,
            names: self.names,
            columns,
            out: out?,
            tag: self.tag.clone(),
            tag_at: self.tag_at.unwrap_or(1),
            head,
            trailer,
        })
    }

    fn layout(&self, faults: &mut Faults) -> Option<Layout> {
        if self.format == Format::Fixed {
            return Some(Layout::Fixed);
        }
        let mut one = |key: &str, text: &Option<String>, default: u8| match text
            .as_deref()
            .map(str::as_bytes)
        {
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
        let delimiter = one("delimiter", &self.delimiter, b',');
        let quote = match self.quote.as_deref() {
            Some("") => Some(None),
            _ => one("quote", &self.quote, b'"').map(Some),
        };
        let (delimiter, quote) = (delimiter?, quote?);
        if quote == Some(delimiter) {
            faults.at(&["quote"], "`quote` and `delimiter` are the same");
        }
        Some(Layout::Csv { delimiter, quote })
    }

    fn out(&self, faults: &mut Faults) -> Option<Out> {
        let record = self.record.clone().unwrap_or_default();
        if record.form == Form::Json {
            for (key, given) in [
                ("root", record.root.is_some()),
                ("namespace", record.namespace.is_some()),
            ] {
                if given {
                    faults.at(
                        &["record", key],
                        format!("`{key}` means nothing for JSON: set `as = \"xml\"`"),
                    );
                }
            }
            return Some(Out::Json);
        }
        let namespace = record.namespace.unwrap_or_default();
        if xml::any_forbidden(&namespace) || xml::RESERVED.contains(&&*namespace) {
            faults.at(
                &["record", "namespace"],
                "this cannot be the namespace of an element",
            );
        }
        let Some(root) = record.root else {
            faults.at(
                &["record", "root"],
                "XML needs the name of its root element",
            );
            return None;
        };
        if !xml::is_name(&root) {
            faults.at(
                &["record", "root"],
                format!("`{root}` cannot be the name of an element"),
            );
        }
        Some(Out::xml(&root, &namespace))
    }

    /// What tells lines apart has to do so.
    fn tags(&self, faults: &mut Faults) {
        let head = self.head.as_ref().and_then(|head| head.tag.as_ref());
        let trailer = self
            .trailer
            .as_ref()
            .and_then(|trailer| trailer.tag.as_ref());
        let tags = [
            (&["tag"][..], self.tag.as_ref()),
            (&["head", "tag"], head),
            (&["trailer", "tag"], trailer),
        ];
        for (i, (path, tag)) in tags.iter().enumerate() {
            let Some(tag) = tag else { continue };
            if tag.is_empty() {
                faults.at(path, "an empty tag is every line's");
            }
            // With fixed width a line is of a tag if it begins with it, so one must not begin with another.
            let same = |other: &String| match self.format {
                Format::Fixed => other.starts_with(tag.as_str()) || tag.starts_with(other.as_str()),
                _ => other == *tag,
            };
            if tags[..i].iter().any(|(_, other)| other.is_some_and(same)) {
                faults.at(
                    path,
                    format!("lines with `{tag}` cannot be told from others"),
                );
            }
        }
        if self.tag_at == Some(0) {
            faults.at(&["tag_at"], "places count from 1");
        }
        if self.tag_at.is_some() && tags.iter().all(|(_, tag)| tag.is_none()) {
            faults.at(&["tag_at"], "there is no tag to look for");
        }
    }
}

/// Where columns are listed, and what for.
#[derive(Clone, Copy)]
struct Columns<'a> {
    csv: bool,
    at: &'a [&'a str],
    /// Whether their names become those of elements.
    written: bool,
    limits: &'a SplitLimits,
}

impl Columns<'_> {
    fn head(&self, spec: &HeadSpec, faults: &mut Faults) -> Head {
        let columns = self.compile(&spec.columns, faults);
        let mut promote = Vec::new();
        for name in &spec.promote {
            let column = columns.iter().position(|c| c.name == *name && !c.skip);
            match (column, property(name)) {
                (Some(column), Some(property)) => promote.push((property, column)),
                (None, _) => faults.at(
                    &["head", "promote"],
                    format!("the head has no column `{name}` that is read"),
                ),
                (_, None) => faults.at(
                    &["head", "promote"],
                    format!("`{name}` cannot be the name of a property"),
                ),
            }
        }
        promote.sort();
        promote.dedup();
        Head {
            tag: spec.tag.clone(),
            promote,
            columns,
        }
    }

    fn trailer(&self, spec: &TrailerSpec, faults: &mut Faults) -> Trailer {
        let columns = self.compile(&spec.columns, faults);
        let count = spec.count.as_ref().and_then(|name| {
            let found = columns.iter().position(|c| c.name == *name && !c.skip);
            match found {
                None => faults.at(
                    &["trailer", "count"],
                    format!("the trailer has no column `{name}` that is read"),
                ),
                Some(column) if columns[column].value_type != ValueType::Integer => faults.at(
                    &["trailer", "count"],
                    "a column that counts is of the type `integer`",
                ),
                Some(_) => {}
            }
            found
        });
        Trailer {
            tag: spec.tag.clone(),
            columns,
            count,
            count_of: spec.count_of,
        }
    }

    fn compile(&self, specs: &[ColumnSpec], faults: &mut Faults) -> Vec<Column> {
        if specs.len() > self.limits.columns {
            faults.at(
                self.at,
                format!("a line has at most {} columns", self.limits.columns),
            );
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
        } else if self.written && !xml::is_name(name) {
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
        if end > self.limits.record_bytes {
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

//! From a configured assembling to one that works, or to everything that is wrong with it.

use std::collections::{BTreeMap, HashMap};

use quayside_model::{Fault, ValueType};

use super::{
    Assemble, AssembleSpec, Line, LineFormat,
    field::{Field, Origin},
};
use crate::{
    Kind, codes,
    faults::Faults,
    lines::{self, Align, Column, ColumnSpec, Columns, CountOf, Layout, Tags, Trim},
    map::{Selector, Stop},
    split::SplitLimits,
};

/// What all lines of the file have in common.
struct Common<'a> {
    layout: Layout,
    namespaces: &'a BTreeMap<String, String>,
    /// Where tags stand, from 0.
    tag_at: usize,
    /// What the documents are, by the first path.
    kind: Option<Kind>,
}

/// One kind of line, as it is configured.
struct Told<'a> {
    at: &'a [&'a str],
    columns: &'a [ColumnSpec],
    tag: Option<&'a str>,
    /// Which of the columns counts, and what.
    count: Option<(usize, CountOf)>,
    /// Whether its values are those of a record.
    is_record: bool,
}

impl AssembleSpec {
    /// Compiles it.
    ///
    /// # Errors
    /// Every fault, at its key.
    pub fn compile(&self) -> Result<Assemble, Vec<Fault>> {
        let mut faults = Faults::new(codes::ASSEMBLE);
        self.foreign_keys(&mut faults);
        match self.assembled(&mut faults) {
            Some(assemble) if faults.all.is_empty() => Ok(assemble),
            _ => Err(faults.all),
        }
    }

    fn foreign_keys(&self, faults: &mut Faults) {
        if self.format == LineFormat::Fixed {
            for (key, given) in [
                ("delimiter", self.delimiter.is_some()),
                ("quote", self.quote.is_some()),
                ("names", self.names),
            ] {
                if given {
                    let message = format!("`{key}` means nothing for lines of fixed width");
                    faults.at(&[key], message);
                }
            }
        }
        if self
            .head
            .as_ref()
            .is_some_and(|head| !head.promote.is_empty())
        {
            let message = "what is sent is not routed any more, so that nothing is promoted";
            faults.at(&["head", "promote"], message);
        }
        if self.columns.is_empty() {
            faults.at(&["columns"], "a record has one column at least");
        }
        let last = last_place(self.format);
        if self.tag_at.is_some_and(|at| at > last) {
            faults.at(&["tag_at"], format!("{last} is the last place"));
        }
    }

    fn assembled(&self, faults: &mut Faults) -> Option<Assemble> {
        let layout = match self.format {
            LineFormat::Fixed => Some(Layout::Fixed),
            LineFormat::Csv => {
                lines::layout(self.delimiter.as_deref(), self.quote.as_deref(), faults)
            }
        };
        let head = self.head.as_ref();
        let trailer = self.trailer.as_ref();
        let head_tag = head.and_then(|head| head.tag.as_deref());
        let trailer_tag = trailer.and_then(|trailer| trailer.tag.as_deref());
        let tags = Tags {
            fixed: self.format == LineFormat::Fixed,
            record: self.tag.as_deref(),
            head: head_tag,
            trailer: trailer_tag,
            at: self.tag_at,
        };
        tags.check(faults);
        let mut common = Common {
            layout: layout?,
            namespaces: &self.namespaces,
            tag_at: self.tag_at.unwrap_or(1).clamp(1, last_place(self.format)) - 1,
            kind: None,
        };
        let path = self.path.as_deref();
        let path = path.and_then(|path| common.records(path, faults));
        let record = Told {
            at: &["columns"],
            columns: &self.columns,
            tag: self.tag.as_deref(),
            count: None,
            is_record: true,
        };
        let record = common.line(&record, faults);
        let head = head.map(|head| {
            let told = Told {
                at: &["head", "columns"],
                columns: &head.columns,
                tag: head_tag,
                count: None,
                is_record: false,
            };
            common.line(&told, faults)
        });
        let trailer = trailer.map(|spec| {
            let count = lines::count_column(spec, faults);
            let told = Told {
                at: &["trailer", "columns"],
                columns: &spec.columns,
                tag: trailer_tag,
                count: count.map(|column| (column, spec.count_of)),
                is_record: false,
            };
            common.line(&told, faults)
        });
        let names = self.names.then(|| common.names(&record, faults));
        let others = [head_tag, trailer_tag].into_iter().flatten();
        let others = others.filter(|_| self.tag.is_none()).map(str::to_owned);
        Some(Assemble {
            layout: common.layout,
            line_end: self.line_end,
            kind: common.kind,
            path,
            empty: self.empty,
            names,
            head,
            record,
            trailer,
            others: others.collect(),
            tag_at: common.tag_at,
        })
    }
}

impl Common<'_> {
    /// The path of the records.
    fn records(&mut self, text: &str, faults: &mut Faults) -> Option<Selector> {
        let path = self.path(text, false, &["path"], faults)?;
        if !path.leads_to_places() {
            let message = format!("`{text}` comes to a value, and records are elements");
            faults.at(&["path"], message);
        }
        Some(path)
    }

    fn path(
        &mut self,
        text: &str,
        relative: bool,
        at: &[&str],
        faults: &mut Faults,
    ) -> Option<Selector> {
        let compiled = match relative {
            true => Selector::relative(text, self.namespaces),
            false => Selector::compile(text, self.namespaces),
        };
        let path = match compiled {
            Ok(path) => path,
            Err(why) => {
                faults.at(at, format!("`{text}`: {why}"));
                return None;
            }
        };
        if *self.kind.get_or_insert(path.kind()) != path.kind() {
            let message = format!("`{text}` is for another kind of document than a path before it");
            faults.at(at, message);
        }
        Some(path)
    }

    fn columns(&self, at: &[&str], specs: &[ColumnSpec], faults: &mut Faults) -> Vec<Column> {
        let limits = SplitLimits::default();
        let columns = Columns {
            csv: self.layout != Layout::Fixed,
            at,
            elements: false,
            most: limits.columns,
            longest: limits.record_bytes,
        };
        columns.compile(specs, faults)
    }

    fn line(&mut self, told: &Told<'_>, faults: &mut Faults) -> Line {
        let columns = self.columns(told.at, told.columns, faults);
        let mut fields = Vec::with_capacity(columns.len() + 1);
        let mut names = HashMap::new();
        let end = columns.last().map_or(0, |last| last.from + last.width);
        for (number, (column, spec)) in columns.into_iter().zip(told.columns).enumerate() {
            let in_words = number.to_string();
            let at = [told.at, &[&in_words]].concat();
            let origin = self.origin(told, number, &at, faults);
            let field = self.field(column, spec, origin, &at, faults);
            fields.push(field);
        }
        if let Some(tag) = told.tag {
            self.tag(tag, end, told, &mut fields, faults);
        }
        if fields.is_empty() && told.tag.is_none() && !told.is_record {
            let at = &told.at[..told.at.len() - 1];
            faults.at(at, "a line has a `tag` or `columns`");
        }
        if self.layout == Layout::Fixed {
            fields.retain(|field| !matches!(field.origin, Origin::Nothing));
            fields.sort_by_key(|field| field.column.from);
        }
        for (number, field) in fields.iter().enumerate() {
            if matches!(field.origin, Origin::Name) {
                names.insert(field.column.name.clone(), number);
            }
        }
        let last = fields.last().filter(|_| self.layout == Layout::Fixed);
        let width = last.map_or(0, |last| last.column.from + last.column.width);
        Line {
            fields,
            names,
            width: width.max(end),
        }
    }

    /// Where the value of a column comes from.
    fn origin(
        &mut self,
        told: &Told<'_>,
        number: usize,
        at: &[&str],
        faults: &mut Faults,
    ) -> Origin {
        let spec = &told.columns[number];
        let counted = told.count.filter(|(column, _)| *column == number);
        let count = spec.count.or(counted.map(|(_, what)| what));
        let given = [
            ("skip", spec.skip),
            ("path", spec.path.is_some()),
            ("value", spec.value.is_some()),
            ("count", count.is_some()),
        ];
        let mut given = given.iter().filter(|(_, given)| *given);
        if let (Some((one, _)), Some((two, _))) = (given.next(), given.next()) {
            let message = format!("a column has one value, and not both `{one}` and `{two}`");
            faults.at(&[at, &[*two]].concat(), message);
        }
        if spec.count.is_some() && told.is_record {
            let at = [at, &["count"]].concat();
            faults.at(&at, "a record counts nothing: a head or trailer does");
        }
        if spec.skip {
            return Origin::Nothing;
        }
        if let Some(text) = &spec.path {
            let at = [at, &["path"]].concat();
            let path = self.path(text, true, &at, faults);
            if path.as_ref().is_some_and(Selector::is_plural) {
                let message = "the path leads to several values, and one is wanted";
                faults.at(&at, message);
            }
            return path.map_or(Origin::Nothing, Origin::Path);
        }
        match (&spec.value, count) {
            (Some(value), _) => Origin::Constant(value.clone()),
            (None, Some(count)) => Origin::Count(count),
            (None, None) => Origin::Name,
        }
    }

    fn field(
        &self,
        column: Column,
        spec: &ColumnSpec,
        origin: Origin,
        at: &[&str],
        faults: &mut Faults,
    ) -> Field {
        let at_key = |key| [at, &[key]].concat();
        if self.layout != Layout::Fixed {
            for (key, given) in [("align", spec.align.is_some()), ("pad", spec.pad.is_some())] {
                if given {
                    faults.at(&at_key(key), format!("`{key}` means nothing for CSV"));
                }
            }
        }
        let mut field = Field {
            column,
            origin,
            align: spec.align.unwrap_or_default(),
            pad: spec.pad.unwrap_or(' '),
            digits: spec.digits.map(usize::from),
        };
        if matches!(field.pad, '\r' | '\n') {
            faults.at(&at_key("pad"), "a line end cannot stand in a line");
        }
        let changes = match field.align {
            Align::Left => field.pad.is_ascii_digit(),
            Align::Right => matches!(field.pad, '1'..='9' | '-' | '+'),
        };
        if field.is_number() && changes {
            let message = format!("`{}` there would make another number of it", field.pad);
            faults.at(&at_key("pad"), message);
        }
        if spec.digits.is_some() {
            if field.column.value_type != ValueType::Decimal {
                faults.at(&at_key("digits"), "`digits` are for the type `decimal`");
            } else if spec.scale.is_some() {
                let message =
                    "`scale` says it already: its digits stand behind a point that is not written";
                faults.at(&at_key("digits"), message);
            } else if spec.digits > Some(28) {
                faults.at(&at_key("digits"), "a decimal has at most 28 digits");
            }
        }
        if let Origin::Constant(text) = &field.origin {
            match field.constant(text, self.layout) {
                Ok(value) => field.origin = Origin::Constant(value),
                Err(Stop { detail, .. }) => faults.at(&at_key("value"), detail),
            }
        }
        field
    }

    /// Puts the tag of a line where it stands.
    fn tag(
        &self,
        tag: &str,
        end: usize,
        told: &Told<'_>,
        fields: &mut Vec<Field>,
        faults: &mut Faults,
    ) {
        let at: Vec<&str> = match told.at.split_last() {
            Some((_, [])) | None => vec!["tag"],
            Some((_, around)) => [around, &["tag"]].concat(),
        };
        let width = tag.chars().count();
        let field = constant(tag, self.tag_at, width);
        if let Err(Stop { detail, .. }) = field.constant(tag, self.layout) {
            faults.at(&at, detail);
        }
        let Layout::Csv { .. } = self.layout else {
            let (from, to) = (self.tag_at, self.tag_at.saturating_add(width));
            let meets = |field: &&Field| {
                let column = &field.column;
                !column.skip && column.from < to && from < column.from + column.width
            };
            if let Some(other) = fields.iter().find(meets) {
                let name = &other.column.name;
                let message = format!("the tag stands in the column `{name}`: set `skip` there");
                faults.at(&at, message);
            } else if !told.columns.is_empty() && to > end {
                faults.at(&at, "the tag stands behind the last column");
            }
            fields.push(field);
            return;
        };
        if told.columns.is_empty() {
            fields.extend((0..self.tag_at).map(|_| constant("", 0, 0)));
            fields.push(field);
            return;
        }
        match fields.get_mut(self.tag_at) {
            Some(place) if place.column.skip => place.origin = field.origin,
            Some(place) => {
                let name = &place.column.name;
                let message = format!("the tag stands in the column `{name}`: set `skip` there");
                faults.at(&at, message);
            }
            None => faults.at(&at, "the tag stands behind the last column"),
        }
    }

    /// The line that names the columns.
    fn names(&self, record: &Line, faults: &mut Faults) -> String {
        let mut line = String::new();
        let Layout::Csv { delimiter, quote } = self.layout else {
            return line;
        };
        for (number, field) in record.fields.iter().enumerate() {
            if number > 0 {
                line.push(char::from(delimiter));
            }
            let name = &field.column.name;
            let added = Field::quoted(name, (delimiter, quote), false, &mut line);
            if let Err(Stop { detail, .. }) = added {
                faults.at(&["names"], detail);
            }
        }
        line
    }
}

/// The last field of a line, or its last character.
fn last_place(format: LineFormat) -> usize {
    let limits = SplitLimits::default();
    match format {
        LineFormat::Csv => limits.columns,
        LineFormat::Fixed => limits.record_bytes,
    }
}

/// A field that always has the value `text`.
fn constant(text: &str, from: usize, width: usize) -> Field {
    Field {
        column: Column {
            name: "tag".to_owned(),
            value_type: ValueType::String,
            required: false,
            trim: Trim::None,
            skip: false,
            from,
            width,
            scale: None,
            point: '.',
        },
        origin: Origin::Constant(text.to_owned()),
        align: Align::Left,
        pad: ' ',
        digits: None,
    }
}

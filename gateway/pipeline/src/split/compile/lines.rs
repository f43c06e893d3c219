//! Compiling how lines are split.

use crate::{
    faults::Faults,
    lines::{self, ColumnSpec, Columns, HeadSpec, Layout, Tags, TrailerSpec},
    promotions::property,
    split::{
        Format, SplitLimits, SplitSpec,
        flat::{Flat, Head, Out, Trailer},
        spec::Form,
    },
    xml,
};

impl SplitSpec {
    pub(super) fn flat(&self, limits: &SplitLimits, faults: &mut Faults) -> Option<Flat> {
        let layout = match self.format {
            Format::Fixed => Some(Layout::Fixed),
            _ => lines::layout(self.delimiter.as_deref(), self.quote.as_deref(), faults),
        };
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
            elements: matches!(out, Some(Out::Xml { .. })),
            most: limits.columns,
            longest: limits.record_bytes,
        };
        let around = |at| Columns {
            at,
            elements: false,
            ..columns
        };
        let head = self.head.as_ref();
        let trailer = self.trailer.as_ref();
        only_read(&self.columns, columns.at, faults);
        let columns = columns.compile(&self.columns, faults);
        let head = head.map(|spec| self::head(&around(&["head", "columns"]), spec, faults));
        let trailer =
            trailer.map(|spec| self::trailer(&around(&["trailer", "columns"]), spec, faults));
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
        let tags = Tags {
            fixed: self.format == Format::Fixed,
            record: self.tag.as_deref(),
            head: self.head.as_ref().and_then(|head| head.tag.as_deref()),
            trailer: self
                .trailer
                .as_ref()
                .and_then(|trailer| trailer.tag.as_deref()),
            at: self.tag_at,
        };
        tags.check(faults);
    }
}

/// Tells of keys that say how a value is written: nothing of that is done here.
fn only_read(specs: &[ColumnSpec], at: &[&str], faults: &mut Faults) {
    for (i, spec) in specs.iter().enumerate() {
        for key in spec.of_assembling() {
            let message = format!("`{key}` means nothing where lines are read");
            faults.at(&[at, &[&i.to_string(), key]].concat(), message);
        }
    }
}

fn head(columns: &Columns<'_>, spec: &HeadSpec, faults: &mut Faults) -> Head {
    only_read(&spec.columns, columns.at, faults);
    let columns = columns.compile(&spec.columns, faults);
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

fn trailer(columns: &Columns<'_>, spec: &TrailerSpec, faults: &mut Faults) -> Trailer {
    only_read(&spec.columns, columns.at, faults);
    let columns = columns.compile(&spec.columns, faults);
    let count = lines::count_column(spec, faults);
    Trailer {
        tag: spec.tag.clone(),
        columns,
        count,
        count_of: spec.count_of,
    }
}

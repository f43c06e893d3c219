//! Writes XML.

use super::{
    super::{
        MapError,
        apply::{Run, Scope},
        plan::{Branch, Field, Step},
        scalar::Scalar,
        work::Stop,
    },
    fits, weigh,
};
use crate::codes;

/// Writes the document of the map that `run` applies.
pub(in super::super) fn write<'r>(
    run: &mut Run<'r>,
    scope: &Scope<'r>,
) -> Result<String, MapError> {
    let plan = run.plan;
    let mut writer = Writer {
        run,
        out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"),
    };
    writer.element(&plan.root, scope, true)?;
    Ok(writer.out)
}

struct Writer<'w, 'r> {
    run: &'w mut Run<'r>,
    out: String,
}

impl<'r> Writer<'_, 'r> {
    /// Writes all elements that come of `branch`, and says whether there is one.
    fn branch(&mut self, branch: &'r Branch, scope: &Scope<'r>) -> Result<bool, MapError> {
        if let Some(repeat) = &branch.repeat {
            let places = self.run.matches(repeat, scope)?;
            let mut scope = scope.clone();
            let any = !places.is_empty();
            for place in places {
                scope[repeat.source] = place;
                self.element(branch, &scope, true)?;
            }
            return Ok(any);
        }
        match &branch.field {
            Some(field) if branch.children.is_empty() => self.leaf(branch, field, scope),
            _ => self.element(branch, scope, false),
        }
    }

    /// An element without attributes and children: one for each value.
    fn leaf(
        &mut self,
        branch: &'r Branch,
        field: &'r Field,
        scope: &Scope<'r>,
    ) -> Result<bool, MapError> {
        let values = self.run.values(field, scope)?;
        for value in &values.items {
            self.out.push('<');
            self.out.push_str(branch.step.name());
            let content = self.open();
            self.put(field, value, false)?;
            self.close(branch, content);
        }
        Ok(!values.items.is_empty())
    }

    /// One element. It is left out if nothing comes to be in it, unless it is `needed`.
    fn element(
        &mut self,
        branch: &'r Branch,
        scope: &Scope<'r>,
        needed: bool,
    ) -> Result<bool, MapError> {
        let start = self.out.len();
        let mut any = needed;
        self.out.push('<');
        self.out.push_str(branch.step.name());
        if std::ptr::eq(branch, &self.run.plan.root) {
            self.declare();
        }
        for child in &branch.children {
            if let (Step::Attribute(name), Some(field)) = (&child.step, &child.field)
                && let Some(value) = self.single(field, scope)?
            {
                self.attribute(name, field, &value)?;
                any = true;
            }
        }
        let content = self.open();
        if let Some(field) = &branch.field
            && let Some(value) = self.single(field, scope)?
        {
            self.put(field, &value, false)?;
            any = true;
        }
        for child in &branch.children {
            if matches!(child.step, Step::Element(_)) {
                any |= self.branch(child, scope)?;
            }
        }
        if any {
            self.close(branch, content);
        } else {
            self.out.truncate(start);
        }
        Ok(any)
    }

    /// The value of what can be there only once.
    fn single(&mut self, field: &'r Field, scope: &Scope<'r>) -> Result<Option<Scalar>, MapError> {
        let mut items = self.run.values(field, scope)?.items.into_iter();
        let first = items.next();
        if items.next().is_some() {
            let detail = "there are several values, where one is wanted";
            return Err(Stop::new(codes::MAP_REPEATED, detail).at(field.at, &field.target));
        }
        Ok(first)
    }

    fn attribute(&mut self, name: &str, field: &Field, value: &Scalar) -> Result<(), MapError> {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        self.put(field, value, true)?;
        self.out.push('"');
        Ok(())
    }

    /// Declares the namespaces of the document.
    fn declare(&mut self) {
        for (prefix, namespace) in &self.run.plan.namespaces {
            self.out.push_str(" xmlns");
            if !prefix.is_empty() {
                self.out.push(':');
                self.out.push_str(prefix);
            }
            self.out.push_str("=\"");
            // Without what XML cannot hold: that was looked at when the map was read.
            namespace
                .chars()
                .for_each(|c| escape(&mut self.out, c, true));
            self.out.push('"');
        }
    }

    /// Ends a start tag, and says where the content begins.
    fn open(&mut self) -> usize {
        self.out.push('>');
        self.out.len()
    }

    fn close(&mut self, branch: &Branch, content: usize) {
        if self.out.len() == content {
            self.out.pop();
            self.out.push_str("/>");
            return;
        }
        self.out.push_str("</");
        self.out.push_str(branch.step.name());
        self.out.push('>');
    }

    fn put(&mut self, field: &Field, value: &Scalar, quoted: bool) -> Result<(), MapError> {
        let written = self.text(value, quoted);
        written.map_err(|stop| stop.at(field.at, &field.target))
    }

    fn text(&mut self, value: &Scalar, quoted: bool) -> Result<(), Stop> {
        weigh(value, &mut self.run.work)?;
        for c in value.text().chars() {
            if !is_xml(c) {
                let detail = format!(
                    "the value has the character U+{:04X}, which XML cannot hold",
                    u32::from(c)
                );
                return Err(Stop::new(codes::MAP_VALUE, detail));
            }
            escape(&mut self.out, c, quoted);
        }
        fits(&self.out)
    }
}

/// Whether XML 1.0 can hold `c`.
pub(in super::super) fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn escape(out: &mut String, c: char, quoted: bool) {
    match c {
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '&' => out.push_str("&amp;"),
        // What a reader would take for another character.
        '\r' => out.push_str("&#13;"),
        '"' if quoted => out.push_str("&quot;"),
        '\n' if quoted => out.push_str("&#10;"),
        '\t' if quoted => out.push_str("&#9;"),
        c => out.push(c),
    }
}

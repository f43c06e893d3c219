//! Writes JSON.

use super::{
    super::{
        MapError,
        apply::{Run, Scope},
        plan::{Branch, Field},
        scalar::Scalar,
        work::Stop,
    },
    fits, weigh,
};

/// Writes the document of the map that `run` applies.
pub(in super::super) fn write<'r>(
    run: &mut Run<'r>,
    scope: &Scope<'r>,
) -> Result<String, MapError> {
    let root = &run.plan.root;
    let mut writer = Writer {
        run,
        out: String::new(),
    };
    if !writer.value(root, scope, true)? {
        writer.out.push_str("null");
    }
    Ok(writer.out)
}

struct Writer<'w, 'r> {
    run: &'w mut Run<'r>,
    out: String,
}

impl<'r> Writer<'_, 'r> {
    /// Writes the value of `branch`, and says whether there is one.
    fn value(
        &mut self,
        branch: &'r Branch,
        scope: &Scope<'r>,
        needed: bool,
    ) -> Result<bool, MapError> {
        let Some(repeat) = &branch.repeat else {
            return self.single(branch, scope, needed);
        };
        let places = self.run.matches(repeat, scope)?;
        let mut scope = scope.clone();
        self.out.push('[');
        let start = self.out.len();
        for place in places {
            scope[repeat.source] = place;
            let before = self.out.len();
            if before > start {
                self.out.push(',');
            }
            if !self.single(branch, &scope, true)? {
                self.out.truncate(before);
            }
        }
        self.out.push(']');
        Ok(true)
    }

    /// A value that does not repeat, or one of those that do.
    fn single(
        &mut self,
        branch: &'r Branch,
        scope: &Scope<'r>,
        needed: bool,
    ) -> Result<bool, MapError> {
        match &branch.field {
            Some(field) => self.field(field, scope),
            None => self.object(branch, scope, needed),
        }
    }

    fn object(
        &mut self,
        branch: &'r Branch,
        scope: &Scope<'r>,
        needed: bool,
    ) -> Result<bool, MapError> {
        let start = self.out.len();
        self.out.push('{');
        let mut any = false;
        for child in &branch.children {
            let before = self.out.len();
            if any {
                self.out.push(',');
            }
            text(&mut self.out, child.step.name());
            self.out.push(':');
            if self.value(child, scope, false)? {
                any = true;
            } else {
                self.out.truncate(before);
            }
        }
        if any || needed {
            self.out.push('}');
            return Ok(true);
        }
        self.out.truncate(start);
        Ok(false)
    }

    fn field(&mut self, field: &'r Field, scope: &Scope<'r>) -> Result<bool, MapError> {
        let values = self.run.values(field, scope)?;
        if !values.list {
            let Some(value) = values.items.first() else {
                return Ok(false);
            };
            self.put(field, value)?;
            return Ok(true);
        }
        self.out.push('[');
        for (number, value) in values.items.iter().enumerate() {
            if number > 0 {
                self.out.push(',');
            }
            self.put(field, value)?;
        }
        self.out.push(']');
        Ok(true)
    }

    fn put(&mut self, field: &Field, value: &Scalar) -> Result<(), MapError> {
        let written = self.scalar(value);
        written.map_err(|stop| stop.at(field.at, &field.target))
    }

    fn scalar(&mut self, value: &Scalar) -> Result<(), Stop> {
        weigh(value, &mut self.run.work)?;
        match value {
            Scalar::Text(value) => text(&mut self.out, value),
            Scalar::Number(_) | Scalar::Boolean(_) => self.out.push_str(&value.text()),
        }
        fits(&self.out)
    }
}

fn text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

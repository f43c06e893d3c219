//! What stands at a target path: where a value comes from.

use quayside_model::Name;

use super::{
    Reader, find,
    target::{Target, grow},
};
use crate::{
    Kind, codes,
    map::{
        defect::shown,
        expression::{Expression, Names},
        jsonpath::JsonPath,
        limits,
        plan::{Branch, Field, Origin, Repeat, Step},
        scalar::Form,
        source::Path,
        toml::{Entry, Value},
        xpath::XPath,
    },
};

/// Where in a map something stands.
#[derive(Debug, Clone)]
pub(super) struct Here {
    /// The source that a path is of if it does not say.
    pub(super) source: usize,
    /// How many `repeat`s are around.
    pub(super) repeats: usize,
    /// The target paths around.
    pub(super) names: Vec<String>,
}

/// What a value can come from.
const ORIGINS: [&str; 6] = ["xpath", "jsonpath", "value", "param", "property", "cel"];

/// What can stand beside it.
const BESIDE: [&str; 6] = ["from", "with", "table", "type", "default", "required"];

impl Here {
    /// The path in the target, for messages.
    fn target(&self, key: &str) -> String {
        let mut target = self.names.join(" ");
        if !target.is_empty() {
            target.push(' ');
        }
        target + key
    }
}

impl Reader {
    /// Reads `entries`, whose keys are target paths from `branch` on.
    pub(super) fn fields(
        &mut self,
        entries: &[Entry],
        branch: &mut Branch,
        target: &mut Target,
        here: &Here,
    ) {
        for entry in entries {
            let steps = match target.steps(&entry.key, here.repeats > 0) {
                Ok(steps) => steps,
                Err((code, at, message)) => {
                    let mut place = entry.at;
                    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
                    // Any other key has quotes around it.
                    place.column += usize::from(!entry.key.chars().all(bare));
                    place.column += entry.key[..entry.key.floor_char_boundary(at)]
                        .chars()
                        .count();
                    self.add(place, code, message);
                    continue;
                }
            };
            if steps.len() + here.names.len() > limits::TARGET_DEPTH {
                let message = format!("the path has more than {} steps", limits::TARGET_DEPTH);
                self.add(entry.at, codes::MAP_TOO_LARGE, message);
                continue;
            }
            let at = match grow(branch, &steps, target.kind) {
                Ok(at) => at,
                Err(why) => {
                    let message = format!("`{}`: {why}", shown(&entry.key));
                    self.add(entry.at, codes::MAP_TARGET, message);
                    continue;
                }
            };
            self.place(entry, at, target, here, steps.is_empty());
        }
    }

    /// Reads what stands at one target path.
    fn place(
        &mut self,
        entry: &Entry,
        branch: &mut Branch,
        target: &mut Target,
        here: &Here,
        itself: bool,
    ) {
        if let Value::Table(entries) = &entry.node.value
            && let Some(repeat) = find(entries, "repeat")
        {
            // The match itself repeats already.
            let attribute = matches!(branch.step, Step::Attribute(_));
            if attribute || (itself && here.repeats > 0) {
                let message = format!("`{}` cannot repeat", shown(&entry.key));
                self.add(entry.at, codes::MAP_TARGET, message);
                return;
            }
            self.repeat(entry, entries, repeat, branch, target, here);
            return;
        }
        branch.field = self.field(entry, here, true);
    }

    fn repeat(
        &mut self,
        entry: &Entry,
        entries: &[Entry],
        repeat: &Entry,
        branch: &mut Branch,
        target: &mut Target,
        here: &Here,
    ) {
        self.known(entries, "a repetition", &["repeat", "from", "to"]);
        if here.repeats == limits::REPEATS {
            let message = format!("`repeat` nests deeper than {}", limits::REPEATS);
            self.add(entry.at, codes::MAP_TOO_LARGE, message);
            return;
        }
        let Some(source) = self.from(entries, entry, here) else {
            return;
        };
        let mut inner = here.clone();
        inner.source = source;
        inner.repeats += 1;
        inner.names.push(entry.key.clone());
        match find(entries, "to") {
            Some(to) => {
                if let Some(to) = self.table(to) {
                    self.fields(to, branch, target, &inner);
                }
            }
            None => {
                let message = "a `repeat` has no `to`";
                let help = match target.kind {
                    Kind::Json => {
                        "Add `to = { \"@.id\" = \"...\" }`, or `to = { \"@\" = \"...\" }` for a list of values."
                    }
                    _ => {
                        "Add `to = { \"a:Id\" = \"...\" }`, or `to = { \".\" = \"...\" }` for elements with text alone."
                    }
                };
                self.defects
                    .help(entry.at, codes::MAP_MISSING_KEY, message, help);
            }
        }
        let path = self.path(repeat, source, None, true);
        branch.repeat = path.map(|path| Repeat {
            at: repeat.node.at,
            target: here.target(&entry.key),
            source,
            path,
        });
    }

    /// Reads where a value comes from; `with` and `cel` where it is one of a document.
    fn field(&mut self, entry: &Entry, here: &Here, placed: bool) -> Option<Field> {
        let mut field = Field {
            at: entry.node.at,
            target: if placed {
                here.target(&entry.key)
            } else {
                entry.key.clone()
            },
            origin: Origin::Param(0),
            table: None,
            form: Form::Any,
            default: None,
            required: false,
        };
        let entries = match &entry.node.value {
            Value::Table(entries) => entries,
            Value::Text(_) => {
                let source = self.from(&[], entry, here)?;
                let path = self.path(entry, source, None, false)?;
                field.origin = Origin::Path { source, path };
                return Some(field);
            }
            _ => {
                let found = entry.node.in_words();
                let message = format!("{found} stands here, where a path or a table belongs");
                let help = "Write `{ value = ... }` for a value that is always the same.";
                self.defects
                    .help(entry.node.at, codes::MAP_FORM, message, help);
                return None;
            }
        };
        let keys: Vec<&str> = ORIGINS.iter().chain(&BESIDE).copied().collect();
        self.known(entries, "a value", &keys);
        let origins: Vec<&Entry> = entries
            .iter()
            .filter(|entry| ORIGINS.contains(&entry.key.as_str()))
            .collect();
        let [origin] = origins.as_slice() else {
            let message = match origins.as_slice() {
                [] => "it is not said where the value comes from".to_owned(),
                _ => "a value comes from one place".to_owned(),
            };
            let help = "Give one of `xpath`, `jsonpath`, `value`, `param`, `property`, `cel` and `repeat`.";
            let code = match origins.as_slice() {
                [] => codes::MAP_MISSING_KEY,
                _ => codes::MAP_FORM,
            };
            self.defects.help(entry.at, code, message, help);
            return None;
        };
        self.beside(entries, origin);
        self.rest(entries, &mut field);
        field.origin = self.origin(entries, origin, &field, here, placed)?;
        Some(field)
    }

    /// Refuses what says nothing beside the origin that is given.
    fn beside(&mut self, entries: &[Entry], origin: &Entry) {
        for entry in entries {
            let fits = match (entry.key.as_str(), origin.key.as_str()) {
                ("from", origin) => matches!(origin, "xpath" | "jsonpath"),
                ("with", origin) => origin == "cel",
                ("table" | "default" | "required", origin) => origin != "value",
                _ => true,
            };
            if !fits {
                let message = format!("`{}` says nothing beside `{}`", entry.key, origin.key);
                self.add(entry.at, codes::MAP_FORM, message);
            }
        }
    }

    /// Reads what becomes of a value.
    fn rest(&mut self, entries: &[Entry], field: &mut Field) {
        if let Some(entry) = find(entries, "type")
            && let Some(text) = self.text(entry)
        {
            field.form = self.form(entry, text, &[]).unwrap_or_default();
        }
        if let Some(entry) = find(entries, "table")
            && let Some(name) = self.text(entry)
        {
            field.table = self.tables.iter().position(|table| table.name == name);
            if field.table.is_none() {
                let message = format!("there is no table `{}`", shown(name));
                let known: Vec<String> = self.tables.iter().map(|t| t.name.clone()).collect();
                let known = known.iter().map(String::as_str);
                self.defects
                    .unknown(entry.node.at, codes::MAP_NAME, message, name, known);
            }
        }
        if let Some(entry) = find(entries, "required") {
            field.required = self.truth(entry) == Some(true);
        }
        if let Some(entry) = find(entries, "default") {
            field.default = self.constant(&entry.node, field.form);
            if field.required {
                let message = "what has a `default` is never missing, so `required` says nothing";
                self.add(entry.at, codes::MAP_FORM, message);
            }
        }
    }

    fn origin(
        &mut self,
        entries: &[Entry],
        origin: &Entry,
        field: &Field,
        here: &Here,
        placed: bool,
    ) -> Option<Origin> {
        match origin.key.as_str() {
            "value" => self
                .constant(&origin.node, field.form)
                .map(Origin::Constant),
            "param" => {
                let name = self.text(origin)?;
                let number = self.params.iter().position(|param| *param.name == *name);
                if number.is_none() {
                    let message = format!("there is no parameter `{}`", shown(name));
                    let known: Vec<Name> = self.params.iter().map(|p| p.name.clone()).collect();
                    let known = known.iter().map(Name::as_str);
                    self.defects
                        .unknown(origin.node.at, codes::MAP_NAME, message, name, known);
                }
                number.map(Origin::Param)
            }
            "property" => match Name::new(self.text(origin)?) {
                Ok(name) => Some(Origin::Property(name)),
                Err(error) => {
                    self.add(origin.node.at, codes::MAP_NAME, error.to_string());
                    None
                }
            },
            "cel" if !placed => {
                let message = "an expression cannot stand in `with` of another";
                self.add(origin.at, codes::MAP_FORM, message);
                None
            }
            "cel" => self.expression(entries, origin, here),
            key => {
                let source = self.from(entries, origin, here)?;
                let kind = if key == "xpath" {
                    Kind::Xml
                } else {
                    Kind::Json
                };
                let path = self.path(origin, source, Some(kind), false)?;
                Some(Origin::Path { source, path })
            }
        }
    }

    fn expression(&mut self, entries: &[Entry], origin: &Entry, here: &Here) -> Option<Origin> {
        let mut names = Vec::new();
        let mut with = Vec::new();
        let mut whole = true;
        if let Some(entry) = find(entries, "with") {
            for value in self.table(entry)? {
                names.push(value.key.clone());
                match self.field(value, here, false) {
                    Some(field) => with.push(field),
                    None => whole = false,
                }
            }
        }
        let params: Vec<Name> = self.params.iter().map(|param| param.name.clone()).collect();
        let known = Names {
            with: &names,
            params: &params,
        };
        let source = self.text(origin)?;
        let expression = Expression::compile(&origin.node, source, known, &mut self.defects)?;
        whole.then_some(Origin::Expression { expression, with })
    }

    /// The source that a path is of.
    fn from(&mut self, entries: &[Entry], entry: &Entry, here: &Here) -> Option<usize> {
        let Some(from) = find(entries, "from") else {
            if self.sources.is_empty() {
                let message = "a path needs a document, and the map has no `[source]`";
                let help = "Add `[source.NAME]` with `format = \"xml\"` or `format = \"json\"`.";
                self.defects
                    .help(entry.node.at, codes::MAP_MISSING_KEY, message, help);
                return None;
            }
            return Some(here.source);
        };
        let name = self.text(from)?;
        let number = self.sources.iter().position(|source| source.name == name);
        if number.is_none() {
            let message = format!("there is no source `{}`", shown(name));
            let known: Vec<String> = self.sources.iter().map(|s| s.name.clone()).collect();
            let known = known.iter().map(String::as_str);
            self.defects
                .unknown(from.node.at, codes::MAP_NAME, message, name, known);
        }
        number
    }

    /// Compiles the path at `entry` for its source; `wanted` is the format that its key says.
    fn path(
        &mut self,
        entry: &Entry,
        source: usize,
        wanted: Option<Kind>,
        nodes: bool,
    ) -> Option<Path> {
        let text = self.text(entry)?;
        let of = &self.sources[source];
        if wanted.is_some_and(|wanted| wanted != of.kind) {
            let message = format!("`{}` is {}", shown(&of.name), in_words(of.kind));
            let help = match of.kind {
                Kind::Json => "Write `jsonpath = \"$.name\"`.",
                _ => "Write `xpath = \"/o:Root/o:Name\"`.",
            };
            self.defects.help(entry.at, codes::MAP_PATH, message, help);
            return None;
        }
        let compiled = match of.kind {
            Kind::Json => JsonPath::parse(text)
                .map(Path::Json)
                .map_err(|(at, message)| (codes::MAP_PATH, at, message)),
            _ => XPath::compile(text, &of.namespaces, nodes).map(Path::Xml),
        };
        match compiled {
            Ok(Path::Json(path)) if path.is_plural() && !nodes => {
                let message = "the path leads to several values; one is wanted";
                let help = "Take one by its position, as in `$.lines[0].sku`, or write a `repeat`.";
                self.defects
                    .help(entry.node.at, codes::MAP_PATH, message, help);
                None
            }
            Ok(path) => Some(path),
            Err((code, at, message)) => {
                let place = entry.node.place_in(text, at);
                self.add(place, code, message);
                None
            }
        }
    }
}

fn in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Json => "JSON",
        _ => "XML",
    }
}

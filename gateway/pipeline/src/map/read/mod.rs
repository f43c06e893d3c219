//! From the text of a map to what is applied, or to everything that is wrong with it.

mod field;
mod target;

use std::collections::{BTreeMap, BTreeSet};

use quayside_model::{Code, Name};

use self::{field::Here, target::Target};
use super::{
    defect::{Defect, Defects, Place, shown},
    plan::{Branch, Param, Plan, Source, Step, Table},
    scalar::{Form, Scalar},
    toml::{self, Entry, Node, Value},
    write::xml::is_xml,
};
use crate::{Kind, codes, xml::names::is_name};

/// Reads a map.
pub(super) fn read(text: &str) -> Result<Plan, Vec<Defect>> {
    let mut defects = Defects::default();
    let entries = toml::parse(text, &mut defects);
    // What is left of a file that is not TOML lacks things only because of that.
    if !defects.is_empty() {
        return Err(defects.finish());
    }
    let mut reader = Reader {
        defects,
        sources: Vec::new(),
        params: Vec::new(),
        tables: Vec::new(),
    };
    let plan = reader.plan(&entries);
    match plan {
        Some(plan) if reader.defects.is_empty() => Ok(plan),
        _ => Err(reader.defects.finish()),
    }
}

struct Reader {
    defects: Defects,
    sources: Vec<Source>,
    params: Vec<Param>,
    tables: Vec<Table>,
}

const START: Place = Place { line: 1, column: 1 };

impl Reader {
    fn plan(&mut self, entries: &[Entry]) -> Option<Plan> {
        let keys = ["about", "source", "target", "param", "table", "to"];
        self.known(entries, "a map", &keys);
        let mut target = None;
        let mut to = None;
        for entry in entries {
            match entry.key.as_str() {
                "source" => self.sources(entry),
                "param" => self.params(entry),
                "table" => self.tables(entry),
                "target" => target = self.target(entry),
                "to" => to = self.table(entry),
                _ => {}
            }
        }
        for missing in ["target", "to"] {
            if !entries.iter().any(|entry| entry.key == missing) {
                let message = format!("the map has no `[{missing}]`");
                self.add(START, codes::MAP_MISSING_KEY, message);
            }
        }
        let (mut target, to) = (target?, to?);
        let here = Here {
            source: 0,
            repeats: 0,
            names: Vec::new(),
        };
        let mut top = Branch::new(Step::Member(String::new()));
        self.fields(to, &mut top, &mut target, &here);
        let root = self.root(top, &target, entries)?;
        Some(Plan {
            sources: std::mem::take(&mut self.sources),
            params: std::mem::take(&mut self.params),
            tables: std::mem::take(&mut self.tables),
            kind: target.kind,
            namespaces: target.declared(),
            root,
        })
    }

    /// The root of the document, of what holds it.
    fn root(&mut self, mut top: Branch, target: &Target, entries: &[Entry]) -> Option<Branch> {
        let to = entries.iter().find(|entry| entry.key == "to")?;
        if target.kind == Kind::Json {
            if top.children.is_empty() && top.field.is_none() && top.repeat.is_none() {
                self.add(to.at, codes::MAP_MISSING_KEY, "`[to]` is empty");
                return None;
            }
            return Some(top);
        }
        if top.children.len() > 1 {
            let names: Vec<&str> = top.children.iter().map(|child| child.step.name()).collect();
            let message = format!("a document has one root element, not {}", names.join(", "));
            self.add(to.at, codes::MAP_TARGET, message);
        }
        let root = top.children.pop();
        match &root {
            None => self.add(to.at, codes::MAP_MISSING_KEY, "`[to]` is empty"),
            Some(root) if root.repeat.is_some() => {
                let message = "the root element cannot repeat";
                self.add(to.at, codes::MAP_TARGET, message);
            }
            Some(_) => {}
        }
        root
    }

    fn sources(&mut self, entry: &Entry) {
        for source in self.table(entry).unwrap_or_default() {
            let Some(entries) = self.table(source) else {
                continue;
            };
            self.known(entries, "a source", &["format", "namespaces"]);
            let kind = self.format(entries, source);
            let mut namespaces = BTreeMap::new();
            if let Some(entry) = find(entries, "namespaces") {
                namespaces = self.namespaces(entry, kind.unwrap_or(Kind::Xml));
            }
            self.sources.push(Source {
                name: source.key.clone(),
                kind: kind.unwrap_or(Kind::Xml),
                namespaces,
            });
        }
    }

    fn target(&mut self, entry: &Entry) -> Option<Target> {
        let entries = self.table(entry)?;
        self.known(
            entries,
            "the target",
            &["format", "namespaces", "namespace"],
        );
        let kind = self.format(entries, entry)?;
        let mut namespaces = BTreeMap::new();
        if let Some(entry) = find(entries, "namespaces") {
            namespaces = self.namespaces(entry, kind);
        }
        let mut default = None;
        if let Some(entry) = find(entries, "namespace") {
            if kind == Kind::Json {
                let message = "JSON has no namespaces";
                self.add(entry.at, codes::MAP_FORM, message);
            }
            default = self.namespace(entry);
        }
        for (prefix, namespace) in &namespaces {
            let same = namespaces.iter().find(|(_, other)| *other == namespace);
            if let Some((other, _)) = same.filter(|(other, _)| *other < prefix) {
                let message = format!("`{other}` and `{prefix}` stand for the same namespace");
                self.add(entry.at, codes::MAP_FORM, message);
            }
        }
        Some(Target {
            kind,
            namespaces,
            default,
            used: BTreeSet::new(),
        })
    }

    fn format(&mut self, entries: &[Entry], of: &Entry) -> Option<Kind> {
        let Some(entry) = find(entries, "format") else {
            let message = format!("`{}` has no `format`", shown(&of.key));
            let help = "Add `format = \"xml\"` or `format = \"json\"`.";
            self.defects
                .help(of.at, codes::MAP_MISSING_KEY, message, help);
            return None;
        };
        match self.text(entry)? {
            "xml" => Some(Kind::Xml),
            "json" => Some(Kind::Json),
            other => {
                let message = format!("`{}` is neither `xml` nor `json`", shown(other));
                self.add(entry.node.at, codes::MAP_FORM, message);
                None
            }
        }
    }

    fn namespaces(&mut self, entry: &Entry, kind: Kind) -> BTreeMap<String, String> {
        if kind == Kind::Json {
            self.add(entry.at, codes::MAP_FORM, "JSON has no namespaces");
        }
        let mut namespaces = BTreeMap::new();
        for prefix in self.table(entry).unwrap_or_default() {
            if !is_name(&prefix.key) || prefix.key.starts_with("xml") {
                let message = format!("`{}` cannot be a prefix", shown(&prefix.key));
                self.add(prefix.at, codes::MAP_FORM, message);
            } else if let Some(namespace) = self.namespace(prefix) {
                namespaces.insert(prefix.key.clone(), namespace);
            }
        }
        namespaces
    }

    fn namespace(&mut self, entry: &Entry) -> Option<String> {
        let namespace = self.text(entry)?;
        if namespace.is_empty() || !namespace.chars().all(is_xml) {
            let message = "a namespace is a text that XML can hold, and not empty";
            self.add(entry.node.at, codes::MAP_FORM, message);
            return None;
        }
        Some(namespace.to_owned())
    }

    fn params(&mut self, entry: &Entry) {
        for param in self.table(entry).unwrap_or_default() {
            let name = match Name::new(param.key.as_str()) {
                Ok(name) => name,
                Err(error) => {
                    self.add(param.at, codes::MAP_FORM, error.to_string());
                    continue;
                }
            };
            let mut read = Param {
                name,
                form: Form::Any,
                list: false,
                required: false,
                default: None,
            };
            match &param.node.value {
                Value::Text(_) => self.param_type(param, &mut read),
                _ => {
                    for entry in self.table(param).unwrap_or_default() {
                        match entry.key.as_str() {
                            "type" => self.param_type(entry, &mut read),
                            "required" => read.required = self.truth(entry) == Some(true),
                            "default" => read.default = self.constant(&entry.node, Form::Any),
                            _ => {}
                        }
                    }
                    let entries = self.table(param).unwrap_or_default();
                    self.known(entries, "a parameter", &["type", "required", "default"]);
                    self.fitting_default(param, &mut read);
                }
            }
            self.params.push(read);
        }
    }

    /// The default of a parameter has its type, which may stand behind it.
    fn fitting_default(&mut self, entry: &Entry, param: &mut Param) {
        let Some(default) = param.default.take() else {
            return;
        };
        if param.required {
            let message = "what has a `default` is never missing, so `required` says nothing";
            self.add(entry.at, codes::MAP_FORM, message);
        }
        match param.form.take(default) {
            Ok(default) => param.default = Some(default),
            Err(why) => self.add(entry.at, codes::MAP_FORM, why),
        }
    }

    fn param_type(&mut self, entry: &Entry, param: &mut Param) {
        let Some(text) = self.text(entry) else {
            return;
        };
        if text == "list" {
            param.list = true;
        } else if let Some(form) = self.form(entry, text, &["list"]) {
            param.form = form;
        }
    }

    fn tables(&mut self, entry: &Entry) {
        for table in self.table(entry).unwrap_or_default() {
            let Some(entries) = self.table(table) else {
                continue;
            };
            self.known(entries, "a table", &["values", "default"]);
            let mut values = BTreeMap::new();
            match find(entries, "values") {
                Some(entry) => {
                    for value in self.table(entry).unwrap_or_default() {
                        let constant = self.constant(&value.node, Form::Any);
                        values.extend(constant.map(|constant| (value.key.clone(), constant)));
                    }
                }
                None => {
                    let message = format!("the table `{}` has no `values`", shown(&table.key));
                    self.add(table.at, codes::MAP_MISSING_KEY, message);
                }
            }
            let default = find(entries, "default");
            let default = default.and_then(|entry| self.constant(&entry.node, Form::Any));
            self.tables.push(Table {
                name: table.key.clone(),
                values,
                default,
            });
        }
    }

    /// The form of the name `text`.
    fn form(&mut self, entry: &Entry, text: &str, more: &[&str]) -> Option<Form> {
        let named = Form::NAMED.iter().find(|(name, _)| *name == text);
        if named.is_none() {
            let message = format!("there is no type `{}`", shown(text));
            let known = Form::NAMED.iter().map(|(name, _)| *name);
            let known = known.chain(more.iter().copied());
            self.defects
                .unknown(entry.node.at, codes::MAP_FORM, message, text, known);
        }
        named.map(|(_, form)| *form)
    }

    /// A value that stands in the file.
    fn constant(&mut self, node: &Node, form: Form) -> Option<Scalar> {
        let scalar = match &node.value {
            Value::Text(text) => Scalar::Text(text.clone()),
            Value::Boolean(truth) => Scalar::Boolean(*truth),
            Value::Number(number) => match super::scalar::number(number) {
                Some(number) => Scalar::Number(number),
                None => {
                    self.add(
                        node.at,
                        codes::MAP_FORM,
                        "this number is none of a document",
                    );
                    return None;
                }
            },
            _ => {
                let message = format!(
                    "{} stands here, where a text, number, `true` or `false` belongs",
                    node.in_words()
                );
                self.add(node.at, codes::MAP_FORM, message);
                return None;
            }
        };
        match form.take(scalar) {
            Ok(scalar) => Some(scalar),
            Err(why) => {
                self.add(node.at, codes::MAP_FORM, why);
                None
            }
        }
    }

    fn table<'n>(&mut self, entry: &'n Entry) -> Option<&'n [Entry]> {
        if let Value::Table(entries) = &entry.node.value {
            return Some(entries);
        }
        self.expected(entry, "a table");
        None
    }

    fn text<'n>(&mut self, entry: &'n Entry) -> Option<&'n str> {
        if let Value::Text(text) = &entry.node.value {
            return Some(text);
        }
        self.expected(entry, "text");
        None
    }

    fn truth(&mut self, entry: &Entry) -> Option<bool> {
        if let Value::Boolean(truth) = &entry.node.value {
            return Some(*truth);
        }
        self.expected(entry, "`true` or `false`");
        None
    }

    fn expected(&mut self, entry: &Entry, wanted: &str) {
        let (key, found) = (shown(&entry.key), entry.node.in_words());
        let message = format!("`{key}` is {found}, where {wanted} belongs");
        self.add(entry.node.at, codes::MAP_FORM, message);
    }

    /// Refuses keys that are not `known` in `what`.
    fn known(&mut self, entries: &[Entry], what: &str, known: &[&str]) {
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                let message = format!("{what} has no key `{}`", shown(&entry.key));
                let (at, key) = (entry.at, entry.key.as_str());
                self.defects.unknown(
                    at,
                    codes::MAP_UNKNOWN_KEY,
                    message,
                    key,
                    known.iter().copied(),
                );
            }
        }
    }

    fn add(&mut self, place: Place, code: Code, message: impl Into<String>) {
        self.defects.add(place, code, message);
    }
}

fn find<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Entry> {
    entries.iter().find(|entry| entry.key == key)
}

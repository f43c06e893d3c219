//! A message that a receive port takes: out of the application's `samples` folder, or made from what
//! the port promotes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use quayside_engine::plan::ReceivePort;
use quayside_model::ValueType;
use serde_json::{Value, json};

use super::write;
use crate::config::{Loaded, Outline};

/// The file of a sample for `port`.
pub(super) fn find_or_make(loaded: &Loaded, port: &ReceivePort) -> Option<PathBuf> {
    let message = port.messages.first();
    if let Some(found) = loaded.folders.iter().find_map(|folder| find(folder, port)) {
        return Some(found);
    }
    let folder = loaded.node.data_dir.join("samples");
    let Some(message) = message else {
        let path = folder.join("any.txt");
        return write(&path, "Hello.\n").ok().map(|()| path);
    };
    let outline = loaded
        .outlines
        .iter()
        .find(|outline| outline.name == message.name)?;
    let (extension, text) = make(outline)?;
    let path = folder.join(format!("{}.{extension}", outline.name));
    write(&path, &text).ok().map(|()| path)
}

/// The sample whose name is that of a message of the port, of the folder of the port's application.
fn find(folder: &Path, port: &ReceivePort) -> Option<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join("samples"))
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let names: Vec<&str> = port
        .messages
        .iter()
        .filter_map(|message| message.name.rsplit('.').next())
        .collect();
    let fits = |path: &PathBuf| {
        path.file_stem()
            .and_then(|stem| stem.to_str())
            .is_some_and(|stem| names.contains(&stem))
    };
    files.into_iter().find(fits)
}

/// The end of the file name, and the text.
fn make(outline: &Outline) -> Option<(&'static str, String)> {
    if outline
        .rules
        .values()
        .any(|rule| rule.jsonpath.is_some() && rule.xpath.is_none())
    {
        return Some(("json", make_json(outline)?));
    }
    Some(("xml", make_xml(outline)?))
}

fn example(name: &str, kind: ValueType) -> String {
    match kind {
        ValueType::String => format!("{name}-1"),
        ValueType::Integer => "1".to_owned(),
        ValueType::Decimal => "12.50".to_owned(),
        ValueType::Boolean => "true".to_owned(),
        ValueType::DateTime => "2026-01-01T00:00:00Z".to_owned(),
    }
}

fn make_json(outline: &Outline) -> Option<String> {
    let mut document = json!({});
    for (name, rule) in &outline.rules {
        let Some(path) = rule
            .jsonpath
            .as_deref()
            .and_then(|path| path.strip_prefix("$."))
        else {
            continue;
        };
        // Anything but plain names needs a person.
        if !path
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.".contains(c))
        {
            continue;
        }
        let mut place = &mut document;
        for key in path.split('.') {
            place = place
                .as_object_mut()?
                .entry(key)
                .or_insert_with(|| json!({}));
        }
        let text = example(name, rule.value_type);
        *place = match rule.value_type {
            ValueType::String | ValueType::DateTime => json!(text),
            _ => serde_json::from_str(&text).unwrap_or(Value::Null),
        };
    }
    serde_json::to_string_pretty(&document).ok()
}

/// An element under its namespace and name.
#[derive(Debug, Default, PartialEq)]
struct Element {
    namespace: String,
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Element>,
    text: String,
}

fn make_xml(outline: &Outline) -> Option<String> {
    let (namespace, name) = match outline.message_type.as_deref() {
        Some(message_type) => message_type.rsplit_once('#').unwrap_or(("", message_type)),
        None => ("", "Message"),
    };
    let mut root = Element {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Element::default()
    };
    for (property, rule) in &outline.rules {
        let value = example(property, rule.value_type);
        let done = rule
            .xpath
            .as_deref()
            .and_then(|path| put(&mut root, outline, path, &value));
        // Without a required value the message would be refused: then there is no sample.
        if done.is_none() && rule.required {
            return None;
        }
    }
    let mut text = String::new();
    render(&root, "", 0, &mut text);
    Some(text)
}

/// Puts `value` where the path leads. `None`: the path is not one of plain steps.
fn put(root: &mut Element, outline: &Outline, path: &str, value: &str) -> Option<()> {
    let mut steps = path.strip_prefix('/')?.split('/');
    let first = qualified(outline, steps.next()?)?;
    if (first.0.as_str(), first.1.as_str()) != (root.namespace.as_str(), root.name.as_str()) {
        return None;
    }
    let mut place = root;
    for step in steps {
        if step == "text()" {
            break;
        }
        if let Some(attribute) = step.strip_prefix('@') {
            let plain = attribute
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
            return plain.then(|| {
                drop(
                    place
                        .attributes
                        .insert(attribute.to_owned(), value.to_owned()),
                )
            });
        }
        let (namespace, name) = qualified(outline, step)?;
        let known = place
            .children
            .iter()
            .position(|c| c.namespace == namespace && c.name == name);
        let at = known.unwrap_or(place.children.len());
        if known.is_none() {
            place.children.push(Element {
                namespace,
                name,
                ..Element::default()
            });
        }
        place = &mut place.children[at];
    }
    value.clone_into(&mut place.text);
    Some(())
}

/// The namespace and name of a step.
fn qualified(outline: &Outline, step: &str) -> Option<(String, String)> {
    let (prefix, name) = step.split_once(':').unwrap_or(("", step));
    let plain = |c: char| c.is_alphanumeric() || "-_".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    let namespace = match prefix {
        "" => String::new(),
        prefix => outline.namespaces.get(prefix)?.clone(),
    };
    Some((namespace, name.to_owned()))
}

fn render(element: &Element, around: &str, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    write!(out, "{indent}<{}", element.name).expect("writing to a string cannot fail");
    if element.namespace != around {
        write!(out, " xmlns=\"{}\"", escape(&element.namespace))
            .expect("writing to a string cannot fail");
    }
    for (name, value) in &element.attributes {
        write!(out, " {name}=\"{}\"", escape(value)).expect("writing to a string cannot fail");
    }
    if element.children.is_empty() {
        writeln!(out, ">{}</{}>", escape(&element.text), element.name)
            .expect("writing to a string cannot fail");
        return;
    }
    out.push_str(">\n");
    for child in &element.children {
        render(child, &element.namespace, depth + 1, out);
    }
    writeln!(out, "{indent}</{}>", element.name).expect("writing to a string cannot fail");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use quayside_model::Name;
    use quayside_pipeline::Rule;

    use super::*;

    fn outline(rules: &[(&str, Rule)]) -> Outline {
        Outline {
            name: Name::new("orders.order").expect("a name"),
            message_type: Some("urn:orders#Order".to_owned()),
            namespaces: [("o".to_owned(), "urn:orders".to_owned())].into(),
            rules: rules
                .iter()
                .map(|(name, rule)| ((*name).to_owned(), rule.clone()))
                .collect(),
        }
    }

    #[test]
    fn a_sample_has_every_promoted_value_in_its_place() {
        let decimal = Rule {
            value_type: ValueType::Decimal,
            ..Rule::xpath("/o:Order/o:Total")
        };
        let outline = outline(&[
            ("OrderId", Rule::xpath("/o:Order/o:Id")),
            ("CustomerId", Rule::xpath("/o:Order/o:Customer/@id")),
            ("Total", decimal),
        ]);
        let wanted = "<Order xmlns=\"urn:orders\">\n  <Customer id=\"CustomerId-1\"></Customer>\n  \
                      <Id>OrderId-1</Id>\n  <Total>12.50</Total>\n</Order>\n";
        assert_eq!(make(&outline), Some(("xml", wanted.to_owned())));
    }

    #[test]
    fn no_sample_is_better_than_one_that_is_refused() {
        let strange = Rule {
            required: true,
            ..Rule::xpath("/*[local-name()='Order']/Id")
        };
        assert_eq!(make(&outline(&[("Id", strange)])), None);
    }
}

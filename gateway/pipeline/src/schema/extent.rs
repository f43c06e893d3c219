//! How much a schema is once all that it refers to is written out.

use std::collections::BTreeMap;

use serde_json::Value;

/// Up to so many values a schema is written out.
const VALUES_MAX: usize = 2_000;

/// Where definitions stand: they count where something refers to them.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// What refers, or is referred to, in ways that are not followed here.
const OTHER_WAYS: [&str; 5] = [
    "$dynamicRef",
    "$recursiveRef",
    "$dynamicAnchor",
    "$recursiveAnchor",
    "$anchor",
];

/// Whether the schema in the file `path` is small when it is written out, and refers nowhere to itself. Then a document
/// meets each part of it once at each of its places, and all that does not fit can be listed. Of one that refers to itself
/// under alternatives the list doubles with each level of the document.
pub(super) fn is_small(path: &str, files: &BTreeMap<String, Value>) -> bool {
    let mut walk = Walk {
        files,
        left: VALUES_MAX,
        open: Vec::new(),
    };
    files
        .get(path)
        .is_some_and(|schema| walk.fits(path, schema, true))
}

struct Walk<'a> {
    files: &'a BTreeMap<String, Value>,
    left: usize,
    /// The references that are followed at the moment.
    open: Vec<(String, String)>,
}

impl<'a> Walk<'a> {
    fn fits(&mut self, file: &str, value: &'a Value, is_root: bool) -> bool {
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        match value {
            Value::Array(list) => list.iter().all(|item| self.fits(file, item, false)),
            Value::Object(members) => members.iter().all(|(name, value)| match name.as_str() {
                name if DEFINITIONS.contains(&name) => true,
                name if OTHER_WAYS.contains(&name) => false,
                // Another base for what is relative.
                "$id" | "id" => is_root || !value.is_string(),
                "$ref" => match value.as_str() {
                    Some(target) => self.follows(file, target),
                    // A member that is called so.
                    None => self.fits(file, value, false),
                },
                _ => self.fits(file, value, false),
            }),
            _ => true,
        }
    }

    fn follows(&mut self, file: &str, target: &str) -> bool {
        let (other, place) = target.split_once('#').unwrap_or((target, ""));
        let path = match other {
            "" => file.to_owned(),
            other => match (file.rsplit_once('/'), other.starts_with('.')) {
                (_, true) => return false,
                (Some((folder, _)), false) => format!("{folder}/{other}"),
                (None, false) => other.to_owned(),
            },
        };
        let here = (path, place.to_owned());
        if self.open.contains(&here) || place.contains('%') {
            return false;
        }
        let files = self.files;
        let found = files.get(&here.0).and_then(|schema| schema.pointer(place));
        let Some(found) = found else {
            return false;
        };
        let path = here.0.clone();
        self.open.push(here);
        let fits = self.fits(&path, found, place.is_empty());
        self.open.pop();
        fits
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn small(files: &[(&str, Value)]) -> bool {
        let files: BTreeMap<String, Value> = files
            .iter()
            .map(|(path, schema)| ((*path).to_owned(), schema.clone()))
            .collect();
        is_small("s/a.json", &files)
    }

    #[test]
    fn what_refers_to_itself_or_grows_without_end_is_not_small() {
        let id = json!({ "$defs": { "id": { "type": "string" } } });
        let a = json!({ "$id": "app", "properties": { "id": { "$ref": "b.json#/$defs/id" } } });
        assert!(small(&[("s/a.json", a), ("s/b.json", id)]));
        let twice = json!({ "$defs": { "id": {} },
            "properties": { "a": { "$ref": "#/$defs/id" }, "b": { "$ref": "#/$defs/id" } } });
        assert!(small(&[("s/a.json", twice)]), "the same one side by side");
        let tree = json!({ "$defs": { "n": { "anyOf": [{ "properties": { "n": { "$ref": "#/$defs/n" } } }] } },
            "$ref": "#/$defs/n" });
        assert!(!small(&[("s/a.json", tree)]));
        let whole = json!({ "properties": { "n": { "$ref": "#" } } });
        assert!(!small(&[("s/a.json", whole)]));
        let dynamic = json!({ "properties": { "n": { "$dynamicRef": "#n" } } });
        assert!(!small(&[("s/a.json", dynamic)]));
        // Each one is two of the next one.
        let mut defs = json!({ "d0": {} });
        for no in 1..20 {
            let next = json!({ "$ref": format!("#/$defs/d{}", no - 1) });
            defs[format!("d{no}")] = json!({ "allOf": [next, next] });
        }
        let doubling = json!({ "$defs": defs, "$ref": "#/$defs/d19" });
        assert!(!small(&[("s/a.json", doubling)]));
        assert!(
            !small(&[("s/a.json", json!({ "$ref": "c.json" }))]),
            "nobody knows it"
        );
    }
}

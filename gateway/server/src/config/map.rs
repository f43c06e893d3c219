//! `[map.NAME]`: a map, whose faults are told in its own file.

use std::sync::Arc;

use quayside_engine::plan::{MapPlan, MapWay};
use quayside_model::Name;
use quayside_pipeline::{
    Map,
    map::{Defect, Place},
};

use sha2::{Digest, Sha256};

use super::{
    app::Reading,
    codes,
    section::{Section, list},
    spans::Source,
};

mod programs;

/// Reads one map. `None` after a fault.
pub(crate) fn read(
    reading: &Reading<'_>,
    name: &str,
    section: Section<'_>,
) -> Option<Arc<MapPlan>> {
    let full = reading.full_name(&section, &[name]);
    let made = way(reading, &section);
    let reads = made.as_ref().map(|(way, _)| match way {
        MapWay::Declared(map) => map.sources().count(),
        MapWay::Outside(_) => 1,
    });
    let from = from(reading, &section, reads);
    let to = to(reading, &section);
    section.finish();
    let (way, version) = made?;
    Some(Arc::new(MapPlan {
        name: full?,
        way,
        version,
        from: from?,
        to: to?,
    }))
}

/// What makes its document, with the hash of its files: one of three languages.
fn way(reading: &Reading<'_>, section: &Section<'_>) -> Option<(MapWay, String)> {
    let given = ["file", "xslt", "jq"].map(|key| section.get(key).map(|_| key));
    let given: Vec<&str> = given.into_iter().flatten().collect();
    if section.get("params").is_some() && given != ["jq"] {
        let message = format!(
            "`{}` is for maps in jq: others declare what they take in their own files",
            section.name_of("params")
        );
        section.error(codes::WRONG_VALUE, "params", message);
    }
    match given.as_slice() {
        [] => {
            section.missing("file");
            None
        }
        ["file"] => {
            let path = section.text("file")?;
            let (map, version) = compile(reading, section, path)?;
            Some((MapWay::Declared(map), version))
        }
        ["xslt"] => {
            let program = programs::xslt(reading, section, section.text("xslt")?)?;
            let version = program.hash.clone();
            Some((MapWay::Outside(Arc::new(program)), version))
        }
        ["jq"] => {
            let program = programs::jq(reading, section, section.text("jq")?)?;
            let version = program.hash.clone();
            Some((MapWay::Outside(Arc::new(program)), version))
        }
        several => {
            let keys = list(several);
            let message = format!("{} is made in one language, and has {keys}", section.path);
            section.error(codes::WRONG_VALUE, several[0], message);
            None
        }
    }
}

fn compile(reading: &Reading<'_>, section: &Section<'_>, path: &str) -> Option<(Map, String)> {
    let text = match reading.files.map(path) {
        Ok(text) => text,
        Err(why) => {
            section.error(codes::UNREADABLE, "file", why);
            return None;
        }
    };
    match Map::compile(path, &text) {
        Ok(map) => Some((map, super::hex(&Sha256::digest(text.as_bytes())))),
        Err(defects) => {
            report(reading, section, (path, text), defects);
            None
        }
    }
}

/// Tells what is wrong in the file `path` with the text `text`.
fn report(
    reading: &Reading<'_>,
    section: &Section<'_>,
    (path, text): (&str, String),
    defects: Vec<Defect>,
) {
    let places: Vec<usize> = defects.iter().map(|d| offset(&text, d.place)).collect();
    let source = section.report.add_source(Source {
        path: reading.files.place(path),
        text,
    });
    for (Defect { fault, .. }, at) in defects.into_iter().zip(places) {
        let place = Some((source, at));
        let report = section.report;
        report.add(fault.code, fault.severity, place, fault.message, fault.help);
    }
}

/// The byte at a place of a text.
fn offset(text: &str, place: Place) -> usize {
    let lines = text.split_inclusive('\n').take(place.line - 1);
    let start: usize = lines.map(str::len).sum();
    let within = text[start..].char_indices().nth(place.column - 1);
    within.map_or(text.len(), |(at, _)| start + at)
}

/// The messages that it is made from, as many as it reads. `None` after a fault.
fn from(
    reading: &Reading<'_>,
    section: &Section<'_>,
    reads: Option<usize>,
) -> Option<Option<Vec<Name>>> {
    if section.get("from").is_none() {
        return Some(None);
    }
    let texts = section.texts("from");
    let given = texts.len();
    let names: Vec<Name> = texts
        .into_iter()
        .filter(|(name, node)| reading.check_message(section, name, node))
        .filter_map(|(name, _)| reading.full_name(section, &[name]))
        .collect();
    if let Some(read) = reads
        && read != given
    {
        let path = section.name_of("from");
        let message = format!("`{path}` names {given} messages, and the map reads {read}");
        section.error(codes::WRONG_VALUE, "from", message);
        return None;
    }
    (names.len() == given).then_some(Some(names))
}

/// The message that it makes. `None` after a fault.
fn to(reading: &Reading<'_>, section: &Section<'_>) -> Option<Option<Name>> {
    let Some(node) = section.get("to") else {
        return Some(None);
    };
    let name = section.text("to")?;
    let known = reading.check_message(section, name, node);
    let full = known.then(|| reading.full_name(section, &[name]))??;
    Some(Some(full))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::{
        config::{Defaults, Inputs, Loaded, Purpose, Report, load},
        wiring,
    };

    const APP: &str = r#"
[app]
name = "orders"
[message.order]
type = "urn:orders#Order"
[message.request]
[map.approve]
file = "maps/approve.toml"
from = ["order"]
to = "request"
[map.bare]
file = "maps/approve.toml"
[receive.web]
location.in.http = { path = "/in" }
[send.out]
filter = "true"
primary.file = { folder = "out", file_name = "{msg.id}" }
"#;

    const MAP: &str = r#"
source.order.format = "xml"
target.format = "json"
to = { "$.id" = "/Order/Id" }
"#;

    /// The configuration of [`APP`] with this map.
    fn loaded(map: &str) -> Loaded {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("maps")).expect("a folder");
        fs::write(dir.path().join("app.toml"), APP).expect("written");
        fs::write(dir.path().join("maps/approve.toml"), map).expect("written");
        let inputs = Inputs {
            dir: dir.path().to_owned(),
            group: None,
            node: None,
            hosts: Vec::new(),
            purpose: Purpose::CheckAnyNode,
            defaults: Defaults {
                credentials: None,
                ..Defaults::of_this_machine(dir.path().join("data"))
            },
        };
        let report = Report::default();
        let loaded = load(&inputs, &wiring::adapters_for_checking(), &report);
        loaded.unwrap_or_else(|| panic!("{report}"))
    }

    #[test]
    fn maps_are_in_the_plan_by_their_full_names() {
        let plan = loaded(MAP).plan;
        let names: Vec<&str> = plan.maps.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["orders.approve", "orders.bare"]);
        let map = &plan.maps["orders.approve"];
        let from = map.from.iter().flatten().map(|name| name.as_str());
        assert_eq!(from.collect::<Vec<_>>(), ["orders.order"]);
        assert_eq!(map.to.as_deref(), Some("orders.request"));
        let bare = &plan.maps["orders.bare"];
        assert_eq!((&bare.from, &bare.to), (&None, &None));
    }

    #[test]
    fn another_map_is_another_configuration() {
        let files = loaded(MAP).files;
        assert!(
            files.iter().any(|file| file.ends_with("maps/approve.toml")),
            "{files:?}"
        );
        let (plan, same) = (loaded(MAP).plan, loaded(MAP).plan);
        assert_eq!(plan.hash, same.hash);
        assert_ne!(plan.hash, loaded(&format!("{MAP}# changed")).plan.hash);
        assert!(
            plan.text.contains("# map maps/approve.toml "),
            "{}",
            plan.text
        );
    }
}

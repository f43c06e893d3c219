//! Maps that have processes of their own: all files that they consist of, as they were checked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quayside_engine::outside::{Language, Program};
use quayside_pipeline::map::{
    Place, jq,
    xslt::{self, Stylesheet},
};

use super::{
    super::{app::Reading, codes, section::Section, spans::Source},
    offset, report,
};

/// How many files a stylesheet consists of at most.
const FILES_MAX: usize = 64;
/// How many bytes they have together.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// A file that is still to be read: where it is named, if that is in another one.
struct Wanted {
    path: String,
    is_stylesheet: bool,
    by: Option<(String, Place)>,
}

/// The stylesheet at `path` with all that it includes and reads. `None` after a fault.
pub(super) fn xslt(reading: &Reading<'_>, section: &Section<'_>, path: &str) -> Option<Program> {
    let path = &plain(section, "xslt", path)?;
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut first: Option<Stylesheet> = None;
    let mut params: Vec<String> = Vec::new();
    let mut is_whole = true;
    let mut seen = BTreeSet::new();
    let mut left = VecDeque::from([Wanted {
        path: path.to_owned(),
        is_stylesheet: true,
        by: None,
    }]);
    while let Some(wanted) = left.pop_front() {
        // One that is read as a document may be a stylesheet as well.
        if !seen.insert((wanted.path.clone(), wanted.is_stylesheet)) {
            continue;
        }
        let bytes = match reading.files.of_map(&wanted.path) {
            Ok(bytes) => bytes,
            Err(why) => {
                unreadable(reading, section, &wanted, &files, why);
                is_whole = false;
                continue;
            }
        };
        let found = match wanted.is_stylesheet {
            true => xslt::check(&wanted.path, &bytes).map(Some),
            false => xslt::check_document(&bytes).map(|()| None),
        };
        match found {
            Err(defects) => {
                let text = xslt::text(&bytes).into_owned();
                report(reading, section, (&wanted.path, text), defects);
                is_whole = false;
            }
            Ok(None) => {}
            Ok(Some(sheet)) => {
                params.extend(sheet.params.iter().cloned());
                left.extend(sheet.refers.iter().map(|one| Wanted {
                    path: one.path.clone(),
                    is_stylesheet: one.is_stylesheet,
                    by: Some((wanted.path.clone(), one.place)),
                }));
                first.get_or_insert(sheet);
            }
        }
        files.insert(wanted.path, bytes);
        let bytes: usize = files.values().map(Vec::len).sum();
        if files.len() > FILES_MAX || bytes > BYTES_MAX {
            let message =
                format!("`{path}` consists of more than {FILES_MAX} files or {BYTES_MAX} bytes");
            section.error(codes::LIMIT, "xslt", message);
            return None;
        }
    }
    let content_type = first.filter(|_| is_whole)?.content_type;
    let main = path.to_owned();
    Some(Program::new(
        Language::Xslt,
        main,
        files,
        params,
        content_type,
    ))
}

/// The program of jq at `path`. `None` after a fault.
pub(super) fn jq(reading: &Reading<'_>, section: &Section<'_>, path: &str) -> Option<Program> {
    let params = params(section)?;
    let path = plain(section, "jq", path)?;
    let text = match reading.files.map(&path) {
        Ok(text) => text,
        Err(why) => {
            section.error(codes::UNREADABLE, "jq", why);
            return None;
        }
    };
    if let Err(defects) = jq::check(&text, &params) {
        report(reading, section, (&path, text), defects);
        return None;
    }
    let files = BTreeMap::from([(path.clone(), text.into_bytes())]);
    Some(Program::new(
        Language::Jq,
        path,
        files,
        params,
        "application/json".to_owned(),
    ))
}

/// The variables that a program of jq is given. `None` after a fault.
fn params(section: &Section<'_>) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    let mut is_whole = true;
    for (name, node) in section.texts("params") {
        let mut letters = name.bytes();
        let first = letters.next().is_some_and(|b| b.is_ascii_alphabetic());
        let plain = first && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let why = if !plain || name == "ENV" {
            "cannot be the name of a variable: letters, digits and `_`, a letter first"
        } else if names.iter().any(|known| known == name) {
            "is named twice"
        } else {
            names.push(name.to_owned());
            continue;
        };
        let message = format!("`{name}` {why}");
        let report = section.report;
        report.error(codes::WRONG_VALUE, section.source, node.key_at, message);
        is_whole = false;
    }
    is_whole.then_some(names)
}

/// The path under `key` as it is kept.
fn plain(section: &Section<'_>, key: &str, path: &str) -> Option<String> {
    let plain = xslt::within(path);
    plain
        .map_err(|why| section.error(codes::UNREADABLE, key, format!("`{path}` {why}")))
        .ok()
}

/// Tells that a file cannot be read, where it is named.
fn unreadable(
    reading: &Reading<'_>,
    section: &Section<'_>,
    wanted: &Wanted,
    files: &BTreeMap<String, Vec<u8>>,
    why: String,
) {
    let named = wanted.by.as_ref();
    let Some((by, place)) = named.and_then(|(by, place)| Some((by, (files.get(by)?, place))))
    else {
        section.error(codes::UNREADABLE, "xslt", why);
        return;
    };
    let text = xslt::text(place.0).into_owned();
    let at = offset(&text, *place.1);
    let source = section.report.add_source(Source {
        path: reading.files.place(by),
        text,
    });
    section.report.error(codes::UNREADABLE, source, at, why);
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
[map.a]
KEYS
[receive.web]
message = "order"
location.in.http = { path = "/in" }
[send.out]
filter = "true"
primary.file = { folder = "out", file_name = "{msg.id}" }
"#;

    fn sheet(inner: &str) -> String {
        format!(
            "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform' \
             xmlns:msxsl='urn:schemas-microsoft-com:xslt'>\n{inner}</xsl:stylesheet>"
        )
    }

    /// The configuration with these files in the folder of the application.
    fn read(keys: &str, files: &[(&str, &str)], node: &str) -> (Option<Loaded>, String) {
        let dir = tempfile::tempdir().expect("a folder");
        let app = dir.path().join("app");
        fs::create_dir_all(app.join("maps")).expect("a folder");
        fs::write(app.join("app.toml"), APP.replace("KEYS", keys)).expect("written");
        for (path, text) in files {
            fs::write(app.join(path), text).expect("written");
        }
        fs::write(dir.path().join("node.toml"), node).expect("written");
        let inputs = Inputs {
            dir: app,
            group: None,
            node: Some(dir.path().join("node.toml")),
            hosts: Vec::new(),
            purpose: Purpose::CheckAnyNode,
            defaults: Defaults {
                credentials: None,
                ..Defaults::of_this_machine(dir.path().join("data"))
            },
        };
        let report = Report::default();
        let loaded = load(&inputs, &wiring::adapters_for_checking(), &report);
        (loaded, report.to_string())
    }

    fn main(text: &str) -> Vec<(&'static str, &str)> {
        vec![("maps/a.xsl", text)]
    }

    const XSLT: &str = "xslt = \"maps/a.xsl\"";

    #[test]
    fn a_stylesheet_with_all_its_files_belongs_to_the_version() {
        let main = sheet(
            "<xsl:include href='b.xsl'/><xsl:variable name='c' select=\"document('../c.xml')\"/>",
        );
        let other = sheet("<xsl:include href='a.xsl'/><xsl:param name='region'/>");
        let with = |codes: &str| {
            let files = [
                ("maps/a.xsl", main.as_str()),
                ("maps/b.xsl", &other),
                ("c.xml", codes),
            ];
            let (loaded, told) = read(XSLT, &files, "");
            loaded.unwrap_or_else(|| panic!("{told}")).plan
        };
        let (one, same, changed) = (with("<c/>"), with("<c/>"), with("<d/>"));
        let version = |plan: &quayside_engine::plan::Plan| plan.maps["orders.a"].version.clone();
        assert_eq!((&one.hash, version(&one)), (&same.hash, version(&same)));
        assert_ne!(one.hash, changed.hash);
        assert_ne!(version(&one), version(&changed));
        let quayside_engine::plan::MapWay::Outside(program) = &one.maps["orders.a"].way else {
            panic!("it is declared");
        };
        let paths: Vec<&str> = program.files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["c.xml", "maps/a.xsl", "maps/b.xsl"]);
        assert_eq!(program.params, ["region"]);
    }

    #[test]
    fn faults_of_a_stylesheet_have_their_places() {
        let script = sheet(
            "<msxsl:script language='C#' implements-prefix='u'>public int F() {}</msxsl:script>",
        );
        let missing = sheet("\n  <xsl:include href='b.xsl'/>");
        let bad_part = sheet("<xsl:include href='b.xsl'/>");
        let fine = sheet("");
        let outside = sheet("<xsl:include href='../../b.xsl'/>");
        let cases = [
            (XSLT, main(&script), "maps/a.xsl:2:1", "QS0291"),
            (XSLT, main(&missing), "maps/a.xsl:3:3", "QS0624"),
            (XSLT, main(&outside), "maps/a.xsl:2:1", "QS0292"),
            (XSLT, main("<a>"), "maps/a.xsl:1:", "QS0290"),
            (
                XSLT,
                [main(&bad_part), vec![("maps/b.xsl", "\n<b/>")]].concat(),
                "maps/b.xsl:2:1",
                "QS0290",
            ),
            (XSLT, Vec::new(), "app.toml:7:", "QS0624"),
            (
                "xslt = \"../a.xsl\"",
                Vec::new(),
                "app.toml:7:",
                "not in the folder",
            ),
            (
                "xslt = \"maps/a.xsl\"\nfile = \"maps/a.toml\"",
                Vec::new(),
                "app.toml:",
                "one language",
            ),
            (
                "xslt = \"maps/a.xsl\"\nfrom = [\"order\", \"order\"]",
                main(&fine),
                "app.toml:",
                "the map reads 1",
            ),
            ("to = \"order\"", Vec::new(), "app.toml:", "file"),
        ];
        for (keys, files, place, word) in cases {
            let (loaded, told) = read(keys, &files, "");
            assert!(loaded.is_none(), "{keys} {files:?}: {told}");
            assert!(
                told.contains(place) && told.contains(word),
                "{place} {word}: {told}"
            );
        }
    }

    #[test]
    fn the_command_of_the_machine_is_read_and_looked_for() {
        let sheet = sheet("");
        let files = [("maps/a.xsl", sheet.as_str())];
        let node = "[maps]\nxslt = [\"no-such-saxon\", \"-xsl:{stylesheet}\", \"{params}\"]\nxslt_param = \"{name}={value}\"\n\
                    timeout = \"20s\"\nmemory = \"4 GiB\"\nspares = 0\n";
        let (loaded, told) = read(XSLT, &files, node);
        let maps = loaded.unwrap_or_else(|| panic!("{told}")).node.maps;
        assert!(
            told.contains("QS0660") && told.contains("no-such-saxon"),
            "{told}"
        );
        assert_eq!(
            maps.xslt.words,
            ["no-such-saxon", "-xsl:{file}", "{params}"]
        );
        assert_eq!(maps.xslt.param, ["{name}={value}"]);
        assert_eq!(
            (maps.timeout.as_secs(), maps.memory, maps.spares),
            (20, 4 << 30, 0)
        );
        for (node, word) in [
            ("[maps]\nxslt = \"saxon\"", "{stylesheet}"),
            ("[maps]\nxslt = []", "a command"),
            ("[maps]\nxslt_param = \"x\"", "{name}"),
            ("[maps]\ntimeout = \"0s\"", "10m"),
            ("[maps]\nmemory = \"1 MiB\"", "16 MiB"),
            ("[maps]\nmax_output = \"1 GiB\"", "64 MiB"),
            ("[maps]\nprocesses = 0", "processes"),
        ] {
            let (loaded, told) = read(XSLT, &files, node);
            assert!(loaded.is_none() && told.contains(word), "{node}: {told}");
        }
    }
}

//! docs/configuration.md is whole: it names every key that the code knows and none that it does not, and
//! its examples pass `check`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use quayside_adapter_api::{Adapter, Block, SendTerms, Terms, config::parse};
use quayside_adapter_http::TlsOptions;
use quayside_model::Fault;
use quayside_pipeline::Rule;
use serde_json::json;

use super::{Defaults, Inputs, Purpose, Report, properties, transport::expected_keys};
use crate::wiring::{
    self,
    declare::{BrokerSettings, Definition},
};

/// Every section that the code reads, each with a proper name where one is free.
const APP: &str = r#"
[app]
name = "a"
[message.NAME]
promote.NAME = { xpath = "/a" }
[map.NAME]
[orchestration.NAME]
[party.NAME]
clients = "c"
[receive.NAME]
pipeline = { kind = "xml" }
dedupe = { key = "msg.sha256" }
[receive.NAME.location.NAME]
window = { allow = ["daily 00:00-24:00"], timezone = "UTC" }
http = { path = "/a" }
[send.NAME]
pipeline = {}
retry = {}
ordered = { by = "NAME" }
window = { allow = ["daily 00:00-24:00"], timezone = "UTC" }
primary.http = { url = "http://h/" }
[worker.NAME]
http = { url = "http://h/" }
[group.NAME]
filter = "true"
members = ["NAME"]
"#;
const GROUP: &str = "[host.NAME]\nmembers = [\"n\"]\n[host.NAME.clustered]\n[quarantine]\n[vars]\n";
const NODE: &str = "[node]\n[store]\n[http]\n[http.host.NAME]\nlisten = \"127.0.0.1:1\"\n[admin]\n\
                    [secrets]\n[log]\n[session]\n[cluster]\n[retention]\n[maps]\n";

type Keys = BTreeMap<String, BTreeSet<String>>;

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    fs::read_to_string(path).expect("docs/configuration.md is there")
}

/// Reads a configuration of these files.
fn load(app: &str, group: &str, node: &str) -> Report {
    let dir = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    put("app.toml", app);
    let inputs = Inputs {
        dir: dir.path().to_owned(),
        group: Some(put("group.toml", group)),
        node: Some(put("node.toml", node)),
        hosts: Vec::new(),
        purpose: Purpose::CheckAnyNode,
        defaults: Defaults {
            credentials: None,
            ..Defaults::of_this_machine(dir.path().join("data"))
        },
    };
    let report = Report::default();
    super::load(&inputs, &wiring::adapters_for_checking(), &report);
    report
}

/// The keys that a block knows: it is asked by one that nobody knows.
fn asked(check: impl Fn(&Block) -> Vec<Fault>, path: &[&str]) -> BTreeSet<String> {
    let unknown = json!({ "zz": 1 });
    let block = path
        .iter()
        .rev()
        .fold(unknown, |inner, key| json!({ *key: inner }));
    let faults = check(&block);
    let keys: BTreeSet<String> = faults
        .iter()
        .flat_map(|fault| expected_keys(&fault.message))
        .map(str::to_owned)
        .collect();
    assert!(!keys.is_empty(), "{path:?}: {faults:?}");
    keys
}

/// What the code knows.
fn known() -> Keys {
    let mut known = load(APP, GROUP, NODE).known_keys();
    let adapters = wiring::adapters_for_checking();
    let receives: &[(&str, &[&str])] = &[
        ("http", &[]),
        ("http", &["gzip"]),
        ("file", &[]),
        ("amqp", &[]),
        ("amqp", &["takeover"]),
        ("amqp", &["msmq"]),
        ("sharepoint", &[]),
        ("sharepoint", &["auth", "basic"]),
        ("sharepoint", &["auth", "ntlm"]),
        ("sharepoint", &["auth", "entra"]),
    ];
    let sends: &[(&str, &[&str])] = &[
        ("http", &[]),
        ("http", &["auth", "basic"]),
        ("http", &["auth", "oauth2"]),
        ("http", &["client_certificate"]),
        ("file", &[]),
        ("amqp", &[]),
        ("amqp", &["takeover"]),
        ("amqp", &["properties"]),
        ("amqp", &["answer"]),
        ("amqp", &["msmq"]),
        ("sharepoint", &[]),
        ("sharepoint", &["auth", "basic"]),
        ("sharepoint", &["auth", "ntlm"]),
        ("sharepoint", &["auth", "entra"]),
    ];
    let mut add = |section: &str, adapter: &dyn Adapter, path: &[&str], receive: bool| {
        let keys = asked(
            |block| match receive {
                true => adapter.check_receive(block, &Terms::default()),
                false => adapter.check_send(block, &SendTerms::default()),
            },
            path,
        );
        let path: String = path.iter().map(|key| format!(".{key}")).collect();
        known.insert(format!("{section}.{}{path}", adapter.name()), keys);
    };
    for (adapter, path) in receives {
        add(
            "receive.NAME.location.NAME",
            &*adapters[adapter],
            path,
            true,
        );
    }
    for (adapter, path) in sends {
        add("send.NAME.primary", &*adapters[adapter], path, false);
    }
    let broker = asked(|block| BrokerSettings::read(block).1, &[]);
    known.insert("broker".to_owned(), broker);
    let queue = asked(|block| Definition::read("q", block).1, &[]);
    known.insert("queue.NAME".to_owned(), queue);
    let tls = asked(
        |block| parse::<TlsOptions>(block).err().unwrap_or_default(),
        &[],
    );
    known.insert("http.tls".to_owned(), tls);
    let rule = asked(|block| parse::<Rule>(block).err().unwrap_or_default(), &[]);
    known.insert("message.NAME.promote.NAME".to_owned(), rule);
    known
}

/// What the page names: the first column of the tables below each heading.
fn named(page: &str) -> Keys {
    let mut named = Keys::new();
    let mut section = None;
    for line in page.lines() {
        if line.starts_with('#') {
            section = line
                .strip_prefix("### `[")
                .and_then(|rest| rest.strip_suffix("]`"));
        }
        let (Some(section), Some(row)) = (section, line.strip_prefix("| `")) else {
            continue;
        };
        let first = row.split('|').next().unwrap_or_default();
        let keys = first
            .split('`')
            .step_by(2)
            .filter(|key| !key.trim().is_empty());
        named
            .entry(section.to_owned())
            .or_default()
            .extend(keys.map(str::to_owned));
    }
    named
}

#[test]
fn the_page_names_every_key_and_no_other() {
    let (mut known, named) = (known(), named(&page()));
    // The top of each file has sections only, which have headings of their own.
    for section in known.remove("").unwrap_or_default() {
        let heading = |name: &String| name.split('.').next() == Some(section.as_str());
        assert!(
            named.keys().any(heading) || page().contains(&format!("### `[{section}]`")),
            "`[{section}]` has no heading"
        );
    }
    // Its keys are those of another section.
    known.remove("send.NAME.backup");
    let sections = |keys: &Keys| keys.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sections(&known), sections(&named));
    for (section, keys) in &known {
        assert_eq!(&named[section], keys, "the keys of [{section}]");
    }
}

#[test]
fn the_page_names_every_property() {
    let page = page();
    for name in properties::names() {
        let shown = format!("`{}`", name.replace('*', "NAME"));
        assert!(page.contains(&shown), "{shown} is not in the page");
    }
}

#[test]
fn its_examples_pass() {
    let page = page();
    let examples: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    let of = |file: &str| {
        let mut found = examples
            .iter()
            .filter(|text| text.starts_with(&format!("# {file}\n")));
        let example = found
            .next()
            .unwrap_or_else(|| panic!("an example of {file}"));
        assert_eq!(found.count(), 0, "one example of {file}");
        *example
    };
    assert_eq!(examples.len(), 3, "no example is left out");
    let report = load(of("app.toml"), of("group.toml"), of("node.toml"));
    assert_eq!((report.errors(), report.warnings()), (0, 0), "{report}");
}

#[test]
fn the_application_of_who_comes_from_msmq_passes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/from-msmq.md");
    let page = fs::read_to_string(path).expect("docs/from-msmq.md is there");
    let (_, rest) = page.split_once("```toml\n").expect("an example");
    let (app, _) = rest.split_once("```\n").expect("its end");
    let report = load(app, "[host.main]\nmembers = [\"n\"]\n", "");
    assert_eq!((report.errors(), report.warnings()), (0, 0), "{report}");
}

#[test]
fn the_pages_for_newcomers_lead_to_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (page, link) in [
        ("README.md", "(docs/configuration.md)"),
        ("docs/ARCHITECTURE.md", "`docs/configuration.md`"),
    ] {
        let text = fs::read_to_string(root.join(page)).expect(page);
        assert!(text.contains(link), "{page} has {link}");
    }
}

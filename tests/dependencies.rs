//! What comes from outside: licences, banned crates, sources and duplicates, by the rules of `deny.toml`.
//!
//! cargo-deny reads the same file; this test needs neither that program nor a network, so that the
//! rules hold in every run of the tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Deny {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Rule>,
    skip: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    name: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    license: String,
    source: Option<String>,
}

#[test]
fn every_licence_is_allowed() {
    let allowed = rules().licenses.allow;
    let refused: Vec<_> = packages()
        .into_iter()
        .filter(|p| !may_be_used(&p.license, &allowed))
        .collect();
    assert!(
        refused.is_empty(),
        "licences that deny.toml does not allow: {refused:#?}"
    );
}

#[test]
fn no_banned_crate_is_linked() {
    let banned = rules().bans.deny;
    for package in packages() {
        if let Some(rule) = banned.iter().find(|b| b.name == package.name) {
            panic!(
                "{} {} is banned: {}",
                package.name, package.version, rule.reason
            );
        }
    }
}

#[test]
fn everything_comes_from_one_registry() {
    let packages = packages();
    let sources: BTreeSet<_> = packages
        .iter()
        .filter_map(|p| p.source.as_deref())
        .collect();
    assert_eq!(sources.len(), 1, "{sources:?}");
    for source in sources {
        assert!(source.starts_with("registry+"), "{source}");
    }
}

#[test]
fn two_versions_of_a_crate_need_a_reason() {
    let skipped: BTreeSet<_> = rules().bans.skip.into_iter().map(|r| r.name).collect();
    let packages = packages();
    let all: BTreeSet<_> = packages
        .iter()
        .map(|p| format!("{}@{}", p.name, p.version))
        .collect();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages
        .iter()
        .filter(|p| !skipped.contains(&format!("{}@{}", p.name, p.version)))
    {
        versions
            .entry(&package.name)
            .or_default()
            .push(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(
        versions.is_empty(),
        "duplicates without a reason in deny.toml: {versions:?}"
    );
    let stale: Vec<_> = skipped.difference(&all).collect();
    assert!(
        stale.is_empty(),
        "deny.toml excuses what is not there: {stale:?}"
    );
}

#[test]
fn licence_terms_are_read_as_spdx_says() {
    let allowed: BTreeSet<_> = ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"]
        .map(str::to_owned)
        .into();
    for (licence, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND Zlib", true),
        ("(MIT OR GPL-3.0) AND Zlib", true),
        ("(MIT OR Zlib) AND GPL-3.0", false),
        ("Zlib AND (GPL-3.0 OR MPL-2.0)", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("", false),
    ] {
        assert_eq!(may_be_used(licence, &allowed), expected, "{licence}");
    }
}

/// Whether the licence expression can be met with allowed licences only. AND binds closer than OR.
fn may_be_used(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let fine = any_of(&mut words, allowed);
    fine && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut fine = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        // Not `||`: the rest must be read even if it no longer matters.
        fine |= all_of(words, allowed);
    }
    fine
}

fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut fine = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        fine &= one(words, allowed);
    }
    fine
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let fine = any_of(words, allowed);
        return fine && words.next() == Some(")");
    }
    let mut name = words.next().unwrap_or_default().to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        name = format!("{name} WITH {}", words.next().unwrap_or_default());
    }
    allowed.contains(&name)
}

fn rules() -> Deny {
    let text = fs::read_to_string(root().join("deny.toml")).expect("reading deny.toml");
    toml::from_str(&text).expect("deny.toml is valid")
}

/// Everything that is linked on one of the targets of `deny.toml`, tests included.
fn packages() -> BTreeSet<Package> {
    rules()
        .graph
        .targets
        .iter()
        .flat_map(|target| packages_for(target))
        .collect()
}

fn packages_for(target: &str) -> Vec<Package> {
    let out = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            target,
        ])
        .current_dir(root())
        .output()
        .expect("starting cargo");
    assert!(
        out.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let metadata: Value = serde_json::from_slice(&out.stdout).expect("metadata is JSON");
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let package = |p: &Value| Package {
        name: text(&p["name"]),
        version: text(&p["version"]),
        license: text(&p["license"]),
        source: p["source"].as_str().map(str::to_owned),
    };
    packages.iter().map(package).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the root")
        .to_owned()
}

//! The walls of the house: which crate may depend on which, and what every crate and file begins with.
//!
//! A crate boundary is the only wall that the compiler keeps, so the directions are checked from what
//! cargo itself says about the workspace.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Which crates of the house a crate may use; a crate that is not here must be added with a reason.
const ALLOWED: &[(&str, &[&str])] = &[
    ("quayside-model", &[]),
    ("quayside-lease", &["quayside-model"]),
    ("quayside-pipeline", &["quayside-model"]),
    ("quayside-orchestration", &["quayside-model"]),
    // The contract names the terms of sessions, and re-exports model and lease for its implementations.
    ("quayside-store", &["quayside-model", "quayside-lease"]),
    ("quayside-store-sqlite", &["quayside-store"]),
    ("quayside-store-postgres", &["quayside-store"]),
    ("quayside-adapter-api", &["quayside-model"]),
    ("quayside-adapter-http", &["quayside-adapter-api"]),
    ("quayside-adapter-file", &["quayside-adapter-api"]),
    ("quayside-adapter-amqp", &["quayside-adapter-api"]),
    ("quayside-adapter-sharepoint", &["quayside-adapter-api"]),
    (
        "quayside-engine",
        &[
            "quayside-model",
            "quayside-lease",
            "quayside-store",
            "quayside-pipeline",
            "quayside-orchestration",
            "quayside-adapter-api",
        ],
    ),
    // The one place where all meet.
    (
        "quayside-server",
        &[
            "quayside-model",
            "quayside-lease",
            "quayside-store",
            "quayside-store-sqlite",
            "quayside-store-postgres",
            "quayside-pipeline",
            "quayside-orchestration",
            "quayside-engine",
            "quayside-adapter-api",
            "quayside-adapter-http",
            "quayside-adapter-file",
            "quayside-adapter-amqp",
            "quayside-adapter-sharepoint",
        ],
    ),
    // It supervises processes of the server, and knows nothing of what runs in them.
    (
        "quayside-cluster-agent",
        &[
            "quayside-model",
            "quayside-lease",
            "quayside-store",
            "quayside-store-postgres",
        ],
    ),
    // Fixture programs know the wire and nothing of the house but its clock.
    ("mock-partner", &["quayside-model"]),
    ("mock-sharepoint", &["quayside-model"]),
    (
        "quayside-conformance",
        &["quayside-store", "quayside-adapter-api"],
    ),
    // Scenarios and measurements drive the built programs from outside.
    ("quayside-harness", &[]),
    ("quayside-tests", &["quayside-harness"]),
    ("quayside-bench", &["quayside-harness"]),
];

/// What a test of any crate may use beside it.
const FOR_TESTS: &[&str] = &["quayside-conformance", "quayside-harness"];

/// Crates without clock, network, disk or runtime, so that their tests need none.
const PURE: &[&str] = &[
    "quayside-model",
    "quayside-lease",
    "quayside-pipeline",
    "quayside-orchestration",
];

/// What a pure crate must never reach.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "reqwest",
    "rusqlite",
    "tokio-postgres",
    "axum",
    "mio",
];

#[test]
fn crates_depend_only_in_the_allowed_directions() {
    let packages = packages();
    let mut faults = Vec::new();
    for (name, package) in &packages {
        let Some((_, allowed)) = ALLOWED.iter().find(|(n, _)| n == name) else {
            faults.push(format!("{name} is not in the list of layers"));
            continue;
        };
        for (dependency, kind) in internal(package, &packages) {
            let test = kind.as_deref() == Some("dev");
            // An engine's test may open a real store; the engine itself cannot name one.
            let for_tests = FOR_TESTS.contains(&dependency.as_str()) || name == "quayside-engine";
            let fine = allowed.contains(&dependency.as_str()) || (test && for_tests);
            if !fine {
                faults.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn pure_crates_reach_no_runtime_network_or_disk() {
    for name in PURE {
        let tree = cargo(&[
            "tree", "-p", name, "-e", "normal", "--prefix", "none", "-f", "{lib}",
        ]);
        let reached: BTreeSet<_> = tree.lines().map(|l| l.replace('_', "-")).collect();
        assert!(reached.len() > 1, "the tree of {name} is empty: {tree}");
        for impure in IMPURE {
            assert!(!reached.contains(*impure), "{name} reaches {impure}");
        }
    }
}

#[test]
fn every_crate_takes_lints_and_edition_from_the_workspace() {
    for (name, package) in packages() {
        let manifest = package["manifest_path"].as_str().expect("a path");
        let text = fs::read_to_string(manifest).expect("reading a manifest");
        let manifest: toml::Table = text.parse().expect("a manifest is TOML");
        let inherits = |section: &toml::Value| section["workspace"].as_bool() == Some(true);
        assert!(
            manifest.get("lints").is_some_and(inherits),
            "{name}: lints.workspace = true"
        );
        for key in ["edition", "rust-version", "license", "publish", "version"] {
            let value = manifest["package"].get(key);
            assert!(
                value.is_some_and(inherits),
                "{name}: {key}.workspace = true"
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let files = sources();
    assert!(files.len() > 50, "only {} files were found", files.len());
    for file in files {
        let text = fs::read_to_string(&file).expect("reading a source file");
        assert!(
            text.starts_with("//! "),
            "{} does not begin with `//! `",
            file.display()
        );
    }
}

#[test]
fn lints_are_excused_with_a_reason() {
    for file in sources() {
        let text = fs::read_to_string(&file).expect("reading a source file");
        // Written in two halves, so that this file passes its own rule.
        let forbidden = ["#[al", "low("].concat();
        assert!(
            !text.contains(&forbidden),
            "{}: use #[expect] with a reason",
            file.display()
        );
    }
}

fn internal(package: &Value, house: &BTreeMap<String, Value>) -> Vec<(String, Option<String>)> {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let dependencies = package["dependencies"]
        .as_array()
        .expect("a list of dependencies");
    let all = dependencies
        .iter()
        .filter_map(|d| Some((text(&d["name"])?, text(&d["kind"]))));
    all.filter(|(name, _)| house.contains_key(name)).collect()
}

fn packages() -> BTreeMap<String, Value> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages
        .iter()
        .map(|p| (p["name"].as_str().expect("a name").to_owned(), p.clone()))
        .collect()
}

fn cargo(arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--offline")
        .current_dir(root())
        .output()
        .expect("starting cargo");
    assert!(
        out.status.success(),
        "cargo {arguments:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).expect("cargo prints UTF-8")
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["gateway", "adapters", "fixtures", "tests"] {
        collect(&root().join(folder), &mut files);
    }
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("reading a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the root")
        .to_owned()
}

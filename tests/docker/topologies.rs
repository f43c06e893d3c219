//! The topologies as they lie there: every file is one that its program takes, and all run the same application.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use quayside_harness::program;
use quayside_tests::docker::{
    TOPOLOGIES, repository,
    topology::{compose_files, members},
};

/// The application of all of them.
const APPLICATION: &str = "fixtures/apps/relay";

fn folder(topology: &str) -> PathBuf {
    repository("fixtures/topologies").join(topology)
}

fn run(command: &mut Command) -> String {
    let out = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(out.status.success(), "{command:?}: {}", text.concat());
    text[0].clone()
}

/// The file of a node with a folder of secrets that is there.
fn with_secrets(file: &Path, dir: &Path) -> PathBuf {
    let secrets = dir.join("secrets");
    fs::create_dir_all(&secrets).expect("a folder of secrets");
    for name in ["mq", "farm"] {
        fs::write(secrets.join(name), "secret").expect("a secret");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(secrets.join(name), private).expect("a private file");
    }
    let text = fs::read_to_string(file).expect("the file of a node");
    let there = text.replace("/etc/quayside/secrets", &secrets.display().to_string());
    assert_ne!(text, there, "{} names the folder", file.display());
    let copy = dir.join("node.toml");
    fs::write(&copy, there).expect("written");
    copy
}

#[test]
fn every_node_of_every_topology_passes_the_checks_of_gateway_and_agent() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (topology, nodes) in TOPOLOGIES {
        let group = folder(topology).join("group.toml");
        for node in nodes {
            let file = folder(topology).join(format!("{node}.toml"));
            let file = with_secrets(&file, dir.path());
            for verb in [&["check", "--strict"][..], &["hosts"]] {
                let mut quayside = Command::new(program("quayside"));
                quayside.args(verb).arg(repository(APPLICATION));
                quayside.arg("--group").arg(&group).arg("--node").arg(&file);
                run(&mut quayside);
            }
        }
    }
}

#[test]
fn every_host_has_two_members_and_every_node_its_files() {
    for (topology, nodes) in TOPOLOGIES {
        let nodes: BTreeSet<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
        let members = members(topology);
        for (host, members) in &members {
            assert_eq!(members.len(), 2, "{topology}: {host}");
        }
        let with_a_host: BTreeSet<_> = members.into_values().flatten().collect();
        assert_eq!(with_a_host, nodes, "{topology}: the nodes of the group");
        let entries = fs::read_dir(folder(topology)).expect("the folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let files: BTreeSet<_> = names
            .filter_map(|name| {
                let name = name.into_string().ok()?;
                let node = name.strip_suffix(".toml")?.to_owned();
                node.starts_with("node-").then_some(node)
            })
            .collect();
        assert_eq!(files, nodes, "{topology}: the files of nodes");
    }
}

#[test]
fn every_compose_file_is_one_and_mounts_the_same_application() {
    let application = repository(APPLICATION).canonicalize().expect("a folder");
    let mount = format!("{}:/etc/quayside/apps/relay:ro", application.display());
    for (topology, nodes) in TOPOLOGIES {
        let mut compose = Command::new("docker-compose");
        compose.args(compose_files(topology)).arg("config");
        compose.env("TOPOLOGY", topology);
        let config = run(&mut compose);
        let services: BTreeSet<_> = config
            .lines()
            .filter_map(|line| line.strip_prefix("  node-")?.strip_suffix(':'))
            .map(|name| format!("node-{name}"))
            .collect();
        let expected = nodes.iter().map(|node| (*node).to_owned()).collect();
        assert_eq!(services, expected, "{topology}: {config}");
        // The nodes, and what declares the queues.
        let mounts = config.matches(&mount).count();
        assert_eq!(mounts, nodes.len() + 1, "{topology}: {config}");
    }
}

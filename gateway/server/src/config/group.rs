//! `group.toml`: the hosts of an environment, and its variables.

use std::collections::{BTreeMap, BTreeSet};

use quayside_lease::{Policy, Quarantine};

use super::{
    cluster, codes,
    report::{Report, SourceId},
    section::{Section, is_name, list},
    spans::Node,
    vars::Vars,
};

/// What a host can do.
pub(crate) const ROLES: [&str; 4] = ["receive", "process", "send", "track"];

/// The hosts of an environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    /// By name.
    pub(crate) hosts: BTreeMap<String, Host>,
}

/// A host of a group.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// The nodes that run it.
    pub(crate) members: Vec<String>,
    /// What it does.
    pub(crate) roles: Vec<String>,
    /// By what it runs in one process at a time; `None`: each of its members runs it.
    pub(crate) clustered: Option<Policy>,
}

impl Host {
    /// Whether the host does `role`.
    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|has| has == role)
    }
}

impl Group {
    /// Whether the host `name` runs in one process at a time.
    pub(crate) fn is_clustered(&self, name: &str) -> bool {
        self.policy(name).is_some()
    }

    /// The policies of the host `name`, if it is clustered.
    pub(crate) fn policy(&self, name: &str) -> Option<&Policy> {
        self.hosts.get(name)?.clustered.as_ref()
    }

    /// The hosts that run on `node`.
    pub(crate) fn hosts_of(&self, node: &str) -> Vec<&str> {
        let runs = |host: &Host| host.members.iter().any(|member| member == node);
        self.hosts
            .iter()
            .filter(|(_, host)| runs(host))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

/// Reads a group's file.
pub(crate) fn read(report: &Report, source: SourceId, root: &Node) -> (Group, Vars) {
    let file = Section::new(report, source, String::new(), root);
    let quarantine = cluster::quarantine(&file);
    let hosts = file.named("host").into_iter();
    let hosts: BTreeMap<String, Host> = hosts
        .map(|(name, section)| (name.to_owned(), read_host(section, quarantine)))
        .collect();
    if hosts.is_empty() {
        file.error(
            codes::MISSING_KEY,
            "host",
            "the group has no host: add [host.NAME]",
        );
    } else if !hosts.values().any(|host| host.has_role("track")) {
        let message = "no host has the role `track`: nothing removes what is past its retention";
        file.warning(codes::ROLE, "host", message);
    }
    cluster::check(&file, &hosts);
    let vars = file
        .get("vars")
        .and_then(Node::table)
        .cloned()
        .unwrap_or_default();
    if let Some(node) = file.get("vars") {
        // Reading it as a section reports a value that is no table.
        drop(Section::new(report, source, "vars".to_owned(), node));
    }
    file.finish();
    (Group { hosts }, Vars::new(source, vars))
}

fn read_host(section: Section<'_>, quarantine: Quarantine) -> Host {
    let members = names(&section, "members");
    if members.is_empty() {
        section.missing("members");
    }
    let roles = section.texts("roles");
    for (role, node) in &roles {
        if !ROLES.contains(role) {
            let message = format!("`{role}` is not a role: a host can {}", list(&ROLES));
            section
                .report
                .error(codes::WRONG_VALUE, section.source, node.key_at, message);
        }
    }
    let mut roles: Vec<String> = roles.into_iter().map(|(role, _)| role.to_owned()).collect();
    if section.get("roles").is_none() {
        roles = ROLES.map(str::to_owned).to_vec();
    }
    let clustered = cluster::read(&section, &members, quarantine);
    section.finish();
    Host {
        members,
        roles,
        clustered,
    }
}

fn names(section: &Section<'_>, key: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for (name, node) in section.texts(key) {
        if !is_name(name) {
            let message = format!("`{name}` is not a name");
            section
                .report
                .error(codes::BAD_NAME, section.source, node.key_at, message);
        }
        cluster::once(section, key, (name, node), &mut seen);
        names.push(name.to_owned());
    }
    names
}

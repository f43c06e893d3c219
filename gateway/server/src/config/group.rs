//! `group.toml`: the hosts of an environment, and its variables.

use std::collections::BTreeMap;

use super::{
    codes,
    report::{Report, SourceId},
    section::{Section, is_name, list},
    spans::Node,
    vars::Vars,
};

/// What a host can do.
const ROLES: [&str; 4] = ["receive", "process", "send", "track"];

/// The hosts of an environment.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// By name.
    pub(crate) hosts: BTreeMap<String, Host>,
}

/// A host of a group.
#[derive(Debug)]
pub(crate) struct Host {
    /// The nodes that run it.
    pub(crate) members: Vec<String>,
    /// What it does.
    pub(crate) roles: Vec<String>,
    /// Whether it runs in one process at a time.
    pub(crate) clustered: bool,
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
        self.hosts.get(name).is_some_and(|host| host.clustered)
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
    let hosts = file.named("host").into_iter();
    let hosts: BTreeMap<String, Host> = hosts
        .map(|(name, section)| (name.to_owned(), read_host(section)))
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

fn read_host(section: Section<'_>) -> Host {
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
    let policies = section.get("clustered").and_then(Node::table).is_some();
    let clustered = if policies {
        let message = format!(
            "{} has policies of a cluster, which this version does not know",
            section.path
        );
        section.error(codes::CLUSTERED, "clustered", message);
        true
    } else {
        section.boolean("clustered").unwrap_or(false)
    };
    section.finish();
    Host {
        members,
        roles,
        clustered,
    }
}

fn names(section: &Section<'_>, key: &str) -> Vec<String> {
    let proper = |(name, node): (&str, &Node)| {
        if !is_name(name) {
            let message = format!("`{name}` is not a name");
            section
                .report
                .error(codes::BAD_NAME, section.source, node.key_at, message);
        }
        name.to_owned()
    };
    section.texts(key).into_iter().map(proper).collect()
}

//! What keeps an agent from running a node: it runs each host in a process of its own, beside those of other nodes.

use quayside_model::{Name, Severity};

use super::{
    NodeConfig, Purpose,
    app::App,
    codes,
    group::Group,
    report::{Report, SourceId},
    spans::Node,
};

/// The adapter whose locations share the listener of their process.
const HTTP: &str = "http";

/// A configuration, as an agent would see it.
pub(super) struct Judge<'a> {
    pub(super) report: &'a Report,
    pub(super) purpose: Purpose,
    pub(super) node: &'a NodeConfig,
    /// The node's file, if there is one.
    pub(super) node_place: Option<(SourceId, &'a Node)>,
    pub(super) group: Option<(&'a Group, &'a (SourceId, Node))>,
    pub(super) apps: &'a [App],
}

impl Judge<'_> {
    /// Checks what the node of `hosts` has, if it is about one node and may be for an agent.
    pub(super) fn check(&self, hosts: &[Name]) {
        match self.purpose {
            // Only one process without an agent can have all hosts at one address.
            Purpose::CheckNode => self.listeners(hosts, Severity::Warning),
            Purpose::Agent => self.listeners(hosts, Severity::Error),
            Purpose::CheckAnyNode | Purpose::Run => return,
        }
        self.store(hosts);
    }

    /// Tells two hosts that would listen at one address.
    fn listeners(&self, hosts: &[Name], severity: Severity) {
        let node = self.node;
        let shares = |host: &&Name| {
            self.takes_requests(host) && !node.http_of_hosts.contains_key(host.as_str())
        };
        let mut sharing = hosts.iter().filter(shares);
        let (Some(first), Some(second)) = (sharing.next(), sharing.next()) else {
            return;
        };
        let message = format!(
            "the hosts `{first}` and `{second}` both have HTTP locations, and both would listen on {} (`http.listen`)",
            node.http.address
        );
        let help = format!(
            "An agent runs each host in a process of its own, and does not start like this: give one its own address \
             in `[http.host.{second}]`."
        );
        let path = ["http", "listen"].map(str::to_owned);
        let place = self
            .node_place
            .map(|(source, root)| (source, root.nearest(&path).key_at));
        self.report
            .add(codes::CLASH, severity, place, message, Some(help));
    }

    /// Tells a clustered host whose other members cannot see what this one does.
    fn store(&self, hosts: &[Name]) {
        let Some((group, (source, root))) = self.group else {
            return;
        };
        if self.node.store.url.is_some() {
            return;
        }
        let shared = |name: &&Name| {
            let host = group.hosts.get(name.as_str());
            host.is_some_and(|host| host.clustered.is_some() && host.members.len() > 1)
        };
        for name in hosts.iter().filter(shared) {
            let path = ["host", name.as_str(), "clustered"].map(str::to_owned);
            let message = format!(
                "`host.{name}` is clustered and has several members, but the node `{}` has the embedded store",
                self.node.name
            );
            let at = root.nearest(&path).key_at;
            self.report.error(codes::APART, *source, at, message);
        }
    }

    /// Whether the host has HTTP locations.
    fn takes_requests(&self, host: &Name) -> bool {
        let ports = self.apps.iter().flat_map(|app| &app.receive);
        let mut ports = ports
            .map(|port| &port.value)
            .filter(|port| port.host == *host);
        ports.any(|port| {
            port.locations
                .iter()
                .any(|location| location.adapter == HTTP)
        })
    }
}

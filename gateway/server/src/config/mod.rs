//! The configuration: files in, a [`Plan`] or all faults out.
//!
//! `app.toml` says what an application does and is the same everywhere; `group.toml` says which hosts an
//! environment has, and its variables; `node.toml` says what differs per machine. Nothing here touches
//! the network; of the disk only the named files, certificates and secrets are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use quayside_engine::{Roles, plan::Plan};
use quayside_model::Name;
use sha2::{Digest, Sha256};

mod agent;
pub(crate) mod app;
pub(crate) mod cluster;
pub(crate) mod codes;
mod files;
pub(crate) mod group;
mod literal;
pub(crate) mod log;
mod machine;
mod map;
mod message;
pub(crate) mod node;
pub(crate) mod orchestration;
mod outside;
mod party;
mod pipeline;
mod port_maps;
mod properties;
pub(crate) mod queues;
mod reach;
mod receive;
#[cfg(test)]
mod reference;
pub(crate) mod report;
mod rounds;
mod routing;
mod rules;
pub(crate) mod section;
mod send;
pub(crate) mod spans;
pub(crate) mod transport;
mod vars;
mod window;
mod worker;

use app::App;
use files::Files;
use group::Group;
pub(crate) use message::Outline;
pub(crate) use node::{Defaults, NodeConfig};
pub(crate) use properties::reserved_group;
pub(crate) use report::Report;
use report::SourceId;
pub(crate) use section::{is_name, nearest, suggestion};
use spans::{Node, Source};
use transport::Adapters;
use vars::Vars;

/// What to read.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    /// The folder of an application, or of several.
    pub(crate) dir: PathBuf,
    /// The group's file.
    pub(crate) group: Option<PathBuf>,
    /// The node's file.
    pub(crate) node: Option<PathBuf>,
    /// Only these hosts; empty: all that the node is a member of.
    pub(crate) hosts: Vec<String>,
    /// What it is read for.
    pub(crate) purpose: Purpose,
    /// What holds where the node's file says nothing.
    pub(crate) defaults: Defaults,
}

/// What a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To check it for all nodes of the group.
    CheckAnyNode,
    /// To check it for one node, on its machine.
    CheckNode,
    /// To run it.
    Run,
    /// To run it under an agent, each host in a process of its own.
    Agent,
}

/// A configuration without errors.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// What the engine runs.
    pub(crate) plan: Plan,
    /// The node.
    pub(crate) node: NodeConfig,
    /// The listener of the HTTP locations of this process.
    pub(crate) http: node::Listen,
    /// The hosts of this process.
    pub(crate) hosts: Vec<Name>,
    /// The clustered ones among them.
    pub(crate) clustered: Vec<Name>,
    /// The group, if there is one.
    pub(crate) group: Option<Group>,
    /// What they do.
    pub(crate) roles: Roles,
    /// The folders of the applications.
    pub(crate) folders: Vec<PathBuf>,
    /// The files that were read.
    pub(crate) files: Vec<PathBuf>,
    /// The messages as they were written.
    pub(crate) outlines: Vec<Outline>,
    /// The queues as they are to be declared, where that is said.
    pub(crate) queues: crate::wiring::declare::Definitions,
}

impl Loaded {
    /// What the host `name` does.
    pub(crate) fn roles_of(&self, name: &Name) -> Vec<&str> {
        let group = self.group.as_ref();
        match group.and_then(|group| group.hosts.get(name.as_str())) {
            Some(host) => host.roles.iter().map(String::as_str).collect(),
            None => group::ROLES.to_vec(),
        }
    }

    /// The hosts that the node is to run, whichever of them this process runs, and whether each is clustered.
    pub(crate) fn hosts_of_node(&self) -> BTreeMap<Name, bool> {
        let Some(group) = &self.group else {
            let receive = self.plan.receive.iter().map(|port| &port.host);
            let all = receive.chain(self.plan.send.iter().map(|port| &port.host));
            let all = all.chain(self.plan.orchestrations.iter().map(|one| &one.host));
            return all.map(|host| (host.clone(), false)).collect();
        };
        let hosts = group.hosts_of(&self.node.name).into_iter();
        let named = |host| Some((Name::new(host).ok()?, group.is_clustered(host)));
        hosts.filter_map(named).collect()
    }

    /// The settings of `other` that a running process cannot take up.
    pub(crate) fn fixed_settings_that_differ(&self, other: &Self) -> Vec<&'static str> {
        let (ours, theirs) = (&self.node, &other.node);
        let differ = [
            ("node.name", ours.name != theirs.name),
            ("node.data_dir", ours.data_dir != theirs.data_dir),
            ("store", ours.store != theirs.store),
            ("http", self.http.address != other.http.address),
            (
                "admin",
                ours.admin.listen.address != theirs.admin.listen.address,
            ),
            ("secrets.folder", ours.secrets != theirs.secrets),
            ("log", ours.log != theirs.log),
            ("session.profile", ours.timings != theirs.timings),
            ("retention", ours.retention != theirs.retention),
            ("maps", ours.maps != theirs.maps),
            ("host", self.hosts != other.hosts),
            ("host.NAME.clustered", self.clustered != other.clustered),
        ];
        differ
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name)
            .collect()
    }
}

/// The files of a configuration, read into one report.
struct Loader<'a> {
    report: &'a Report,
    files: Vec<PathBuf>,
    text: String,
}

/// Reads everything. `None` if the report has an error.
pub(crate) fn load(inputs: &Inputs, adapters: &Adapters, report: &Report) -> Option<Loaded> {
    let mut loader = Loader {
        report,
        files: Vec::new(),
        text: String::new(),
    };
    let (node, node_place) = loader.node(inputs.node.as_deref(), &inputs.defaults);
    let (group, group_place, mut vars) = loader.group(inputs.group.as_deref());
    let folders = application_folders(&inputs.dir, report);
    let (mut apps, mut definitions) = (Vec::<App>::new(), Vec::new());
    for folder in &folders {
        let app = loader.app(folder, adapters, &node.data_dir, group.as_ref(), &mut vars);
        let beside = loader.queues_beside(folder, &mut vars);
        if let (Some(app), Some(beside)) = (&app, &beside)
            && app.is_whole
            && app.sends_whole
        {
            let (receive, send) = (app.receive.iter(), app.send.iter());
            let uses = queues::uses(
                receive.map(|port| &port.value),
                send.map(|port| &port.value),
            );
            queues::check(report, beside, &uses);
        }
        apps.extend(app);
        definitions.extend(beside);
    }
    vars.report_unused(report);
    routing::check(report, &apps, adapters);
    rules::check(report, &apps, group.is_none());
    if let Some(group) = &group {
        cluster::check_ports(report, group, &apps);
    }
    let (source, root) = &node_place;
    machine::check(
        report,
        inputs.purpose,
        &node.secrets,
        (*source, root),
        &apps,
    );
    outside::check_machine(report, &node.maps, &apps);
    let hosts = hosts(inputs, &node, group.as_ref(), &apps, report);
    let http = http_listener(inputs, &node, report);
    let judge = agent::Judge {
        report,
        purpose: inputs.purpose,
        node: &node,
        node_place: inputs.node.is_some().then_some((*source, root)),
        group: group.as_ref().zip(group_place.as_ref()),
        apps: &apps,
    };
    judge.check(&hosts);
    if report.errors() > 0 {
        return None;
    }
    let roles = roles(group.as_ref(), &hosts);
    let is_clustered = |host: &&Name| group.as_ref().is_some_and(|g| g.is_clustered(host));
    let clustered = hosts.iter().filter(is_clustered).cloned().collect();
    let outlines = apps.iter().flat_map(|app| app.outlines.clone()).collect();
    let plan = plan(apps, loader.text);
    Some(Loaded {
        outlines,
        queues: queues::together(definitions),
        plan,
        node,
        http,
        hosts,
        clustered,
        group,
        roles,
        folders,
        files: loader.files,
    })
}

/// Reads the file of a node alone. `None` if the report has an error.
pub(crate) fn load_node(
    path: Option<&Path>,
    defaults: &Defaults,
    report: &Report,
) -> Option<NodeConfig> {
    let mut loader = Loader {
        report,
        files: Vec::new(),
        text: String::new(),
    };
    let (node, _) = loader.node(path, defaults);
    (report.errors() == 0).then_some(node)
}

impl Loader<'_> {
    /// Reads one file as a tree. One that is unreadable or no TOML gives its faults and an empty tree:
    /// what can be guessed of it would only make more noise.
    fn file(&mut self, path: &Path) -> (SourceId, Node, bool) {
        self.files.push(path.to_owned());
        let text = std::fs::read_to_string(path);
        if let Err(error) = &text {
            let message = format!("{} cannot be read: {error}", path.display());
            self.report.error_without_place(codes::UNREADABLE, message);
        }
        let readable = text.is_ok();
        // Editors on Windows put a byte order mark first, which is no part of the configuration.
        let text = text.unwrap_or_default();
        let text = text
            .strip_prefix('\u{feff}')
            .map(str::to_owned)
            .unwrap_or(text);
        let (root, faults) = spans::parse(&text);
        let source = self.report.add_source(Source {
            path: path.to_owned(),
            text,
        });
        let sound = readable && faults.is_empty();
        for fault in faults {
            self.report
                .error(codes::SYNTAX, source, fault.at, fault.message);
        }
        let root = if sound { root } else { spans::parse("").0 };
        (source, root, sound)
    }

    fn node(&mut self, path: Option<&Path>, defaults: &Defaults) -> (NodeConfig, (SourceId, Node)) {
        let (source, mut root, _) = match path {
            Some(path) => self.file(path),
            None => {
                let source = Source {
                    path: "node.toml".into(),
                    text: String::new(),
                };
                (self.report.add_source(source), spans::parse("").0, true)
            }
        };
        vars::put_in_env(self.report, source, &mut root, &|name| {
            std::env::var(name).ok()
        });
        literal::check(self.report, source, &root);
        let config = node::read(self.report, source, &root, defaults);
        (config, (source, root))
    }

    fn group(&mut self, path: Option<&Path>) -> (Option<Group>, Option<(SourceId, Node)>, Vars) {
        let Some(path) = path else {
            return (None, None, Vars::default());
        };
        let (source, root, sound) = self.file(path);
        self.keep("group", source);
        if !sound {
            return (None, None, Vars::default());
        }
        literal::check(self.report, source, &root);
        let (group, vars) = group::read(self.report, source, &root);
        (Some(group), Some((source, root)), vars)
    }

    fn app(
        &mut self,
        folder: &Path,
        adapters: &Adapters,
        data_dir: &Path,
        group: Option<&Group>,
        vars: &mut Vars,
    ) -> Option<App> {
        let (source, mut root, sound) = self.file(&folder.join("app.toml"));
        self.keep("application", source);
        if !sound {
            return None;
        }
        let faults = self.report.errors();
        vars.put_in(self.report, source, &mut root);
        let defined = self.report.errors() == faults;
        literal::check(self.report, source, &root);
        let files = Files::in_folder(folder);
        let app = app::read(
            self.report,
            source,
            &root,
            adapters,
            data_dir,
            group,
            (&files, &orchestration::files(folder)),
        );
        self.text.push_str(&files.lines());
        self.files.extend(files.paths());
        let mut app = app?;
        self.text.push_str(&app.yaml);
        let yaml = app.orchestrations.iter();
        self.files
            .extend(yaml.map(|one| self.report.path(one.source)));
        // A variable that is missing is told once, and not by what misses it.
        app.sends_whole &= defined;
        Some(app)
    }

    /// Adds a file to the text of the configuration, without its path: every node has its own.
    fn keep(&mut self, what: &str, source: SourceId) {
        self.report.with_text(source, |text| {
            writeln!(self.text, "# --- {what}\n{text}").expect("writing to a string cannot fail");
        });
    }
}

/// The folder itself if it has an `app.toml`, else its sub-folders that have one.
fn application_folders(dir: &Path, report: &Report) -> Vec<PathBuf> {
    if dir.join("app.toml").is_file() {
        return vec![dir.to_owned()];
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.join("app.toml").is_file())
        .collect();
    folders.sort();
    if folders.is_empty() {
        let message = format!("{} holds no application", dir.display());
        report.error_without_place(codes::NO_APPLICATION, message);
    }
    folders
}

/// The hosts of this process.
fn hosts(
    inputs: &Inputs,
    node: &NodeConfig,
    group: Option<&Group>,
    apps: &[App],
    report: &Report,
) -> Vec<Name> {
    let receive = apps
        .iter()
        .flat_map(|app| &app.receive)
        .map(|port| port.value.host.to_string());
    let send = apps
        .iter()
        .flat_map(|app| app.send.iter().chain(&app.workers))
        .map(|port| port.value.host.to_string());
    let process = apps
        .iter()
        .flat_map(|app| &app.orchestrations)
        .map(|one| one.value.host.to_string());
    let here: BTreeSet<String> = match group {
        Some(group) if inputs.purpose == Purpose::CheckAnyNode => {
            group.hosts.keys().cloned().collect()
        }
        Some(group) => group
            .hosts_of(&node.name)
            .into_iter()
            .map(str::to_owned)
            .collect(),
        None => receive.chain(send).chain(process).collect(),
    };
    // Without a group every node runs what the applications name, which at first is nothing.
    if group.is_some() && here.is_empty() && report.errors() == 0 {
        let message = format!(
            "the node `{}` is a member of no host of the group",
            node.name
        );
        report.error_without_place(codes::NOT_A_MEMBER, message);
    }
    for host in inputs.hosts.iter().filter(|host| !here.contains(*host)) {
        let known: Vec<&str> = here.iter().map(String::as_str).collect();
        let near = section::suggestion(host, &known);
        let message = format!(
            "the host `{host}` does not run on the node `{}`{near}",
            node.name
        );
        report.error_without_place(codes::NOT_A_MEMBER, message);
    }
    let wanted = |host: &String| inputs.hosts.is_empty() || inputs.hosts.contains(host);
    here.into_iter()
        .filter(wanted)
        .filter_map(|host| Name::new(host).ok())
        .collect()
}

/// The HTTP listener of this process: that of its host, if that host has its own.
fn http_listener(inputs: &Inputs, node: &NodeConfig, report: &Report) -> node::Listen {
    let own: Vec<&node::Listen> = inputs
        .hosts
        .iter()
        .filter_map(|host| node.http_of_hosts.get(host))
        .collect();
    if own.len() > 1 {
        let message = "these hosts have listeners of their own: run each in its own process";
        report.error_without_place(codes::CLASH, message);
    }
    own.first()
        .map_or_else(|| node.http.clone(), |own| (*own).clone())
}

fn roles(group: Option<&Group>, hosts: &[Name]) -> Roles {
    let Some(group) = group else {
        return Roles::default();
    };
    let has = |role: &str| {
        hosts
            .iter()
            .filter_map(|host| group.hosts.get(host.as_str()))
            .any(|h| h.has_role(role))
    };
    Roles {
        receive: has("receive"),
        process: has("process"),
        send: has("send"),
        track: has("track"),
    }
}

fn plan(apps: Vec<App>, text: String) -> Plan {
    let mut plan = Plan {
        hash: hex(&Sha256::digest(text.as_bytes())),
        text,
        ..Plan::default()
    };
    for app in apps {
        plan.receive
            .extend(app.receive.into_iter().map(|port| port.value));
        let ports = app.send.into_iter().chain(app.workers);
        plan.send.extend(ports.map(|port| port.value));
        let orchestrations = app.orchestrations.into_iter();
        plan.orchestrations
            .extend(orchestrations.map(|one| one.value));
        let maps = app.maps.into_iter();
        plan.maps.extend(maps.map(|map| (map.name.clone(), map)));
    }
    plan
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    })
}

/// The data folder that holds where nothing says otherwise.
pub(crate) const DATA_DIR: &str = ".quayside";

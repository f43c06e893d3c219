//! `app.toml`: one application.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use quayside_engine::plan::{MapPlan, OrchestrationPlan, ReceivePort, SendPort};
use quayside_model::Name;

use super::{
    codes,
    files::Files,
    group::Group,
    map,
    message::{self, Outline},
    orchestration::Surroundings,
    party,
    port_maps::PortMaps,
    properties::Wanted,
    receive,
    report::{Report, SourceId},
    section::{Section, suggestion},
    send,
    spans::Node,
    transport::Adapters,
    worker,
};

/// The words of `on_failure`: whether a failed message is published again.
pub(crate) const ON_FAILURE: &[(&str, bool)] = &[("suspend", false), ("publish", true)];

/// The host of a port that names none.
pub(crate) const DEFAULT_HOST: &str = "main";

/// Something that was read, with its place.
#[derive(Debug)]
pub(crate) struct Placed<T> {
    /// The file.
    pub(crate) source: SourceId,
    /// The byte at which its key begins.
    pub(crate) at: usize,
    /// The thing.
    pub(crate) value: T,
}

/// What the parts of an application need while they are read.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) adapters: &'a Adapters,
    pub(crate) data_dir: &'a Path,
    pub(crate) group: Option<&'a Group>,
    pub(crate) app: Name,
    pub(crate) messages: Vec<String>,
    pub(crate) send_ports: Vec<String>,
    pub(crate) files: &'a Files,
    wanted: RefCell<Vec<Wanted>>,
}

/// An application in the engine's form.
#[derive(Debug)]
pub(crate) struct App {
    /// Its name.
    pub(crate) name: Name,
    /// The place of its name.
    pub(crate) at: (SourceId, usize),
    /// The file, variables put in.
    pub(crate) root: Node,
    /// Whether everything that receives could be read.
    pub(crate) is_whole: bool,
    /// Whether everything that sends could be read, too.
    pub(crate) sends_whole: bool,
    /// Its receive ports.
    pub(crate) receive: Vec<Placed<ReceivePort>>,
    /// Its send ports.
    pub(crate) send: Vec<Placed<SendPort>>,
    /// What could be read of those that have a fault.
    pub(crate) unsound: Vec<Placed<SendPort>>,
    /// The ports of its workers.
    pub(crate) workers: Vec<Placed<SendPort>>,
    /// Whether all of its orchestrations could be read, too.
    pub(crate) runs_whole: bool,
    /// Its orchestrations.
    pub(crate) orchestrations: Vec<Placed<OrchestrationPlan>>,
    /// Their texts.
    pub(crate) yaml: String,
    /// What its messages promote by rules that cannot be read.
    pub(crate) unread: BTreeSet<String>,
    /// What its messages promote.
    pub(crate) promoted: BTreeSet<String>,
    /// What its filters, orders and keys ask for.
    pub(crate) wanted: Vec<Wanted>,
    /// Its messages as they were written.
    pub(crate) outlines: Vec<Outline>,
    /// Its maps.
    pub(crate) maps: Vec<Arc<MapPlan>>,
}

/// Reads an application.
pub(crate) fn read(
    report: &Report,
    source: SourceId,
    root: &Node,
    adapters: &Adapters,
    data_dir: &Path,
    group: Option<&Group>,
    (files, yaml): (&Files, &BTreeMap<String, PathBuf>),
) -> Option<App> {
    let file = Section::new(report, source, String::new(), root);
    let (name, at) = name(&file);
    let keys = |key: &str| -> Vec<String> {
        let table = root
            .table()
            .and_then(|root| root.get(key))
            .and_then(Node::table);
        table
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    };
    let reading = Reading {
        adapters,
        data_dir,
        group,
        // Without a name the rest is read all the same, for its faults.
        app: name
            .clone()
            .unwrap_or_else(|| Name::new("app").expect("`app` is a name")),
        messages: keys("message"),
        send_ports: keys("send"),
        files,
        wanted: RefCell::default(),
    };
    let faults = report.errors();
    let (mut promoted, mut unread) = (BTreeSet::new(), BTreeSet::new());
    let (mut messages, mut outlines) = (Vec::new(), Vec::new());
    for (name, section) in file.named("message") {
        let names = promoted_names(section.node);
        promoted.extend(names.iter().cloned());
        let read = message::read(&reading, name, section);
        let rules = read.as_ref().map(|(_, outline)| &outline.rules);
        let is_read = |name: &String| rules.is_some_and(|rules| rules.contains_key(name));
        unread.extend(names.into_iter().filter(|name| !is_read(name)));
        if let Some((message, outline)) = read {
            messages.extend(message);
            outlines.push(outline);
        }
    }
    let maps = file.named("map").into_iter();
    let maps = maps.filter_map(|(name, section)| map::read(&reading, name, section));
    let maps: Vec<_> = maps.collect();
    let port_maps = PortMaps {
        reading: &reading,
        messages: &messages,
        maps: &maps,
        names: keys("map"),
    };
    let parties = party::read(&file);
    let receive = file.named("receive").into_iter();
    let receive: Vec<_> = receive
        .filter_map(|(name, section)| receive::read(&reading, name, section, &port_maps, &parties))
        .collect();
    for port in &receive {
        let split = port.value.pipeline.split.as_ref();
        let carried = split.map(|split| split.properties()).unwrap_or_default();
        promoted.extend(carried.iter().map(ToString::to_string));
    }
    let is_whole = report.errors() == faults;
    let send = file.named("send").into_iter();
    let mut send: Vec<_> = send
        .filter_map(|(name, section)| send::read(&reading, name, section, &port_maps))
        .collect();
    for (name, section) in file.named("group") {
        send::read_group(&reading, name, section, &mut send);
    }
    let (send, unsound): (Vec<_>, Vec<_>) = send.into_iter().partition(|read| read.is_whole);
    let ports = |read: Vec<send::Read>| read.into_iter().map(|read| read.port).collect();
    let sends_whole = report.errors() == faults;
    let workers = file.named("worker").into_iter();
    let workers = workers.filter_map(|(name, section)| worker::read(&reading, name, section));
    let workers: Vec<_> = workers.collect();
    let surroundings = Surroundings {
        report,
        reading: &reading,
        messages: &messages,
        maps: &maps,
        map_names: keys("map"),
        worker_names: keys("worker"),
        ports: send
            .iter()
            .chain(&unsound)
            .map(|read| &read.port.value)
            .collect(),
    };
    let all_files = yaml.len();
    let (orchestrations, yaml) = surroundings.read(&file, yaml);
    file.finish();
    let wanted = reading.wanted.into_inner();
    Some(App {
        name: name?,
        at: (source, at),
        root: root.clone(),
        is_whole,
        sends_whole,
        receive,
        send: ports(send),
        unsound: ports(unsound),
        workers,
        runs_whole: orchestrations.len() == all_files,
        orchestrations,
        yaml,
        unread,
        promoted,
        wanted,
        outlines,
        maps,
    })
}

fn name(file: &Section<'_>) -> (Option<Name>, usize) {
    let Some(app) = file.section("app") else {
        file.missing("app");
        return (None, 0);
    };
    let name = app.required_text("name").filter(|name| {
        let proper = super::section::is_name(name);
        if !proper {
            app.error(codes::BAD_NAME, "name", format!("`{name}` is not a name"));
        }
        proper
    });
    let at = app.node.nearest(&["name".to_owned()]).key_at;
    app.finish();
    (name.and_then(|name| Name::new(name).ok()), at)
}

fn promoted_names(message: &Node) -> Vec<String> {
    let promote = message
        .table()
        .and_then(|table| table.get("promote"))
        .and_then(Node::table);
    promote
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect()
}

impl Reading<'_> {
    /// The full name of a part of the application.
    pub(crate) fn full_name(&self, section: &Section<'_>, parts: &[&str]) -> Option<Name> {
        let full = format!("{}.{}", self.app, parts.join("."));
        Name::new(full.as_str())
            .map_err(|error| section.error(codes::BAD_NAME, "", error.to_string()))
            .ok()
    }

    /// The host of a port, which has to have `role`.
    pub(crate) fn host(&self, section: &Section<'_>, role: &str) -> Option<Name> {
        let name = section.text("host").unwrap_or(DEFAULT_HOST);
        if !super::section::is_name(name) {
            section.error(codes::BAD_NAME, "host", format!("`{name}` is not a name"));
            return None;
        }
        if let Some(group) = self.group {
            match group.hosts.get(name) {
                None => {
                    let known: Vec<&str> = group.hosts.keys().map(String::as_str).collect();
                    let message = format!(
                        "{} runs in the host `{name}`, which the group does not define{}",
                        section.path,
                        suggestion(name, &known)
                    );
                    section.error(codes::UNKNOWN_HOST, "host", message);
                }
                Some(host) if !host.has_role(role) => {
                    let message = format!(
                        "{} runs in the host `{name}`, which does not {role}",
                        section.path
                    );
                    section.error(codes::ROLE, "host", message);
                }
                Some(_) => {}
            }
        }
        Name::new(name).ok()
    }

    /// Refuses the name of a message that the application does not define; it stands at `node`.
    pub(crate) fn check_message(&self, section: &Section<'_>, name: &str, node: &Node) -> bool {
        let known: Vec<&str> = self.messages.iter().map(String::as_str).collect();
        if known.contains(&name) {
            return true;
        }
        let message = format!("there is no message `{name}`{}", suggestion(name, &known));
        let report = section.report;
        report.error(codes::UNKNOWN_MESSAGE, section.source, node.key_at, message);
        false
    }

    /// Notes that something names a property; whether anything sets it is known at the end.
    pub(crate) fn check_property(&self, wanted: Wanted) {
        self.wanted.borrow_mut().push(wanted);
    }
}

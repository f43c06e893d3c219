//! `queues.toml`: the queues of an application as they are to be declared.
//!
//! A file of its own beside `app.toml`: no process runs by it, it is read by who may configure the broker,
//! and a change of it is no new configuration. Its form is the one that `quayside queue declare FILE` takes
//! without any application.

use std::path::Path;

use quayside_engine::plan::{ReceivePort, SendPort};

use super::{
    Loader, Report, report::SourceId, section::Section, spans::Node, transport, vars::Vars,
};
use crate::wiring::declare::{BrokerSettings, Definition, Definitions, Use, plan};

/// Its name in the folder of an application.
pub(crate) const FILE: &str = "queues.toml";

/// The adapter that has queues.
const ADAPTER: &str = "amqp";

/// A file with definitions, and its place.
#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) definitions: Definitions,
    source: SourceId,
    root: Node,
}

impl Loader<'_> {
    /// Reads the definitions beside an application, if there are any.
    pub(super) fn queues_beside(&mut self, folder: &Path, vars: &mut Vars) -> Option<Queues> {
        let path = folder.join(FILE);
        path.is_file().then(|| self.queues(&path, vars))
    }

    fn queues(&mut self, path: &Path, vars: &mut Vars) -> Queues {
        let (source, mut root, _) = self.file(path);
        vars.put_in(self.report, source, &mut root);
        super::literal::check(self.report, source, &root);
        let definitions = read(self.report, source, &root);
        Queues {
            definitions,
            source,
            root,
        }
    }
}

/// Reads a file of definitions alone, with the variables of `group`. `None` if the report has an error.
pub(crate) fn load(path: &Path, group: Option<&Path>, report: &Report) -> Option<Definitions> {
    let mut loader = Loader {
        report,
        files: Vec::new(),
        text: String::new(),
    };
    let (_, _, mut vars) = loader.group(group);
    let queues = loader.queues(path, &mut vars);
    // Of an application some definitions may be of no use; here all of them are what is asked for.
    (report.errors() == 0).then_some(queues.definitions)
}

fn read(report: &Report, source: SourceId, root: &Node) -> Definitions {
    let file = Section::new(report, source, String::new(), root);
    let mut definitions = Definitions::default();
    if let Some(node) = file.get("broker") {
        let (settings, faults) = BrokerSettings::read(&node.to_json());
        for fault in faults {
            transport::put_back(&file, &["broker"], fault);
        }
        definitions.broker = settings.unwrap_or_default();
    }
    if let Some(section) = file.section("queue") {
        for (name, inner) in section.entries() {
            let (definition, faults) = Definition::read(name, &inner.node.to_json());
            for fault in faults {
                transport::put_back(&section, &[name], fault);
            }
            definitions
                .queues
                .extend(definition.map(|definition| (name.to_owned(), definition)));
        }
    }
    file.finish();
    definitions
}

/// Who uses queues.
pub(crate) fn uses<'a>(
    receive: impl IntoIterator<Item = &'a ReceivePort>,
    send: impl IntoIterator<Item = &'a SendPort>,
) -> Vec<Use<'a>> {
    let locations = receive.into_iter().flat_map(|port| {
        let of_queues = port
            .locations
            .iter()
            .filter(|location| location.adapter == ADAPTER);
        of_queues.map(|location| Use {
            place: location.name.as_str(),
            receives: true,
            ordered: port.ordered,
            block: &location.block,
        })
    });
    let mut uses: Vec<Use<'a>> = locations.collect();
    for port in send {
        let transports = [Some(&port.primary), port.backup.as_ref()];
        let of_queues = transports.into_iter().flatten();
        uses.extend(
            of_queues
                .filter(|t| t.adapter == ADAPTER)
                .map(|transport| Use {
                    place: port.name.as_str(),
                    receives: false,
                    ordered: port.ordered.is_some(),
                    block: &transport.block,
                }),
        );
    }
    uses
}

/// Reports what the definitions and the ports of an application say against each other.
pub(super) fn check(report: &Report, queues: &Queues, uses: &[Use<'_>]) {
    let file = Section::new(report, queues.source, String::new(), &queues.root);
    for mut fault in plan(uses, &queues.definitions, None).faults {
        let key = match fault.path.is_empty() {
            true => String::new(),
            false => fault.path.remove(0),
        };
        transport::put_back(&file, &[key.as_str()], fault);
    }
}

/// The definitions of several applications as one.
pub(super) fn together(all: impl IntoIterator<Item = Queues>) -> Definitions {
    let mut together = Definitions::default();
    for queues in all {
        let Definitions { broker, queues } = queues.definitions;
        if is_said(&broker) && !is_said(&together.broker) {
            together.broker = broker;
        }
        for (name, definition) in queues {
            together.queues.entry(name).or_insert(definition);
        }
    }
    together
}

fn is_said(broker: &BrokerSettings) -> bool {
    broker.url.is_some() || broker.user.is_some() || broker.management.is_some()
}

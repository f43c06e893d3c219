//! `NAME.orchestration.yaml` beside `app.toml`, and `[orchestration.NAME]` in it, which says where it runs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use quayside_engine::plan::{MapPlan, MapWay, MessagePlan, OrchestrationPlan, SendPort};
use quayside_model::{Name, Text};
use quayside_orchestration::{
    Activation, Defect, Definition, Environment, MapSpec, MessageSpec, Place, PortSpec,
};
use quayside_pipeline::{codes as pipeline, map::Selector};

use super::{
    app::{Placed, Reading},
    codes,
    report::{Report, SourceId},
    section::{Section, suggestion},
    spans::Source,
};

/// How the name of such a file ends.
const ENDING: &str = ".orchestration.yaml";
/// The largest one, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// The files of an application's folder, by the names of their orchestrations.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let file = entry.file_name().into_string().ok()?;
        let name = file.strip_suffix(ENDING)?;
        Some((name.to_owned(), entry.path()))
    });
    named.collect()
}

/// The files of the folder that are named like an orchestration and are none.
pub(crate) fn misnamed(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let like = |name: &String| {
        let small = name.to_lowercase();
        !name.ends_with(ENDING)
            && [ENDING, ".orchestration.yml"]
                .iter()
                .any(|end| small.ends_with(end))
    };
    let mut names: Vec<String> = names.filter(like).collect();
    names.sort();
    names
}

/// What an application gives its orchestrations.
pub(crate) struct Surroundings<'a> {
    pub(crate) report: &'a Report,
    pub(crate) reading: &'a Reading<'a>,
    pub(crate) messages: &'a [Arc<MessagePlan>],
    pub(crate) ports: Vec<&'a SendPort>,
    pub(crate) maps: &'a [Arc<MapPlan>],
    /// The names of all maps, also of those that have a fault, which is told at them.
    pub(crate) map_names: Vec<String>,
    /// The names of all workers, in the same way.
    pub(crate) worker_names: Vec<String>,
}

impl Surroundings<'_> {
    /// Reads all orchestrations, with their texts for the version of the configuration.
    pub(crate) fn read(
        &self,
        file: &Section<'_>,
        files: &BTreeMap<String, PathBuf>,
    ) -> (Vec<Placed<OrchestrationPlan>>, String) {
        let mut hosts = BTreeMap::new();
        let default = Name::new(super::app::DEFAULT_HOST).ok();
        for (name, section) in file.named("orchestration") {
            if !files.contains_key(name) {
                let known: Vec<&str> = files.keys().map(String::as_str).collect();
                let near = suggestion(name, &known);
                let message = format!("there is no file `{name}{ENDING}` in the folder{near}");
                section.error(codes::UNREADABLE, "", message);
            }
            hosts.insert(name.to_owned(), self.reading.host(&section, "process"));
            section.finish();
        }
        for name in misnamed(self.reading.files.folder()) {
            let message =
                format!("`{name}` is named like an orchestration, but only `NAME{ENDING}` is one");
            file.error(codes::BAD_NAME, "", message);
        }
        let environment = self.environment(files);
        let (mut plans, mut text) = (Vec::new(), String::new());
        for (name, path) in files {
            let Some((source, yaml)) = self.source(path) else {
                continue;
            };
            let host = match hosts.remove(name) {
                Some(host) => host,
                None => {
                    self.check_default_host(source, name);
                    default.clone()
                }
            };
            text.push_str(&format!("# --- orchestration {name}\n{yaml}\n"));
            let plan = self.plan(name, host, source, (yaml, &environment));
            plans.extend(plan.map(|value| Placed {
                source,
                at: 0,
                value,
            }));
        }
        self.check_starts(&plans);
        (plans, text)
    }

    /// Whether what is started begins with the message that it is given.
    fn check_starts(&self, plans: &[Placed<OrchestrationPlan>]) {
        for Placed { source, value, .. } in plans {
            for starts in value.definition.starts() {
                let full = format!("{}.{}", self.reading.app, starts.orchestration);
                let mut others = plans.iter().map(|plan| &plan.value);
                // One that is not there has been told of.
                let Some(other) = others.find(|plan| plan.name == full.as_str()) else {
                    continue;
                };
                let activations = other.definition.activations();
                let begins = |a: &Activation| a.message_type == starts.message_type;
                if activations.iter().any(begins) {
                    continue;
                }
                let takes: Vec<&str> = activations.iter().map(|a| &*a.message_type).collect();
                let message = format!(
                    "`{}` gives `{}` a message of the type {}, and it begins with {}",
                    starts.step,
                    starts.orchestration,
                    starts.message_type,
                    takes.join(" or ")
                );
                let at = byte_of(&value.source, starts.place);
                let code = quayside_orchestration::codes::NO_ORCHESTRATION;
                self.report.error(code, *source, at, message);
            }
        }
    }

    /// Whether the host of an orchestration that names none runs orchestrations.
    fn check_default_host(&self, source: SourceId, name: &str) {
        let Some(group) = self.reading.group else {
            return;
        };
        let host = super::app::DEFAULT_HOST;
        let (code, why) = match group.hosts.get(host) {
            None => (codes::UNKNOWN_HOST, "which the group does not define"),
            Some(known) if !known.has_role("process") => (codes::ROLE, "which does not process"),
            Some(_) => return,
        };
        let message = format!(
            "`{name}` runs in the host `{host}`, {why}: name another one by `[orchestration.{name}] host`"
        );
        self.report.error(code, source, 0, message);
    }

    fn source(&self, path: &Path) -> Option<(SourceId, String)> {
        let read = || {
            if fs::metadata(path)?.len() > FILE_MAX {
                let what = format!("it is larger than {FILE_MAX} bytes");
                return Err(std::io::Error::other(what));
            }
            fs::read_to_string(path)
        };
        match read() {
            Ok(text) => {
                let source = self.report.add_source(Source {
                    path: path.to_owned(),
                    text: text.clone(),
                });
                Some((source, text))
            }
            Err(error) => {
                let message = format!("{} cannot be read: {error}", path.display());
                self.report.error_without_place(codes::UNREADABLE, message);
                None
            }
        }
    }

    /// What the definitions may name.
    fn environment(&self, files: &BTreeMap<String, PathBuf>) -> Environment {
        let local = |full: &Name| {
            let (_, local) = full.split_once('.')?;
            Name::new(local).ok()
        };
        let message = |plan: &Arc<MessagePlan>| {
            let properties = plan.promotions.properties();
            let spec = MessageSpec {
                message_type: Text::new(plan.message_type.clone()?).ok()?,
                properties: properties.map(|(name, of)| (name.clone(), of)).collect(),
            };
            Some((local(&plan.name)?, spec))
        };
        let port = |plan: &&SendPort| {
            let spec = PortSpec {
                two_way: plan.answers,
            };
            Some((local(&plan.name)?, spec))
        };
        let map = |plan: &Arc<MapPlan>| {
            let from = plan.from.as_ref();
            let spec = MapSpec {
                from: from.map(|names| names.iter().filter_map(local).collect()),
                to: plan.to.as_ref().and_then(local),
                params: params(plan),
            };
            Some((local(&plan.name)?, spec))
        };
        Environment {
            messages: self.messages.iter().filter_map(message).collect(),
            maps: self
                .map_names
                .iter()
                .filter_map(|name| Some((Name::new(name.as_str()).ok()?, MapSpec::default())))
                .chain(self.maps.iter().filter_map(map))
                .collect(),
            ports: self.ports.iter().filter_map(port).collect(),
            orchestrations: files
                .keys()
                .filter_map(|name| Name::new(name.as_str()).ok())
                .collect(),
            workers: self
                .worker_names
                .iter()
                .filter_map(|name| Name::new(name.as_str()).ok())
                .collect(),
        }
    }

    fn plan(
        &self,
        name: &str,
        host: Option<Name>,
        source: SourceId,
        (yaml, environment): (String, &Environment),
    ) -> Option<OrchestrationPlan> {
        let report = self.report;
        let (true, Ok(local)) = (super::section::is_name(name), Name::new(name)) else {
            let message = format!("`{name}` cannot be the name of an orchestration");
            report.error(codes::BAD_NAME, source, 0, message);
            return None;
        };
        let definition = match Definition::compile(&local, &yaml, environment) {
            Ok(definition) => definition,
            Err(defects) => {
                for Defect { place, fault } in defects {
                    let at = byte_of(&yaml, place);
                    let (message, help) = (fault.message, fault.help);
                    report.add(
                        fault.code,
                        fault.severity,
                        Some((source, at)),
                        message,
                        help,
                    );
                }
                return None;
            }
        };
        if !self.can_read(source, &yaml, &definition) {
            return None;
        }
        let full = Name::new(format!("{}.{name}", self.reading.app)).ok()?;
        // Both subscribe under their names: either would take what is meant for the other.
        if self.ports.iter().any(|port| port.name == full) {
            let message = format!("`{name}` is the name of a send port as well");
            report.error(codes::DUPLICATE, source, 0, message);
            return None;
        }
        let maps = self.maps.iter();
        let maps = maps.map(|plan| (plan.name.clone(), Arc::clone(plan)));
        let of_app = (self.messages.to_vec(), maps.collect());
        let plan =
            OrchestrationPlan::new(full, host?, definition, yaml, environment.clone(), of_app);
        match plan {
            Ok(plan) => Some(plan),
            Err(faults) => {
                for (step, error) in faults {
                    let message = format!("the filter of `{step}`: {}", error.message);
                    report.error(codes::FILTER, source, 0, message);
                }
                None
            }
        }
    }

    /// Whether every document path can be read.
    fn can_read(&self, source: SourceId, yaml: &str, definition: &Definition) -> bool {
        let mut fine = true;
        for path in definition.documents() {
            let of = |plan: &&Arc<MessagePlan>| {
                plan.name.split_once('.').map(|(_, local)| local) == Some(path.message.as_str())
            };
            let none = BTreeMap::new();
            let plan = self.messages.iter().find(of);
            let namespaces = plan.map_or(&none, |plan| &plan.namespaces);
            if let Err(why) = Selector::compile(&path.path, namespaces) {
                let at = byte_of(yaml, path.place);
                let message = format!("`{}` in `{}`: {why}", path.path, path.step);
                self.report.error(pipeline::XPATH, source, at, message);
                fine = false;
            }
        }
        fine
    }
}

/// The parameters of a map, and whether each has to be given.
fn params(map: &MapPlan) -> Option<BTreeMap<Name, bool>> {
    Some(match &map.way {
        MapWay::Declared(map) => map.params().map(|(name, of)| (name.clone(), of)).collect(),
        MapWay::Outside(program) => {
            let names = program.params.iter();
            // One that is no name cannot be given.
            let names = names.filter_map(|name| Name::new(name.as_str()).ok());
            names.map(|name| (name, false)).collect()
        }
    })
}

/// The byte of `text` at a place.
fn byte_of(text: &str, place: Place) -> usize {
    let before = text
        .split_inclusive('\n')
        .take(place.line.saturating_sub(1));
    let start: usize = before.map(str::len).sum();
    let line = text[start..].chars().take(place.column.saturating_sub(1));
    start + line.map(char::len_utf8).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_bytes() {
        let text = "a: ä\n  béc: 1\n";
        let at = |line, column| byte_of(text, Place { line, column });
        assert_eq!(&text[at(1, 4)..at(1, 5)], "ä");
        assert_eq!(&text[at(2, 5)..at(2, 6)], "c");
        assert_eq!(at(9, 9), text.len());
    }
}

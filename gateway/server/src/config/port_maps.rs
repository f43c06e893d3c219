//! `maps` of a port: which of the application's maps are applied to its messages, by their types.

use std::sync::Arc;

use quayside_engine::plan::{MapPlan, MapWay, MessagePlan, PortMap};

use super::{
    app::Reading,
    codes,
    section::{Section, suggestion},
};

/// What an application has that the maps of its ports name.
pub(crate) struct PortMaps<'a> {
    pub(crate) reading: &'a Reading<'a>,
    pub(crate) messages: &'a [Arc<MessagePlan>],
    pub(crate) maps: &'a [Arc<MapPlan>],
    /// The names of all maps, also of those that have a fault, which is told at them.
    pub(crate) names: Vec<String>,
}

impl PortMaps<'_> {
    /// The maps of the port in `section`, without those that have a fault.
    pub(crate) fn of(&self, section: &Section<'_>) -> Vec<PortMap> {
        self.under(section, "maps")
    }

    /// The maps of what is answered at the port in `section`; `answers`: by which key it would have answers.
    pub(crate) fn of_answers(
        &self,
        section: &Section<'_>,
        (answers, key): (bool, &str),
    ) -> Vec<PortMap> {
        if section.get("answer_maps").is_some() && !answers {
            let message = format!(
                "`{}` maps nothing: {} has no `{key}`",
                section.name_of("answer_maps"),
                section.path
            );
            section.error(codes::NOTHING_TO_DO, "answer_maps", message);
        }
        let found = self.under(section, "answer_maps");
        let reading = found.iter().filter(|map| map.map.reads_json());
        let json: Vec<&PortMap> = reading.collect();
        if let [first, second, ..] = json.as_slice() {
            let message = format!(
                "the map `{}` is never applied: an answer in JSON does not say of which type it is, and `{}` takes it",
                second.map.name, first.map.name
            );
            section.error(codes::PORT_MAP, "answer_maps", message);
        }
        found
    }

    fn under(&self, section: &Section<'_>, key: &str) -> Vec<PortMap> {
        let mut found: Vec<PortMap> = Vec::new();
        for (name, node) in section.texts(key) {
            let fault = |code, message: String| {
                let report = section.report;
                report.error(code, section.source, node.key_at, message);
            };
            let full = format!("{}.{name}", self.reading.app);
            let Some(map) = self.maps.iter().find(|map| map.name == full.as_str()) else {
                if !self.names.iter().any(|known| known == name) {
                    let known: Vec<&str> = self.names.iter().map(String::as_str).collect();
                    let near = suggestion(name, &known);
                    fault(
                        codes::UNKNOWN_MAP,
                        format!("there is no map `{name}`{near}"),
                    );
                }
                continue;
            };
            let message_type = match self.takes(map) {
                Ok(Some(message_type)) => message_type,
                // The message has a fault of its own.
                Ok(None) => continue,
                Err(why) => {
                    fault(codes::PORT_MAP, format!("the map `{name}` {why}"));
                    continue;
                }
            };
            if let Some(other) = found.iter().find(|one| one.message_type == message_type) {
                let message = format!(
                    "the map `{name}` is never applied: `{}` before it takes `{message_type}` already",
                    other.map.name
                );
                fault(codes::PORT_MAP, message);
                continue;
            }
            let to = map.to.as_ref();
            let to = to.and_then(|to| self.messages.iter().find(|one| one.name == *to));
            found.push(PortMap {
                message_type,
                map: Arc::clone(map),
                to: to.map(Arc::clone),
            });
        }
        found
    }

    /// The type of the only message that a map is made from. `None`: that message could not be read.
    fn takes(&self, map: &MapPlan) -> Result<Option<String>, String> {
        let Some(from) = &map.from else {
            return Err("does not say by `from` what it is made from".to_owned());
        };
        let [from] = from.as_slice() else {
            return Err(format!(
                "is made from {} messages, and at a port there is one",
                from.len()
            ));
        };
        if let MapWay::Declared(declared) = &map.way
            && let Some((param, _)) = declared.params().find(|(_, required)| *required)
        {
            return Err(format!(
                "needs the parameter `{param}`, which no port gives"
            ));
        }
        let Some(message) = self.messages.iter().find(|one| one.name == *from) else {
            return Ok(None);
        };
        match &message.message_type {
            Some(message_type) => Ok(Some(message_type.clone())),
            None => Err(format!("is made from `{from}`, which has no `type`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::{
        config::{Defaults, Inputs, Loaded, Purpose, Report, load},
        wiring,
    };

    const APP: &str = r#"
[app]
name = "orders"
[message.order]
type = "urn:orders#Order"
[message.order.promote]
Id = { xpath = "/*[local-name()='Order']/*[local-name()='Id']" }
[message.request]
type = "request"
[message.request.promote]
No = { jsonpath = "$.id" }
[message.any]
[map.approve]
file = "maps/approve.toml"
from = ["order"]
to = "request"
[map.again]
file = "maps/approve.toml"
from = "order"
[map.bare]
file = "maps/approve.toml"
[map.loose]
file = "maps/approve.toml"
from = "any"
[receive.web]
message = "order"
maps = [RECEIVE]
location.in.http = { path = "/in" }
[send.out]
filter = "msg.type == 'request' && No == '7'"
maps = [SEND]
primary.file = { folder = "out", file_name = "{No}-{msg.id}" }
"#;

    const MAP: &str = r#"
source.order.format = "xml"
target.format = "json"
to = { "$.id" = "/Order/Id" }
"#;

    fn read(receive: &str, send: &str) -> (Option<Loaded>, String) {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("maps")).expect("a folder");
        let app = APP.replace("RECEIVE", receive).replace("SEND", send);
        fs::write(dir.path().join("app.toml"), app).expect("written");
        fs::write(dir.path().join("maps/approve.toml"), MAP).expect("written");
        let inputs = Inputs {
            dir: dir.path().to_owned(),
            group: None,
            node: None,
            hosts: Vec::new(),
            purpose: Purpose::CheckAnyNode,
            defaults: Defaults {
                credentials: None,
                ..Defaults::of_this_machine(dir.path().join("data"))
            },
        };
        let report = Report::default();
        let loaded = load(&inputs, &wiring::adapters_for_checking(), &report);
        (loaded, report.to_string())
    }

    #[test]
    fn ports_have_their_maps_by_type_and_what_is_mapped_is_routed() {
        let (loaded, told) = read("\"approve\"", "\"approve\"");
        let plan = loaded.unwrap_or_else(|| panic!("{told}")).plan;
        assert!(!told.contains("QS06"), "{told}");
        let map = &plan.receive[0].maps[0];
        assert_eq!(map.message_type, "urn:orders#Order");
        assert_eq!(map.map.name.as_str(), "orders.approve");
        let to = map.to.as_ref().and_then(|to| to.message_type.as_deref());
        assert_eq!(to, Some("request"));
        assert_eq!(plan.send[0].maps.len(), 1);
    }

    #[test]
    fn without_the_map_nothing_comes_to_who_wants_the_result() {
        let (_, told) = read("", "");
        assert!(told.contains("QS0633"), "{told}");
    }

    #[test]
    fn a_map_that_no_port_can_apply_is_refused_where_it_is_named() {
        for (maps, code, word) in [
            ("\"approv\"", "QS0661", "did you mean `approve`?"),
            ("\"bare\"", "QS0662", "`from`"),
            ("\"loose\"", "QS0662", "no `type`"),
            ("\"approve\", \"again\"", "QS0662", "never applied"),
        ] {
            for (receive, send) in [(maps, ""), ("\"approve\"", maps)] {
                let (loaded, told) = read(receive, send);
                assert!(loaded.is_none(), "{maps}: {told}");
                assert!(told.contains(code) && told.contains(word), "{maps}: {told}");
                assert!(told.contains("app.toml:"), "{told}");
            }
        }
    }
}

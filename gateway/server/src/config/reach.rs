//! Which messages come to which send port, as far as the configuration tells.
//!
//! A message comes in at a location, is of one of the types that its port expects, and goes where a
//! filter can match it. What cannot be told counts as possible.

use quayside_engine::{
    filter::{Filter, Prospect, comparable},
    plan::{Expects, Location, MessagePlan, PortMap, ReceivePort, SendPort},
};
use quayside_model::Text;

use super::{
    app::App,
    properties::{Setter, Use, system_properties},
};

/// Messages of one kind: of one type, in at one location, or failed after that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) port: &'a ReceivePort,
    pub(crate) location: &'a Location,
    /// `None`: the port expects nothing, so that the content is not looked at.
    message: Option<&'a MessagePlan>,
    /// The map of the port that makes something else of them.
    mapped: Option<&'a PortMap>,
    /// Whether it has failed and is published again for that.
    failed: bool,
}

/// All that can come in, and all that can fail and is published then.
pub(crate) fn origins(apps: &[App]) -> Vec<Origin<'_>> {
    let mut origins = Vec::new();
    let sends_fail = apps
        .iter()
        .flat_map(|app| &app.send)
        .any(|port| port.value.publish_failures);
    for port in apps.iter().flat_map(|app| &app.receive) {
        let port = &port.value;
        let fails = sends_fail || port.publish_failures;
        let of = |location, message| Origin {
            port,
            location,
            message,
            mapped: message.and_then(|message| map_of(port, message)),
            failed: false,
        };
        for location in &port.locations {
            let messages = port.messages.iter();
            let mut arriving: Vec<_> = messages.map(|m| of(location, Some(&**m))).collect();
            if arriving.is_empty() {
                arriving.push(of(location, None));
            }
            let failed = arriving
                .clone()
                .into_iter()
                .filter(|_| fails)
                .map(|origin| Origin {
                    failed: true,
                    ..origin
                });
            arriving.extend(failed);
            origins.extend(arriving);
        }
    }
    origins
}

impl<'a> Origin<'a> {
    /// Whether one of these messages can come to `port`.
    pub(crate) fn reaches(&self, port: &SendPort) -> bool {
        filters(port).any(|filter| self.can_match(filter))
    }

    /// Whether one of these messages can match `filter`.
    pub(crate) fn can_match(&self, filter: &Filter) -> bool {
        filter.can_match(&|name| self.know(name))
    }

    /// What filters see of a property of these messages.
    pub(crate) fn know(&self, name: &str) -> Prospect {
        if name == "msg.type" {
            return match (self.failed, self.message) {
                (false, Some(_)) => self.message_type().map_or(Prospect::Unknown, is),
                // Whatever its content says.
                (false, None) if self.is_of_any_type() => Prospect::Unknown,
                _ => Prospect::Absent,
            };
        }
        if name == "msg.origin" {
            return is(&self.location.name);
        }
        let system = system_properties(name)
            .filter(|system| system.serves(Use::Filter))
            .any(|system| match system.setter {
                Setter::Gateway => true,
                Setter::Failure => self.failed,
                Setter::Adapter(adapter) => !self.failed && adapter == self.location.adapter,
            });
        if system || (!self.failed && self.promotes(name)) {
            Prospect::Unknown
        } else {
            Prospect::Absent
        }
    }

    /// Whether these messages can have the property for something else than a filter.
    pub(crate) fn can_have(&self, name: &str, purpose: Use) -> bool {
        let system = system_properties(name)
            .filter(|system| system.serves(purpose))
            .any(|system| match system.setter {
                Setter::Gateway => name != "msg.type" || self.know(name) != Prospect::Absent,
                Setter::Failure => self.failed,
                Setter::Adapter(adapter) => adapter == self.location.adapter,
            });
        // A failed message keeps what it had.
        system || self.promotes(name)
    }

    /// Whether they have failed and are published for that.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed
    }

    fn promotes(&self, name: &str) -> bool {
        let split = self.port.pipeline.split.as_ref();
        let carried = split.is_some_and(|split| split.properties().iter().any(|p| *p == *name));
        carried || self.read_as().any(|message| promoted_from(message, name))
    }

    /// Whether their type is what their content says, and no message of the application is meant by it.
    fn is_of_any_type(&self) -> bool {
        self.message.is_none() && matches!(self.port.pipeline.expects, Expects::Kind(_))
    }

    /// All that they may be read as: as they came, and as the maps of the port make them.
    fn read_as(&self) -> impl Iterator<Item = &'a MessagePlan> {
        let any: &'a [PortMap] = match self.is_of_any_type() {
            true => &self.port.maps,
            false => &[],
        };
        let maps = self.mapped.into_iter().chain(any);
        self.message
            .into_iter()
            .chain(maps.filter_map(|map| map.to.as_deref()))
    }

    /// The type that they are known to be of.
    pub(crate) fn message_type(&self) -> Option<&'a str> {
        match self.mapped {
            Some(map) => map.to.as_ref()?.message_type.as_deref(),
            None => self.message?.message_type.as_deref(),
        }
    }

    /// What they are, for a person.
    pub(crate) fn in_words(&self) -> String {
        let failed = if self.failed { "a failed " } else { "the " };
        match self.message {
            Some(message) => format!(
                "{failed}message `{}` of `{}`",
                message.name, self.location.name
            ),
            None if self.failed => format!("a failed message of `{}`", self.location.name),
            None => format!("what `{}` receives", self.location.name),
        }
    }
}

/// The map that the port applies to these messages.
fn map_of<'a>(port: &'a ReceivePort, message: &MessagePlan) -> Option<&'a PortMap> {
    let message_type = message.message_type.as_deref()?;
    port.maps
        .iter()
        .find(|map| map.message_type == message_type)
}

fn promoted_from(message: &MessagePlan, name: &str) -> bool {
    let mut properties = message.promotions.properties();
    properties.any(|(property, _)| *property == name)
}

fn is(text: &str) -> Prospect {
    Prospect::Is(comparable(&Text::lossy(text).into()))
}

/// The filters of a port and of its groups.
pub(crate) fn filters(port: &SendPort) -> impl Iterator<Item = &Filter> {
    let groups = port.group_filters.iter().map(|(_, filter)| filter);
    port.filter.iter().chain(groups)
}

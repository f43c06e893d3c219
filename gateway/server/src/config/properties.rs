//! Properties that the gateway and its adapters set, and the question whether a name stands for any.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use quayside_engine::filter::Sight;
use quayside_model::{Severity, ValueType};

use super::{
    app::App,
    codes,
    report::{Report, SourceId},
    section::suggestion,
};

/// What a property is named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A filter: sees promoted properties.
    Filter,
    /// A template: sees all of them, and some more.
    Template,
    /// The key of an ordered port.
    Order,
    /// A dedupe key.
    Key,
}

/// Who sets a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setter {
    /// The gateway, for each message.
    Gateway,
    /// The gateway, for failed messages that are published.
    Failure,
    /// The adapter with this key.
    Adapter(&'static str),
}

/// A property with a namespace; `*` at the end stands for any name.
#[derive(Debug)]
pub(crate) struct System {
    name: &'static str,
    pub(crate) setter: Setter,
    uses: &'static [Use],
    /// What filters see in it, if that is the same in all messages.
    sight: Option<Sight>,
}

const ALL: &[Use] = &[Use::Filter, Use::Template, Use::Order, Use::Key];
const UNROUTED: &[Use] = &[Use::Template, Use::Order, Use::Key];
const UNKEYED: &[Use] = &[Use::Template, Use::Order];
const ROUTED: &[Use] = &[Use::Filter, Use::Template, Use::Order];
const HTTP: Setter = Setter::Adapter("http");
const FILE: Setter = Setter::Adapter("file");
const AMQP: Setter = Setter::Adapter("amqp");
const SHAREPOINT: Setter = Setter::Adapter("sharepoint");

const SYSTEM: &[System] = &[
    system("msg.type", Setter::Gateway, &[Use::Filter, Use::Template]),
    system("msg.origin", Setter::Gateway, &[Use::Filter, Use::Template]),
    system("msg.id", Setter::Gateway, &[Use::Filter, Use::Template]),
    system("msg.received", Setter::Gateway, &[Use::Template]),
    system("msg.party", Setter::Gateway, ALL),
    system("msg.sha256", Setter::Gateway, &[Use::Key]),
    system("delivery.id", Setter::Gateway, &[Use::Template]),
    system("validation.result", Setter::Gateway, ALL),
    system("validation.findings", Setter::Gateway, UNROUTED),
    system("interchange.id", Setter::Gateway, ROUTED),
    System {
        sight: Some(Sight::Number),
        ..system("interchange.no", Setter::Gateway, ROUTED)
    },
    System {
        sight: Some(Sight::Truth),
        ..system("interchange.last", Setter::Gateway, ROUTED)
    },
    system("interchange.records", Setter::Gateway, UNKEYED),
    system("interchange.line", Setter::Gateway, UNKEYED),
    failure("error.code", ROUTED),
    failure("error.message-id", ROUTED),
    failure("error.message-type", ROUTED),
    failure("error.send-port", ROUTED),
    failure("error.receive-port", ROUTED),
    failure("error.receive-location", ROUTED),
    failure("error.detail", &[Use::Template, Use::Order]),
    system("http.method", HTTP, ALL),
    system("http.path", HTTP, ALL),
    system("http.client", HTTP, ALL),
    system("http.header.*", HTTP, ALL),
    system("http.query.*", HTTP, ALL),
    system("http.remote", HTTP, UNROUTED),
    system("http.client_certificate", HTTP, UNROUTED),
    system("http.client_subject", HTTP, UNROUTED),
    system("ce.*", HTTP, ALL),
    system("file.name", FILE, ALL),
    system("file.folder", FILE, ALL),
    system("file.size", FILE, UNROUTED),
    system("file.modified", FILE, UNROUTED),
    system("sharepoint.name", SHAREPOINT, ALL),
    system("sharepoint.folder", SHAREPOINT, ALL),
    system("sharepoint.library", SHAREPOINT, ALL),
    system("sharepoint.site", SHAREPOINT, ALL),
    system("sharepoint.id", SHAREPOINT, UNROUTED),
    system("sharepoint.version", SHAREPOINT, UNROUTED),
    system("sharepoint.label", SHAREPOINT, UNROUTED),
    system("sharepoint.etag", SHAREPOINT, UNROUTED),
    system("sharepoint.path", SHAREPOINT, UNROUTED),
    system("sharepoint.size", SHAREPOINT, UNROUTED),
    system("sharepoint.item", SHAREPOINT, UNROUTED),
    system("sharepoint.created", SHAREPOINT, UNROUTED),
    system("sharepoint.created_by", SHAREPOINT, UNROUTED),
    system("sharepoint.modified", SHAREPOINT, UNROUTED),
    system("sharepoint.modified_by", SHAREPOINT, UNROUTED),
    System {
        // What a column holds is as its type says.
        sight: None,
        ..system("sharepoint.column.*", SHAREPOINT, ALL)
    },
    system("amqp.queue", AMQP, ALL),
    system("amqp.routing-key", AMQP, ALL),
    system("amqp.message-id", AMQP, ALL),
    system("amqp.correlation-id", AMQP, ALL),
    system("amqp.reply-to", AMQP, ALL),
    system("amqp.type", AMQP, ALL),
    system("amqp.app-id", AMQP, ALL),
    seen("amqp.header.*", ALL, None),
    system("amqp.redelivered", AMQP, UNROUTED),
    system("amqp.key-reused", AMQP, UNROUTED),
    system("amqp.timestamp", AMQP, UNROUTED),
    system("amqp.priority", AMQP, UNROUTED),
    system("msmq.label", AMQP, ALL),
    system("msmq.correlation-id", AMQP, ALL),
    seen("msmq.priority", ALL, Some(Sight::Number)),
    seen("msmq.app-specific", ALL, Some(Sight::Number)),
    seen("msmq.class", ALL, Some(Sight::Number)),
    seen("msmq.use-dead-letter-queue", ALL, Some(Sight::Truth)),
    system("msmq.use-journal-queue", AMQP, UNROUTED),
    system("msmq.id", AMQP, UNROUTED),
    system("msmq.body-type", AMQP, UNROUTED),
    system("msmq.extension", AMQP, UNROUTED),
    system("msmq.acknowledge", AMQP, UNROUTED),
    system("msmq.administration-queue", AMQP, UNROUTED),
    system("msmq.response-queue", AMQP, UNROUTED),
    system("msmq.time-to-be-received", AMQP, UNROUTED),
    system("msmq.deadline", AMQP, UNROUTED),
    system("msmq.sent-time", AMQP, UNROUTED),
    system("msmq.arrived-time", AMQP, UNROUTED),
    system("msmq.source-machine", AMQP, UNROUTED),
    system("msmq.destination-queue", AMQP, UNROUTED),
    system("msmq.recoverable", AMQP, UNROUTED),
    system("msmq.transactional", AMQP, UNROUTED),
    system("msmq.transaction-id", AMQP, UNROUTED),
    system("msmq.first-in-transaction", AMQP, UNROUTED),
    system("msmq.last-in-transaction", AMQP, UNROUTED),
    system("msmq.abort-count", AMQP, UNROUTED),
    system("msmq.move-count", AMQP, UNROUTED),
    system("msmq.sender-id", AMQP, UNROUTED),
];

/// What the names of headers begin with.
const HEADERS: &str = "http.header.";

/// The groups in which names have hyphens. What stands in them is seldom a number, and no number is
/// subtracted from it.
const HYPHENED: [&str; 6] = [
    "error",
    "http.header",
    "http.query",
    "amqp.header",
    "amqp",
    "msmq",
];

const fn system(name: &'static str, setter: Setter, uses: &'static [Use]) -> System {
    let sight = Some(Sight::Text);
    System {
        name,
        setter,
        uses,
        sight,
    }
}

/// What comes from a queue and is not text.
const fn seen(name: &'static str, uses: &'static [Use], sight: Option<Sight>) -> System {
    System {
        sight,
        ..system(name, AMQP, uses)
    }
}

/// What a failed message that is published has.
const fn failure(name: &'static str, uses: &'static [Use]) -> System {
    system(name, Setter::Failure, uses)
}

impl System {
    /// Whether it can be used so.
    pub(crate) fn serves(&self, purpose: Use) -> bool {
        self.uses.contains(&purpose)
    }

    fn covers(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            // Headers are kept in lower case, so that another spelling is never there.
            Some(prefix) if prefix == HEADERS && name.contains(char::is_uppercase) => false,
            Some(prefix) => name.len() > prefix.len() && name.starts_with(prefix),
            None => self.name == name,
        }
    }

    /// Whether `name` is a part of the way to it: filters see `http` and `http.header` as maps.
    fn is_below(&self, name: &str) -> bool {
        self.name
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    }
}

/// The group of `name`, if only the gateway sets what is in it.
pub(crate) fn reserved_group(name: &str) -> Option<&str> {
    let group = name.split('.').next()?;
    let own = |system: &&System| matches!(system.setter, Setter::Gateway | Setter::Failure);
    let mut own = SYSTEM.iter().filter(own);
    own.any(|system| system.name.split('.').next() == Some(group))
        .then_some(group)
}

/// `name` as a filter has to write it: what is no variable of the language stands in brackets.
fn in_filter(name: &str) -> String {
    let group = HYPHENED.iter().find(|group| {
        let rest = name.strip_prefix(*group);
        rest.is_some_and(|rest| rest.starts_with('.') && rest.contains('-'))
    });
    match group {
        Some(group) => format!("{group}['{}']", &name[group.len() + 1..]),
        None => name.to_owned(),
    }
}

/// The names in a filter whose hyphen is read as a minus, as in `error.message-id`: where each stands,
/// and how it has to be written.
pub(crate) fn hyphened(filter: &str) -> Vec<(Range<usize>, String)> {
    let mut found = Vec::new();
    let mut quote = None;
    let mut begin = None;
    let mut is_escaped = false;
    // A space at the end ends the last name, too.
    for (at, c) in filter.char_indices().chain([(filter.len(), ' ')]) {
        if let Some(open) = quote {
            if c == open && !is_escaped {
                quote = None;
            }
            is_escaped = c == '\\' && !is_escaped;
            continue;
        }
        if c.is_alphanumeric() || "_.-".contains(c) {
            begin.get_or_insert(at);
            continue;
        }
        if let Some(begin) = begin.take() {
            let name = &filter[begin..at];
            // Of a header the spelling that is meant is known as well.
            let meant = match name.starts_with(HEADERS) {
                true => in_filter(&name.to_lowercase()),
                false => in_filter(name),
            };
            if meant.ends_with(']') {
                found.push((begin..at, meant));
            }
        }
        if matches!(c, '\'' | '"') {
            quote = Some(c);
        }
    }
    found
}

/// The names of all of them.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SYSTEM.iter().map(|system| system.name)
}

/// The properties that `name` stands for: one, or those below it.
pub(crate) fn system_properties(name: &str) -> impl Iterator<Item = &'static System> {
    let exact = SYSTEM.iter().find(|system| system.covers(name));
    let below = SYSTEM
        .iter()
        .filter(move |system| exact.is_none() && system.is_below(name));
    exact.into_iter().chain(below)
}

/// A property that something names.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) source: SourceId,
    pub(crate) at: usize,
    pub(crate) property: String,
    /// The setting.
    pub(crate) by: String,
    pub(crate) purpose: Use,
}

/// What the messages of all applications promote, with the types that they give it.
#[derive(Debug, Default)]
pub(crate) struct Promoted<'a> {
    types: BTreeMap<&'a str, BTreeSet<Kind>>,
    /// Whether anything is received at all: if not, the messages are defined elsewhere.
    receives: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Text,
    Number,
    Truth,
    /// The rule of the property is wrong, so that its type is not known.
    Any,
}

impl<'a> Promoted<'a> {
    /// Of these applications.
    pub(crate) fn of(apps: &'a [App]) -> Self {
        let mut types: BTreeMap<&str, BTreeSet<Kind>> = BTreeMap::new();
        for app in apps {
            for name in &app.promoted {
                let known = app.outlines.iter().filter_map(|o| o.rules.get(name));
                let mut kinds: BTreeSet<Kind> =
                    known.map(|rule| kind_of(rule.value_type)).collect();
                if kinds.is_empty() || app.unread.contains(name) {
                    kinds.insert(Kind::Any);
                }
                types.entry(name).or_default().extend(kinds);
            }
        }
        let receives = apps
            .iter()
            .any(|app| !app.receive.is_empty() || !app.is_whole);
        Self { types, receives }
    }

    /// What filters see in the property, if that is the same in all messages.
    pub(crate) fn sight(&self, name: &str) -> Option<Sight> {
        if let Some(system) = SYSTEM.iter().find(|system| system.covers(name)) {
            return system.sight;
        }
        let kinds = self.types.get(name)?;
        match (kinds.len(), kinds.first()?) {
            (1, Kind::Text) => Some(Sight::Text),
            (1, Kind::Number) => Some(Sight::Number),
            (1, Kind::Truth) => Some(Sight::Truth),
            _ => None,
        }
    }

    /// Whether anything sets the property so that it can be used for this purpose.
    pub(crate) fn knows(&self, name: &str, purpose: Use) -> bool {
        self.types.contains_key(name) || system_properties(name).any(|s| s.serves(purpose))
    }

    /// Reports a name that stands for nothing.
    pub(crate) fn check(&self, report: &Report, wanted: &Wanted) {
        let Wanted {
            property,
            by,
            purpose,
            ..
        } = wanted;
        if self.knows(property, *purpose) {
            return;
        }
        let near = || self.near(property, *purpose);
        let (message, help) = if system_properties(property).next().is_some() {
            let message = format!("`{by}` names `{property}`, which {}", not_for(*purpose));
            (message, Some(instead_of(*purpose)))
        } else if property.starts_with(HEADERS) && property.len() > HEADERS.len() {
            let lower = property.to_lowercase();
            let meant = match purpose {
                Use::Filter => in_filter(&lower),
                _ => lower,
            };
            let message = format!(
                "`{by}` names `{property}`, but the names of headers are in lower case: write `{meant}`"
            );
            (message, Some(NEVER_THERE))
        } else if property.contains('.') {
            let message = format!("`{by}` names `{property}`, which nothing sets{}", near());
            (message, Some(NEVER_THERE))
        } else {
            let message = format!(
                "`{by}` names the property `{property}`, which no message promotes{}",
                near()
            );
            (message, None)
        };
        let severity = if self.receives {
            Severity::Error
        } else {
            Severity::Warning
        };
        let place = Some((wanted.source, wanted.at));
        let help = help.map(str::to_owned);
        report.add(codes::NEVER_PROMOTED, severity, place, message, help);
    }

    /// The name that is probably meant, as it has to be written there.
    fn near(&self, property: &str, purpose: Use) -> String {
        let mut near = suggestion(property, &self.names(property, purpose));
        if purpose == Use::Filter {
            for system in SYSTEM.iter().filter(|system| system.name.contains('-')) {
                let name = |name: &str| format!("`{name}`");
                near = near.replace(&name(system.name), &name(&in_filter(system.name)));
            }
        }
        near
    }

    /// The names that may be meant: of the same namespace, or what is promoted.
    fn names(&self, property: &str, purpose: Use) -> Vec<&str> {
        let Some((namespace, _)) = property.split_once('.') else {
            return self.types.keys().copied().collect();
        };
        let system = SYSTEM.iter().filter(|s| s.serves(purpose));
        let mut names: Vec<&str> = system.map(|s| s.name).collect();
        if names
            .iter()
            .any(|name| name.split('.').next() == Some(namespace))
        {
            names.retain(|name| name.split('.').next() == Some(namespace));
        }
        names
    }
}

const NEVER_THERE: &str = "Correct the name: as it is, the value is never there.";

fn kind_of(value_type: ValueType) -> Kind {
    match value_type {
        ValueType::String | ValueType::DateTime => Kind::Text,
        ValueType::Integer | ValueType::Decimal => Kind::Number,
        ValueType::Boolean => Kind::Truth,
    }
}

fn not_for(purpose: Use) -> &'static str {
    match purpose {
        Use::Filter => "filters do not see: it is kept and shown, but routes nothing",
        Use::Template => "templates do not know",
        Use::Order => "is no property of a message that could order",
        Use::Key => "is no key: it does not come from the sender",
    }
}

/// What can be used where a property of the gateway's own cannot.
fn instead_of(purpose: Use) -> &'static str {
    match purpose {
        Use::Filter => {
            "Name a property that filters see: docs/configuration.md, under Properties, lists them."
        }
        Use::Template => {
            "Name a property that templates know: docs/configuration.md, under Properties, lists them."
        }
        Use::Order => {
            "Name what the message promotes or its adapter tells, such as `amqp.queue` or `http.path` for one order \
             of all that came there."
        }
        Use::Key => {
            "Name what the sender gives: docs/configuration.md, under Properties, lists it."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_by_what_they_are_used_for() {
        let promoted = Promoted::default();
        for (name, filter, template, order, key) in [
            ("msg.type", true, true, false, false),
            ("msg.received", false, true, false, false),
            ("msg.sha256", false, false, false, true),
            ("msg.typ", false, false, false, false),
            ("http.header", true, true, true, true),
            ("http.header.x-id", true, true, true, true),
            ("http.header.X-Id", false, false, false, false),
            ("http.query.Id", true, true, true, true),
            ("http.remote", false, true, true, true),
            ("http.metod", false, false, false, false),
            ("ce.type", true, true, true, true),
            ("error.code", true, true, true, false),
            ("file", true, true, true, true),
            ("OrderId", false, false, false, false),
            ("msmq.label", true, true, true, true),
            ("msmq.app-specific", true, true, true, true),
            ("msmq.body-type", false, true, true, true),
            ("msmq.lable", false, false, false, false),
        ] {
            let known = |purpose| promoted.knows(name, purpose);
            let found = (
                known(Use::Filter),
                known(Use::Template),
                known(Use::Order),
                known(Use::Key),
            );
            assert_eq!(found, (filter, template, order, key), "{name}");
        }
    }

    #[test]
    fn numbers_and_truths_of_queues_are_seen_as_such() {
        let promoted = Promoted::default();
        for (name, sight) in [
            ("msmq.label", Some(Sight::Text)),
            ("msmq.priority", Some(Sight::Number)),
            ("msmq.use-dead-letter-queue", Some(Sight::Truth)),
            ("amqp.header.x", None),
        ] {
            assert_eq!(promoted.sight(name), sight, "{name}");
        }
    }

    #[test]
    fn a_hyphen_in_a_name_of_a_filter_is_found() {
        for (filter, wanted) in [
            ("error.message-id == 'a'", "error['message-id']"),
            (
                "'a'==http.header.x-foo&&!(http.query.a-b != 'b')",
                "http.header['x-foo'] http.query['a-b']",
            ),
            ("http.header.X-Foo == 'a'", "http.header['x-foo']"),
            ("http.header['x-foo'] == 'a'", ""),
            (
                "http.header['x-foo'] == http.header.a-b",
                "http.header['a-b']",
            ),
            ("Total-Discount > 1 && error.code != ''", ""),
            (
                "Note == 'it\\'s error.message-id' && Note != \"error.send-port\"",
                "",
            ),
            ("size(http.header.x) - 1 > 0", ""),
            (
                "msmq.app-specific == 5 && amqp.header.x-y == 'a'",
                "msmq['app-specific'] amqp.header['x-y']",
            ),
        ] {
            let found: Vec<String> = hyphened(filter)
                .into_iter()
                .map(|(_, meant)| meant)
                .collect();
            assert_eq!(found.join(" "), wanted, "{filter}");
        }
    }
}

//! Whether what the parts of a configuration ask for comes to them: filters that can match, templates
//! that can be filled, keys that messages have.

use std::collections::BTreeSet;

use quayside_engine::{
    filter::{Filter, Prospect},
    plan::{SendPort, TransportPlan},
    template::Template,
};
use quayside_model::Name;

use super::{
    app::{App, Placed},
    codes,
    properties::{Promoted, Use, Wanted},
    reach::{self, Origin},
    report::{Report, SourceId},
    section::{list, suggestion},
    transport::Adapters,
};

/// A setting: its file and place, and its name for people.
#[derive(Debug, Clone)]
struct Setting {
    source: SourceId,
    at: usize,
    name: String,
}

/// The setting that `path` of an application leads to, or the last part of the way that is there.
fn setting(app: &App, path: &[&str]) -> Setting {
    let keys: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
    Setting {
        source: app.at.0,
        at: app.root.nearest(&keys).key_at,
        name: path.join("."),
    }
}

/// The name of a part of an application without that of the application.
fn short<'n>(app: &App, name: &'n Name) -> &'n str {
    name.strip_prefix(app.name.as_str())
        .and_then(|rest| rest.strip_prefix('.'))
        .unwrap_or(name)
}

/// Checks every name of a property, every filter and every template.
pub(crate) fn check(report: &Report, apps: &[App], adapters: &Adapters) {
    let promoted = Promoted::of(apps);
    for wanted in apps.iter().flat_map(|app| &app.wanted) {
        promoted.check(report, wanted);
    }
    // Where a part could not be read, what comes in is not known, and nothing can be said about it.
    let whole = apps.iter().all(|app| app.is_whole);
    // What orchestrations publish is not followed.
    let whole = whole && apps.iter().all(|app| app.orchestrations.is_empty());
    let origins = if whole {
        reach::origins(apps)
    } else {
        Vec::new()
    };
    for app in apps {
        for port in &app.send {
            let checking = Checking {
                report,
                promoted: &promoted,
                origins: &origins,
                app,
                port,
            };
            checking.filters();
            checking.templates(adapters);
            checking.order();
        }
        // Of what is not whole the names and comparisons are looked at, but not what comes to it.
        for port in &app.unsound {
            let checking = Checking {
                report,
                promoted: &promoted,
                origins: &[],
                app,
                port,
            };
            checking.filters();
            checking.templates(adapters);
        }
        keys(report, app, &promoted, &origins);
    }
}

/// What the checks of one send port need.
struct Checking<'a> {
    report: &'a Report,
    promoted: &'a Promoted<'a>,
    origins: &'a [Origin<'a>],
    app: &'a App,
    port: &'a Placed<SendPort>,
}

impl<'a> Checking<'a> {
    fn filters(&self) {
        let port = &self.port.value;
        let name = short(self.app, &port.name);
        if let Some(filter) = &port.filter {
            self.filter(filter, setting(self.app, &["send", name, "filter"]));
        }
        for (group, filter) in &port.group_filters {
            let group = short(self.app, group);
            self.filter(filter, setting(self.app, &["group", group, "filter"]));
        }
    }

    fn filter(&self, filter: &Filter, place: Setting) {
        let mismatches = filter.mismatches(&|name| self.promoted.sight(name));
        for error in &mismatches {
            let message = format!(
                "`{}`: {} (line {}, column {} of the expression)",
                place.name, error.message, error.line, error.column
            );
            self.report
                .error(codes::FILTER_KIND, place.source, place.at, message);
        }
        let mut names = filter.references().iter();
        let understood = names.all(|name| self.promoted.knows(name, Use::Filter));
        let possible = self.origins.iter().any(|origin| origin.can_match(filter));
        if possible || !understood || !mismatches.is_empty() || self.origins.is_empty() {
            return;
        }
        let (code, why) = self.why_never(filter);
        let message = format!("`{}` can never match: {why}", place.name);
        self.report.warning(code, place.source, place.at, message);
    }

    /// Why a filter matches none of the origins.
    fn why_never(&self, filter: &Filter) -> (quayside_model::Code, String) {
        let types: BTreeSet<&str> = self
            .origins
            .iter()
            .filter_map(Origin::message_type)
            .collect();
        let types: Vec<&str> = types.into_iter().collect();
        let asked = filter
            .equalities()
            .iter()
            .find(|term| term.property == "msg.type")
            .and_then(|term| term.literal.strip_prefix("s:"));
        if let Some(asked) = asked.filter(|asked| !types.contains(asked)) {
            let near = suggestion(asked, &types);
            let why = format!("no receive port takes messages of type `{asked}`{near}");
            return (codes::NOT_RECEIVED, why);
        }
        let nobody_has = |name: &&String| {
            let mut origins = self.origins.iter();
            origins.all(|origin| origin.know(name) == Prospect::Absent)
        };
        let missing: Vec<&str> = filter
            .references()
            .iter()
            .filter(nobody_has)
            .map(String::as_str)
            .collect();
        let why = match missing.as_slice() {
            [] => "no message that is received meets all of its terms".to_owned(),
            names if names.iter().all(|name| name.starts_with("error.")) => {
                "no port publishes its failures with `on_failure = \"publish\"`".to_owned()
            }
            names => format!("no message that is received has {}", list(names)),
        };
        (codes::NEVER_MATCHES, why)
    }

    fn reaching(&self) -> Vec<&'a Origin<'a>> {
        let origins = self.origins.iter();
        origins
            .filter(|origin| origin.reaches(&self.port.value))
            .collect()
    }

    fn templates(&self, adapters: &Adapters) {
        let port = &self.port.value;
        let transports = [
            ("primary", Some(&port.primary)),
            ("backup", port.backup.as_ref()),
        ];
        for (key, transport) in transports {
            let Some(transport) = transport else { continue };
            self.templates_of(key, transport, adapters);
        }
    }

    fn templates_of(&self, key: &str, transport: &TransportPlan, adapters: &Adapters) {
        let Some(adapter) = adapters.get(transport.adapter.as_str()) else {
            return;
        };
        let name = short(self.app, &self.port.value.name);
        let mut seen = BTreeSet::new();
        for (at, text) in adapter.templates(&transport.block) {
            // `url.0` is a part of `url`, `headers.x-id` the header of that name.
            let mut path = vec!["send", name, key, transport.adapter.as_str()];
            match at.split_once('.') {
                Some((setting, part)) if part.parse::<usize>().is_err() => {
                    path.extend([setting, part]);
                }
                Some((setting, _)) => path.push(setting),
                None => path.push(&at),
            }
            let place = setting(self.app, &path);
            let template = match Template::parse(&text) {
                Ok(template) => template,
                Err(error) => {
                    let message = format!("`{}`: {error}", place.name);
                    self.report
                        .error(codes::TEMPLATE, place.source, place.at, message);
                    continue;
                }
            };
            for property in template.references() {
                if seen.insert((place.at, property.to_owned())) {
                    self.filled(&place, property);
                }
            }
        }
    }

    /// A template without its value cannot be sent, so the message is suspended.
    fn filled(&self, place: &Setting, property: &str) {
        if !self.promoted.knows(property, Use::Template) {
            let wanted = Wanted {
                source: place.source,
                at: place.at,
                property: property.to_owned(),
                by: place.name.clone(),
                purpose: Use::Template,
            };
            return self.promoted.check(self.report, &wanted);
        }
        let reaching = self.reaching();
        let lacking: Vec<_> = reaching
            .iter()
            .filter(|origin| !origin.can_have(property, Use::Template))
            .collect();
        let Some(first) = lacking.first() else { return };
        let name = &self.port.value.name;
        if lacking.len() == reaching.len() {
            let message = format!(
                "`{}` names `{property}`, which no message that comes to `{name}` has",
                place.name
            );
            self.report
                .error(codes::OUT_OF_REACH, place.source, place.at, message);
        } else {
            let message = format!(
                "`{}` names `{property}`, which {} does not have: it would be suspended",
                place.name,
                first.in_words()
            );
            self.report
                .warning(codes::OUT_OF_REACH, place.source, place.at, message);
        }
    }

    fn order(&self) {
        let port = &self.port.value;
        let Some(order) = &port.ordered else { return };
        if !self.promoted.knows(&order.by, Use::Order) {
            return;
        }
        let lacking = self
            .reaching()
            .into_iter()
            .find(|origin| !origin.can_have(&order.by, Use::Order));
        if let Some(origin) = lacking {
            let name = short(self.app, &port.name);
            let place = setting(self.app, &["send", name, "ordered", "by"]);
            let message = format!(
                "`{}` names `{}`, which {} does not have: all such messages wait for each other",
                place.name,
                order.by,
                origin.in_words()
            );
            self.report
                .warning(codes::OUT_OF_REACH, place.source, place.at, message);
        }
    }
}

/// Dedupe keys that no message of their port has.
fn keys(report: &Report, app: &App, promoted: &Promoted<'_>, origins: &[Origin<'_>]) {
    for port in &app.receive {
        let name = short(app, &port.value.name);
        let own: Vec<_> = origins
            .iter()
            .filter(|origin| origin.port.name == port.value.name)
            .collect();
        for key in &port.value.dedupe.keys {
            let known = own.is_empty() || !promoted.knows(key, Use::Key);
            if known || own.iter().any(|origin| origin.can_have(key, Use::Key)) {
                continue;
            }
            let place = setting(app, &["receive", name, "dedupe", "key"]);
            let message = format!(
                "`{}` names `{key}`, which nothing that `{}` receives has",
                place.name, port.value.name
            );
            report.warning(codes::OUT_OF_REACH, place.source, place.at, message);
        }
    }
}

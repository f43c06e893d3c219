//! Rules between the parts of a configuration.

use std::collections::BTreeMap;

use quayside_engine::{
    filter::comparable,
    plan::{ReceivePort, SendPort},
};
use quayside_model::Text;

use super::{
    app::{App, Placed},
    codes,
    report::Report,
};

/// Checks everything that no single section can see.
pub(crate) fn check(report: &Report, apps: &[App], one_process: bool) {
    names(report, apps);
    subscriptions(report, apps);
    paths(report, apps, one_process);
    let answering: Vec<_> = apps
        .iter()
        .flat_map(|app| &app.send)
        .filter(|port| port.value.answers)
        .collect();
    for port in apps.iter().flat_map(|app| &app.receive) {
        two_way(report, port, &answering);
    }
}

/// Names of applications, and of everything an operator can name, are given once.
fn names(report: &Report, apps: &[App]) {
    let mut seen = BTreeMap::new();
    for app in apps {
        if seen.insert(app.name.clone(), app.at).is_some() {
            let message = format!("two applications are called `{}`", app.name);
            report.error(codes::DUPLICATE, app.at.0, app.at.1, message);
        }
    }
}

/// A send port without any subscription never sends.
fn subscriptions(report: &Report, apps: &[App]) {
    for port in apps.iter().flat_map(|app| &app.send) {
        if port.value.filter.is_none() && port.value.group_filters.is_empty() {
            let message = format!(
                "send port `{}` subscribes to nothing: it has no `filter` and is in no group",
                port.value.name
            );
            report.warning(codes::NOTHING_TO_DO, port.source, port.at, message);
        }
    }
}

/// Two HTTP locations on one path: only one of them would ever be asked. Hosts of a group may have
/// listeners of their own, so that only locations of one host are known to share one.
fn paths(report: &Report, apps: &[App], one_process: bool) {
    let mut seen: BTreeMap<(String, String, String), String> = BTreeMap::new();
    for port in apps.iter().flat_map(|app| &app.receive) {
        for location in port
            .value
            .locations
            .iter()
            .filter(|location| location.adapter == "http")
        {
            let text = |key: &str| location.block[key].as_str().unwrap_or_default().to_owned();
            let host = if one_process {
                String::new()
            } else {
                port.value.host.to_string()
            };
            let key = (host, text("listener"), text("path"));
            if let Some(first) = seen.get(&key) {
                let message = format!(
                    "`{first}` and `{}` both listen on the path {}",
                    location.name, key.2
                );
                report.error(codes::CLASH, port.source, port.at, message);
            }
            seen.insert(key, location.name.to_string());
        }
    }
}

/// A request must have exactly one subscriber that answers.
fn two_way(report: &Report, port: &Placed<ReceivePort>, answering: &[&Placed<SendPort>]) {
    if port.value.answer_within.is_none() {
        return;
    }
    let fitting: Vec<&str> = answering
        .iter()
        .filter(|send| may_fit(&port.value, &send.value))
        .map(|send| send.value.name.as_str())
        .collect();
    let name = &port.value.name;
    let message = match fitting.as_slice() {
        [_] => return,
        [] => format!("`{name}` waits for an answer, but no send port with `answers = true` fits"),
        several => format!(
            "`{name}` waits for one answer, but {} send ports would answer: {}",
            several.len(),
            several.join(", ")
        ),
    };
    report.error(codes::TWO_WAY, port.source, port.at, message);
}

/// Whether a message of the receive port may fit a filter of the send port, as far as the type of the
/// message tells.
fn may_fit(receive: &ReceivePort, send: &SendPort) -> bool {
    let types: Vec<&str> = receive
        .messages
        .iter()
        .filter_map(|m| m.message_type.as_deref())
        .collect();
    // Without a type, or with a filter that asks for none, anything may fit.
    let any_type = types.is_empty() || types.len() < receive.messages.len();
    let groups = send.group_filters.iter().map(|(_, filter)| filter);
    send.filter.iter().chain(groups).any(|filter| {
        let wanted = filter
            .equalities()
            .iter()
            .find(|term| term.property == "msg.type");
        let is =
            |name: &&str| wanted.is_none_or(|w| w.literal == comparable(&Text::lossy(name).into()));
        any_type || types.iter().any(is)
    })
}

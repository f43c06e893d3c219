//! The policies of clustered hosts: where one runs, when it moves, and how patient its agent is.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use quayside_adapter_api::{Block, Span};
use quayside_lease::{Failback, Limit, Limits, OnDeath, Policy, Quarantine};
use quayside_model::{Name, Severity};

use super::{
    app::App,
    codes,
    group::{Group, Host},
    report::Report,
    section::{Section, is_name, list, suggestion},
    spans::{Node, Value},
};

/// The longest time that a limit counts over: the store forgets moves and lost sessions after a day.
const WITHIN_MAX: Span = Span::secs(24 * HOUR);
const HOUR: u64 = 3600;
/// The most that a limit counts.
const TIMES_MAX: u32 = 100;
/// The slowest heartbeat of a connection of a clustered host: a broker that is told nothing notices a
/// paused owner after about three of them.
const HEARTBEAT_MAX: Span = Span::secs(5);

/// The policies of a host that these nodes may run. `None`: it is not clustered.
pub(super) fn read(
    host: &Section<'_>,
    members: &[String],
    quarantine: Quarantine,
) -> Option<Policy> {
    let node = host.get("clustered")?;
    let possible = members.iter();
    let possible = possible.filter_map(|member| Name::new(member.as_str()).ok());
    let mut policy = Policy::new(possible.collect());
    policy.limits.quarantine = quarantine;
    match node.value {
        Value::Boolean(clustered) => return clustered.then_some(policy),
        Value::Table(_) => {
            let section = host.section("clustered")?;
            policy = policies(&section, members, policy);
            section.finish();
        }
        // It is meant to be clustered all the same.
        _ => host.wrong(node, &host.name_of("clustered"), "true, false or a table"),
    }
    Some(policy)
}

fn policies(section: &Section<'_>, members: &[String], default: Policy) -> Policy {
    let preferred = preferred(section, members);
    let on_death = [("warm", OnDeath::Warm), ("restart", OnDeath::InPlace)];
    Policy {
        preferred: if preferred.is_empty() {
            default.preferred
        } else {
            preferred
        },
        possible: default.possible,
        with: with(section),
        spare: section.boolean("spare").unwrap_or(default.spare),
        on_death: section
            .choice("on_death", &on_death)
            .unwrap_or(default.on_death),
        failback: section
            .parsed::<Return>("failback")
            .map_or(default.failback, |Return(failback)| failback),
        limits: limits(section, default.limits),
    }
}

/// The preferred nodes, each a member and named once.
fn preferred(section: &Section<'_>, members: &[String]) -> Vec<Name> {
    let (mut preferred, mut seen) = (Vec::new(), BTreeSet::new());
    for (name, node) in section.texts("preferred") {
        if !members.is_empty() && !members.iter().any(|member| member == name) {
            let known: Vec<&str> = members.iter().map(String::as_str).collect();
            let message = format!(
                "`{}` names `{name}`, but the members of the host are {}",
                section.name_of("preferred"),
                list(&known)
            );
            section
                .report
                .error(codes::PLACEMENT, section.source, node.key_at, message);
        }
        once(section, "preferred", (name, node), &mut seen);
        preferred.extend(Name::new(name).ok());
    }
    preferred
}

/// The host that this one runs beside.
fn with(section: &Section<'_>) -> Option<Name> {
    let with = section.text("with")?;
    if !is_name(with) {
        section.error(codes::BAD_NAME, "with", format!("`{with}` is not a name"));
        return None;
    }
    Name::new(with).ok()
}

/// Refuses a second `name` in the list under `key`.
pub(super) fn once<'a>(
    section: &Section<'_>,
    key: &str,
    (name, node): (&'a str, &Node),
    seen: &mut BTreeSet<&'a str>,
) {
    if !seen.insert(name) {
        let message = format!("`{}` names `{name}` twice", section.name_of(key));
        section
            .report
            .error(codes::WRONG_VALUE, section.source, node.key_at, message);
    }
}

fn limits(section: &Section<'_>, default: Limits) -> Limits {
    let secs = |from, to| Span::secs(from)..=Span::secs(to);
    let span = |key, limits, default| span(section, key, limits, default);
    Limits {
        restarts: rate(section, "restarts", 0, default.restarts),
        // With none it would never leave a node that is lost.
        moves: rate(section, "moves", 1, default.moves),
        retry_failed: span("retry_failed", secs(10, 24 * HOUR), default.retry_failed),
        online_within: span("online_within", secs(1, HOUR), default.online_within),
        drain_within: span("drain_within", secs(1, HOUR), default.drain_within),
        // A process tells every 100 ms that it works.
        hang_after: span(
            "hang_after",
            Span::millis(300)..=Span::secs(60),
            default.hang_after,
        ),
        adapter_patience: span("adapter_patience", secs(1, HOUR), default.adapter_patience),
        failback_stable: span(
            "failback_stable",
            secs(0, 24 * HOUR),
            default.failback_stable,
        ),
        ..default
    }
}

/// `[quarantine]` of a group: when a node is left out by all clustered hosts.
pub(super) fn quarantine(file: &Section<'_>) -> Quarantine {
    let default = Limits::default().quarantine;
    let Some(section) = file.section("quarantine") else {
        return default;
    };
    let quarantine = Quarantine {
        lost: rate(&section, "lost", 1, default.lost),
        lasts: span(&section, "lasts", Span::secs(1)..=WITHIN_MAX, default.lasts),
    };
    section.finish();
    quarantine
}

/// The duration under `key`, within `limits`.
fn span(
    section: &Section<'_>,
    key: &str,
    limits: RangeInclusive<Span>,
    default: Duration,
) -> Duration {
    let Some(span) = section.parsed::<Span>(key) else {
        return default;
    };
    if !limits.contains(&span) {
        let (least, most) = (limits.start(), limits.end());
        let message = format!("`{}` must be from {least} to {most}", section.name_of(key));
        section.error(codes::LIMIT, key, message);
    }
    span.duration()
}

/// The limit under `key`, of at least so many times.
fn rate(section: &Section<'_>, key: &str, least: u32, default: Limit) -> Limit {
    let Some(Rate(limit)) = section.parsed::<Rate>(key) else {
        return default;
    };
    let within = Span::secs(1)..=WITHIN_MAX;
    if !(least..=TIMES_MAX).contains(&limit.times) || !within.contains(&Span::new(limit.within)) {
        let message = format!(
            "`{}` must be from {least} to {TIMES_MAX} times in a time from {} to {}",
            section.name_of(key),
            within.start(),
            within.end()
        );
        section.error(codes::LIMIT, key, message);
    }
    limit
}

/// A limit as text: `2 per 15m`.
#[derive(Debug, PartialEq, Eq)]
struct Rate(Limit);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(" per ").and_then(|(times, within)| {
            let within: Span = within.trim().parse().ok()?;
            let times = times.trim().parse().ok()?;
            Some(Limit {
                times,
                within: within.duration(),
            })
        });
        parsed
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a limit: write it as in `2 per 15m`"))
    }
}

/// When a host goes back, as text: `manual`, `always` or `22:00-04:00`.
#[derive(Debug, PartialEq, Eq)]
struct Return(Failback);

impl FromStr for Return {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "manual" => return Ok(Self(Failback::Manual)),
            "always" => return Ok(Self(Failback::Always)),
            _ => {}
        }
        let window = text.split_once('-').and_then(|(from, until)| {
            let from = minute(from).filter(|from| *from < DAY)?;
            // Midnight at the end of a day is that at the beginning of the next.
            Some((from, minute(until)? % DAY))
        });
        match window {
            None => Err(format!(
                "`{text}` is neither `manual` nor `always` nor a time of day (UTC) such as `22:00-04:00`"
            )),
            Some((from, until)) if from == until => {
                Err(format!("`{text}` has no end: write `always`"))
            }
            Some((from, until)) => Ok(Self(Failback::Within { from, until })),
        }
    }
}

/// The minutes of a day.
const DAY: u16 = 1440;

/// The minute of the day at `HH:MM`, up to 24:00.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |part: &str| -> Option<u16> {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let at = hour * 60 + minute;
    (minute < 60 && at <= DAY).then_some(at)
}

/// What a group goes back by, in the words of the configuration.
pub(crate) fn failback_text(failback: Failback) -> String {
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    match failback {
        Failback::Manual => "manual".to_owned(),
        Failback::Always => "always".to_owned(),
        Failback::Within { from, until } => format!("{}-{}", time(from), time(until)),
    }
}

/// Checks the clustered hosts of a group's file against each other.
pub(super) fn check(file: &Section<'_>, hosts: &BTreeMap<String, Host>) {
    for (name, host) in hosts {
        let Some(policy) = &host.clustered else {
            continue;
        };
        let path = ["host", name, "clustered", "with"].map(str::to_owned);
        if let [member] = host.members.as_slice() {
            let at = file.node.nearest(&path[..3]).key_at;
            let message = format!("`host.{name}` is clustered, but `{member}` is its only member");
            file.report.warning(codes::ALONE, file.source, at, message);
        }
        let Some(lead) = &policy.with else { continue };
        let fault = match beside(name, host, lead, hosts) {
            Ok(None) => continue,
            Ok(Some(warning)) => (Severity::Warning, warning),
            Err(error) => (Severity::Error, error),
        };
        let at = Some((file.source, file.node.nearest(&path).key_at));
        let message = format!("`host.{name}.clustered.with`: {}", fault.1);
        file.report
            .add(codes::PLACEMENT, fault.0, at, message, None);
    }
}

/// Whether the host can run where `lead` runs: why not, or where only one of them can.
fn beside(
    name: &str,
    host: &Host,
    lead: &Name,
    hosts: &BTreeMap<String, Host>,
) -> Result<Option<String>, String> {
    let Some(leading) = hosts.get(lead.as_str()) else {
        let known: Vec<&str> = hosts.keys().map(String::as_str).collect();
        let near = suggestion(lead, &known);
        return Err(format!("there is no host `{lead}`{near}"));
    };
    if lead.as_str() == name {
        return Err("it names the host itself".to_owned());
    }
    if leading.clustered.is_none() {
        return Err(format!(
            "`{lead}` is not clustered, so that it runs on all of its members"
        ));
    }
    if let Some(round) = round(name, hosts) {
        return Err(format!(
            "each of these would wait for the next one: {}",
            round.join(", ")
        ));
    }
    let missing: Vec<&str> = leading
        .members
        .iter()
        .filter(|member| !host.members.contains(member))
        .map(String::as_str)
        .collect();
    if missing.len() == leading.members.len() {
        return Err(format!("`{lead}` has no member in common with the host"));
    }
    let none = missing.is_empty();
    let lost = format!(
        "while `{lead}` runs on {}, `{name}` runs nowhere, because that is no member of it",
        list(&missing)
    );
    Ok((!none).then_some(lost))
}

/// The hosts from `name` on, each of which runs with the next, if the last one runs with `name`.
fn round<'a>(name: &'a str, hosts: &'a BTreeMap<String, Host>) -> Option<Vec<&'a str>> {
    let next = |name: &str| hosts.get(name)?.clustered.as_ref()?.with.as_deref();
    let mut way = vec![name];
    while let Some(lead) = next(way[way.len() - 1]) {
        if lead == name {
            way.push(name);
            return Some(way);
        }
        if way.contains(&lead) {
            return None;
        }
        way.push(lead);
    }
    None
}

/// Refuses slow heartbeats of connections to brokers in clustered hosts.
pub(super) fn check_ports(report: &Report, group: &Group, apps: &[App]) {
    for app in apps {
        let receive = app.receive.iter().map(|port| &port.value);
        for port in receive.filter(|port| group.is_clustered(&port.host)) {
            for location in &port.locations {
                let mut names = location.name.splitn(3, '.').skip(1);
                let names = [names.next(), names.next()].map(Option::unwrap_or_default);
                let used = Used {
                    name: &location.name,
                    host: &port.host,
                    block: &location.block,
                    path: &["receive", names[0], "location", names[1]],
                };
                used.check(report, app, &location.adapter);
            }
        }
        let send = app.send.iter().map(|port| &port.value);
        for port in send.filter(|port| group.is_clustered(&port.host)) {
            let (_, name) = port.name.split_once('.').unwrap_or_default();
            let backup = port.backup.as_ref().map(|backup| ("backup", backup));
            for (part, transport) in [("primary", &port.primary)].into_iter().chain(backup) {
                let used = Used {
                    name: &port.name,
                    host: &port.host,
                    block: &transport.block,
                    path: &["send", name, part],
                };
                used.check(report, app, &transport.adapter);
            }
        }
    }
}

/// An adapter's block in a clustered host.
struct Used<'a> {
    name: &'a Name,
    host: &'a Name,
    block: &'a Block,
    /// Where the adapter's key stands.
    path: &'a [&'a str],
}

impl Used<'_> {
    fn check(&self, report: &Report, app: &App, adapter: &str) {
        let given = self.block["heartbeat"].as_str();
        let given = given.and_then(|text| text.parse::<Span>().ok());
        let Some(given) = given.filter(|given| adapter == "amqp" && *given > HEARTBEAT_MAX) else {
            return;
        };
        if self.block["takeover"].is_object() {
            // Who takes over closes the connections, and does not wait for the broker to notice.
            return;
        }
        let end = [adapter, "heartbeat"];
        let path = self.path.iter().chain(&end);
        let path: Vec<String> = path.map(|part| (*part).to_owned()).collect();
        let at = app.root.nearest(&path).key_at;
        let message = format!(
            "`{}` has a `heartbeat` of {given} in the clustered host `{}`",
            self.name, self.host
        );
        report.error(codes::HEARTBEAT, app.at.0, at, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_and_a_time() {
        let limit = |times, secs| {
            Some(Rate(Limit {
                times,
                within: Duration::from_secs(secs),
            }))
        };
        for (text, expected) in [
            ("2 per 15m", limit(2, 900)),
            ("0 per 1h30m", limit(0, 5400)),
            ("3  per  1h", limit(3, 3600)),
            ("2", None),
            ("2 per", None),
            ("per 15m", None),
            ("-1 per 15m", None),
            ("2 per 15", None),
            ("2/15m", None),
        ] {
            assert_eq!(text.parse::<Rate>().ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_host_goes_back_by_hand_always_or_at_a_time_of_day() {
        let within = |from, until| Ok(Return(Failback::Within { from, until }));
        let wrong = |said: &str| Err(said.to_owned());
        let form = "is neither `manual` nor `always` nor a time of day (UTC) such as `22:00-04:00`";
        for (text, expected) in [
            ("manual", Ok(Return(Failback::Manual))),
            ("always", Ok(Return(Failback::Always))),
            ("22:00-04:00", within(1320, 240)),
            ("08:30-24:00", within(510, 0)),
            ("00:00-23:59", within(0, 1439)),
            (
                "00:00-24:00",
                wrong("`00:00-24:00` has no end: write `always`"),
            ),
            (
                "04:00-04:00",
                wrong("`04:00-04:00` has no end: write `always`"),
            ),
            ("24:00-04:00", wrong(&format!("`24:00-04:00` {form}"))),
            ("22:00-24:01", wrong(&format!("`22:00-24:01` {form}"))),
            ("22:60-04:00", wrong(&format!("`22:60-04:00` {form}"))),
            ("22-04", wrong(&format!("`22-04` {form}"))),
            ("8:00-9:00", wrong(&format!("`8:00-9:00` {form}"))),
            ("+8:00-09:00", wrong(&format!("`+8:00-09:00` {form}"))),
            ("", wrong(&format!("`` {form}"))),
        ] {
            let parsed = text.parse::<Return>();
            assert_eq!(parsed, expected, "{text}");
            if let Ok(Return(failback)) = parsed {
                let again = failback_text(failback).parse::<Return>();
                assert_eq!(again, Ok(Return(failback)), "{text}");
            }
        }
    }
}

//! Rules between the parts of a configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use quayside_engine::plan::{Location, ReceivePort};
use quayside_model::{Code, Severity};

use super::{
    app::{App, Placed},
    codes,
    reach::{self, Origin},
    report::Report,
    rounds,
};

/// Checks everything that no single section can see.
pub(crate) fn check(report: &Report, apps: &[App], one_process: bool) {
    names(report, apps);
    subscriptions(report, apps);
    places(report, apps, one_process);
    empty(report, apps);
    let origins = reach::origins(apps);
    for port in apps.iter().flat_map(|app| &app.receive) {
        two_way(report, port, &origins, apps);
    }
    rounds::check(report, apps, &origins);
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

/// An application that has only just been begun: no fault, but it does nothing.
fn empty(report: &Report, apps: &[App]) {
    let begun =
        |app: &&App| app.receive.is_empty() && app.send.is_empty() && app.orchestrations.is_empty();
    // With an error the rest of the application may be what is in error.
    if report.errors() > 0 {
        return;
    }
    for app in apps.iter().filter(begun) {
        let message = format!("the application `{}` has no port", app.name);
        report.warning(codes::NO_PORT, app.at.0, app.at.1, message);
    }
}

/// A send port without any subscription never sends, unless an orchestration sends to it.
fn subscriptions(report: &Report, apps: &[App]) {
    let plans = apps.iter().flat_map(|app| &app.orchestrations);
    let used = plans.flat_map(|one| {
        let ports = one.value.definition.ports().into_iter();
        ports.map(|port| one.value.full(&port))
    });
    let used: BTreeSet<_> = used.collect();
    // Which ports one sends to that cannot be read is not known.
    let whole = apps.iter().all(|app| app.runs_whole);
    for port in apps.iter().flat_map(|app| &app.send) {
        let quiet = port.value.filter.is_none() && port.value.group_filters.is_empty();
        if quiet && whole && !used.contains(&port.value.name) {
            let message = format!(
                "send port `{}` subscribes to nothing: it has no `filter` and is in no group",
                port.value.name
            );
            report.warning(codes::NOTHING_TO_DO, port.source, port.at, message);
        }
    }
}

/// What two locations of one adapter must not share.
struct Claim {
    adapter: &'static str,
    /// The settings that make the place; the first one is shown.
    keys: [&'static str; 2],
    /// The first one in the spelling that all that mean the same have.
    normal: fn(&str) -> String,
    /// Whether two values of the second one meet, where the first is the same.
    meets: fn(&str, &str) -> bool,
    /// Whether hosts may have a place of that name each: a listener of their own.
    by_host: bool,
    code: Code,
    severity: Severity,
    words: &'static str,
}

const CLAIMS: [Claim; 2] = [
    // Of two locations on one path only one would ever be asked.
    Claim {
        adapter: "http",
        keys: ["path", "listener"],
        normal: str::to_owned,
        meets: |one, other| one == other,
        by_host: true,
        code: codes::CLASH,
        severity: Severity::Error,
        words: "both listen on the path",
    },
    // Each file goes to the one that happens to see it first.
    Claim {
        adapter: "file",
        keys: ["folder", "pattern"],
        normal: normal_path,
        meets: overlap,
        by_host: false,
        code: codes::SAME_FILES,
        severity: Severity::Warning,
        words: "take the same files from",
    },
];

/// What one location claims.
struct Place<'a> {
    claim: &'static Claim,
    host: Option<&'a str>,
    first: String,
    second: &'a str,
    location: &'a str,
}

/// Two locations at one place. Of several hosts it is not known whether they share a listener.
fn places(report: &Report, apps: &[App], one_process: bool) {
    let mut seen: Vec<Place<'_>> = Vec::new();
    for (app, port, location) in locations(apps) {
        let mut claims = CLAIMS.iter();
        let Some(claim) = claims.find(|claim| claim.adapter == location.adapter) else {
            continue;
        };
        let [first, second] = claim
            .keys
            .map(|key| location.block[key].as_str().unwrap_or_default());
        let of_host = claim.by_host && !one_process;
        let place = Place {
            claim,
            host: of_host.then_some(port.value.host.as_str()),
            first: (claim.normal)(first),
            second,
            location: &location.name,
        };
        if let Some(other) = seen.iter().rev().find(|other| place.meets(other)) {
            let message = format!(
                "`{}` and `{}` {} {}",
                other.location, place.location, claim.words, place.first
            );
            let at = Some((port.source, place_of(app, location, claim.keys[0])));
            report.add(claim.code, claim.severity, at, message, None);
        }
        seen.push(place);
    }
}

impl Place<'_> {
    fn meets(&self, other: &Place<'_>) -> bool {
        self.claim.adapter == other.claim.adapter
            && self.host == other.host
            && self.first == other.first
            && (self.claim.meets)(self.second, other.second)
    }
}

/// A path without what means nothing: `./`, `//` and `/` at the end.
fn normal_path(path: &str) -> String {
    let parts = Path::new(path).components();
    let parts: PathBuf = parts.filter(|part| *part != Component::CurDir).collect();
    parts.display().to_string()
}

/// Whether there is a name that fits both patterns, of which one that is not given fits all.
fn overlap(one: &str, other: &str) -> bool {
    let chars = |pattern: &str| -> Vec<char> {
        match pattern {
            "" => vec!['*'],
            pattern => pattern.chars().collect(),
        }
    };
    let (one, other) = (chars(one), chars(other));
    // Row `i` tells of each rest of `other` whether a name fits it and the rest of `one` from `i` on.
    let mut below = vec![false; other.len() + 1];
    for i in (0..=one.len()).rev() {
        let mut row = vec![false; other.len() + 1];
        for j in (0..=other.len()).rev() {
            row[j] = match (one.get(i), other.get(j)) {
                (None, None) => true,
                (Some('*'), None) => below[j],
                (None, Some('*')) => row[j + 1],
                (None, Some(_)) | (Some(_), None) => false,
                (Some('*'), Some(_)) | (Some(_), Some('*')) => below[j] || row[j + 1],
                (Some(a), Some(b)) => (a == b || *a == '?' || *b == '?') && below[j + 1],
            };
        }
        below = row;
    }
    below[0]
}

fn locations(apps: &[App]) -> impl Iterator<Item = (&App, &Placed<ReceivePort>, &Location)> {
    apps.iter().flat_map(|app| {
        app.receive.iter().flat_map(move |port| {
            let locations = port.value.locations.iter();
            locations.map(move |location| (app, port, location))
        })
    })
}

/// Where `key` of a location stands.
fn place_of(app: &App, location: &Location, key: &str) -> usize {
    let mut names = location.name.splitn(3, '.').skip(1);
    let (port, name) = (
        names.next().unwrap_or_default(),
        names.next().unwrap_or_default(),
    );
    let path = ["receive", port, "location", name, &location.adapter, key];
    app.root.nearest(&path.map(str::to_owned)).key_at
}

/// A request must have exactly one subscriber that answers, whichever of its types it is of.
fn two_way(report: &Report, port: &Placed<ReceivePort>, origins: &[Origin<'_>], apps: &[App]) {
    if port.value.answer_within.is_none() {
        return;
    }
    let name = &port.value.name;
    let own = origins.iter().filter(|origin| origin.port.name == *name);
    for origin in own.filter(|origin| !origin.is_failed()) {
        let fitting: Vec<&str> = apps
            .iter()
            .flat_map(|app| &app.send)
            .filter(|send| send.value.answers && origin.reaches(&send.value))
            .map(|send| send.value.name.as_str())
            .chain(orchestrations(apps, origin))
            .collect();
        let message = match fitting.as_slice() {
            [_] => continue,
            // What cannot be read may be the one that answers: that fault is the one to tell.
            [] if !apps.iter().all(|app| app.sends_whole && app.runs_whole) => continue,
            [] => {
                format!(
                    "`{name}` waits for an answer, but no send port with `answers = true` fits, and no \
                     orchestration that answers"
                )
            }
            several => format!(
                "`{name}` waits for one answer, but {} would answer: {}",
                several.len(),
                several.join(", ")
            ),
        };
        report.error(codes::TWO_WAY, port.source, port.at, message);
    }
}

/// The orchestrations that answer what comes from `origin`.
fn orchestrations<'a>(apps: &'a [App], origin: &Origin<'_>) -> Vec<&'a str> {
    let plans = apps.iter().flat_map(|app| &app.orchestrations);
    plans
        .filter(|one| one.value.definition.answers() && origin.can_match(&one.value.subscription))
        .map(|one| one.value.name.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_if_a_name_fits_both() {
        for (one, other, meet) in [
            ("*.xml", "a*.xml", true),
            ("*.xml", "*.xml", true),
            ("*.xml", "*", true),
            ("", "order.xml", true),
            ("order*", "*.xml", true),
            ("a?.xml", "ab.*", true),
            ("*.xml", "*.json", false),
            ("a*.xml", "b*.xml", false),
            ("a?.xml", "abc.xml", false),
            ("*.xml", "*.xml.gz", false),
            ("a.xml", "b.xml", false),
        ] {
            assert_eq!(overlap(one, other), meet, "{one} {other}");
            assert_eq!(overlap(other, one), meet, "{other} {one}");
        }
    }

    #[test]
    fn a_path_is_the_same_however_it_is_spelled() {
        for path in ["/d/in", "/d/./in", "/d/in/", "/d//in/."] {
            assert_eq!(normal_path(path), "/d/in", "{path}");
        }
        assert_eq!(normal_path("./in"), "in");
        assert_eq!(normal_path("../in"), "../in");
    }
}

//! What a node under an agent measures of its cluster: where its clustered hosts stand, and how often they changed.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use quayside_model::{Name, Timestamp};
use quayside_store::{Cluster, StoreError, cluster::EventRow};

use super::{
    super::cluster::{HostState, Standing},
    number,
    text::Page,
};

/// Name and help of the gauges of each clustered host.
pub(super) const GAUGES: [(&str, &str); 7] = [
    (
        "quayside_cluster_host_state",
        "Whether the clustered host is in this state.",
    ),
    (
        "quayside_cluster_host_here",
        "Whether this node has the clustered host.",
    ),
    (
        "quayside_cluster_host_epoch",
        "The timeline of the store times 2^40, and the number of the ownership.",
    ),
    (
        "quayside_cluster_host_in_doubt",
        "Deliveries that may have been sent by an owner that died.",
    ),
    (
        "quayside_cluster_host_moves_used",
        "Moves because of a fault that count against the host.",
    ),
    (
        "quayside_cluster_host_moves_allowed",
        "How many of them the host may make.",
    ),
    (
        "quayside_cluster_host_candidates",
        "Other nodes that could take the clustered host.",
    ),
];

/// Name and help of the counter of changes.
pub(super) const TRANSITIONS: (&str, &str) = (
    "quayside_cluster_transitions_total",
    "Changes of state of clustered hosts on this node, since this process started.",
);

/// Name and help of the counter of how long states lasted.
pub(super) const LASTED: (&str, &str) = (
    "quayside_cluster_state_seconds_total",
    "How long clustered hosts were in states that they have left on this node, since this process started.",
);

/// How many changes are read at once. More than that between two scrapes are not counted.
const CHANGES: u32 = 1000;

/// The changes that this process has counted.
#[derive(Debug)]
pub(crate) struct Transitions {
    since: Timestamp,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// The last one that is.
    last: u64,
    /// By host, states before and after, and cause.
    changes: BTreeMap<(Name, String, String, String), u64>,
    /// By host and state: in seconds.
    lasted: BTreeMap<(Name, String), f64>,
}

impl Transitions {
    /// Counts what is recorded after `since`.
    pub(crate) fn after(since: Timestamp) -> Self {
        Self {
            since,
            counted: Mutex::default(),
        }
    }

    /// Counts what `node` has recorded since the last call.
    pub(super) async fn read(&self, cluster: &dyn Cluster, node: &Name) -> Result<(), StoreError> {
        let events = cluster.events(None, Some(node), CHANGES).await?;
        self.count(&events);
        Ok(())
    }

    fn count(&self, newest_first: &[EventRow]) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let last = counted.last;
        let fresh = |event: &&EventRow| event.no > last && event.stored_at >= self.since;
        for event in newest_first.iter().filter(fresh) {
            counted.last = counted.last.max(event.no);
            let Some(host) = event.group.clone().filter(|_| !event.is_word()) else {
                continue;
            };
            let (from, to) = (event.from.clone(), event.to.clone());
            let lasted = counted
                .lasted
                .entry((host.clone(), from.clone()))
                .or_default();
            *lasted += event.lasted.as_secs_f64();
            let change = (host, from, to, event.cause.clone());
            *counted.changes.entry(change).or_default() += 1;
        }
    }

    /// Writes them.
    pub(super) fn write(&self, page: &mut Page) {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        page.metric(TRANSITIONS.0, "counter", TRANSITIONS.1);
        for ((host, from, to, cause), count) in &counted.changes {
            let labels = [
                ("host", host.as_str()),
                ("from", from),
                ("to", to),
                ("cause", cause),
            ];
            page.value(TRANSITIONS.0, &labels, count);
        }
        page.metric(LASTED.0, "counter", LASTED.1);
        for ((host, state), lasted) in &counted.lasted {
            page.value(
                LASTED.0,
                &[("host", host.as_str()), ("state", state)],
                lasted,
            );
        }
    }
}

/// Writes where each host stands.
pub(super) fn write(page: &mut Page, standings: &[Standing], node: &Name) {
    for (name, help) in GAUGES {
        page.metric(name, "gauge", help);
    }
    let [state, here, epoch, in_doubt, used, allowed, candidates] = GAUGES.map(|(name, _)| name);
    for standing in standings {
        let host = ("host", standing.host.as_str());
        for (each, word) in HostState::ALL {
            let is = u64::from(each == standing.state);
            page.value(state, &[host, ("state", word)], is);
        }
        let has_it = standing.node.as_ref() == Some(node);
        page.value(here, &[host], u64::from(has_it));
        page.value(epoch, &[host], standing.epoch.raw());
        if let Some(count) = standing.in_doubt {
            page.value(in_doubt, &[host], number(count));
        }
        if let Some((spent, limit)) = standing.moves {
            page.value(used, &[host], spent);
            page.value(allowed, &[host], limit);
        }
        page.value(candidates, &[host], standing.candidates);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::cluster_samples;

    #[test]
    fn each_change_is_counted_once() {
        let name = |text: &str| Name::new(text).expect("a name");
        let moment = |secs: i64| Timestamp::from_micros(secs * 1_000_000);
        let event = |no: u64, to: &str| EventRow {
            no,
            group: Some(name("queues")),
            node: name("node-a"),
            from: if to.is_empty() { "" } else { "online" }.to_owned(),
            to: to.to_owned(),
            cause: "process ended".to_owned(),
            evidence: vec![],
            epoch: None,
            at: moment(0),
            stored_at: moment(i64::try_from(no).expect("small")),
            lasted: Duration::from_millis(1500),
        };
        let transitions = Transitions::after(moment(3));
        transitions.count(&[event(2, "standby")]);
        transitions.count(&[event(4, ""), event(3, "restarting"), event(2, "standby")]);
        transitions.count(&[event(5, "restarting"), event(4, ""), event(3, "restarting")]);
        let mut page = Page::default();
        transitions.write(&mut page);
        let text = page.text();
        let series =
            "{host=\"queues\",from=\"online\",to=\"restarting\",cause=\"process ended\"} 2\n";
        assert!(text.contains(series), "{text}");
        assert!(
            !text.contains("standby") && !text.contains("to=\"\""),
            "{text}"
        );
        assert!(
            text.contains("{host=\"queues\",state=\"online\"} 3\n"),
            "{text}"
        );
    }

    #[test]
    fn a_host_is_in_one_state() {
        for (word, standings) in cluster_samples::standings() {
            let mut page = Page::default();
            write(&mut page, &standings, &Name::new("node-a").expect("a name"));
            let text = page.text();
            let of = |value: &str| {
                let lines = text
                    .lines()
                    .filter(|line| line.starts_with("quayside_cluster_host_state{"));
                lines.filter(|line| line.ends_with(value)).count()
            };
            assert_eq!(
                (of(" 1"), of(" 0")),
                (1, HostState::ALL.len() - 1),
                "{word}: {text}"
            );
            let state = format!("state=\"{word}\"}} 1\n");
            assert!(text.contains(&state), "{word}: {text}");
        }
    }

    #[test]
    fn the_guide_names_every_metric_of_the_cluster_and_no_other() {
        let path = format!(
            "{}/../../docs/high-availability.md",
            env!("CARGO_MANIFEST_DIR")
        );
        let guide = std::fs::read_to_string(&path).expect("the guide");
        let named: std::collections::BTreeSet<&str> = guide
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("quayside_cluster_"))
            .collect();
        let names = GAUGES.map(|(name, _)| name).into_iter();
        let known = names.chain([TRANSITIONS.0, LASTED.0]).collect();
        assert_eq!(named, known);
    }
}

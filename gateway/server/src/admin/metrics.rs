//! `/metrics` in the text format of Prometheus.

mod cluster;
mod text;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use axum::{extract::State, http::header, response::IntoResponse};
use quayside_adapter_api::TroubleKind;
use quayside_engine::{Engine, PortView};
use quayside_model::{Name, Timestamp};
use quayside_store::measure::TransactionStats;

use super::{
    Admin, Processes,
    cluster::{self as standing, Standing},
    orchestrations::STATES,
};
pub(crate) use cluster::Transitions;
use text::{Joined, Page};

const READY: &str = "quayside_ready";
const INSTANCES: &str = "quayside_orchestration_instances";
/// How many of them are counted.
const COUNTED: u32 = 10_000;
/// How long the store may take to count what waits. A scrape must not hang because the store does.
const BACKLOG_WITHIN: Duration = Duration::from_secs(1);

/// All metrics. Only the backlog and what stands of the cluster come from the store; without it everything else is
/// still answered. A process that answers for its node adds what the others there say, each with its host.
pub(super) async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut page = Page::default();
    let health = admin.gateway.health();
    page.metric(
        READY,
        "gauge",
        "Whether messages can be accepted now, or the process stands by as it should.",
    );
    page.value(READY, &[], u64::from(health.ready || health.standby));
    page.metric("quayside_info", "gauge", "What runs.");
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("store", admin.gateway.store.dialect()),
    ];
    page.value("quayside_info", &labels, 1);
    // Before the engine is held, which this asks for too.
    let standings = of_the_cluster(&admin).await;
    if let Some(engine) = admin.gateway.engine().await.as_ref() {
        for (name, count) in engine.counters().each() {
            let name = format!("quayside_{name}_total");
            page.metric(
                &name,
                "counter",
                "Counted by the engine since its process started.",
            );
            page.value(&name, &[], count);
        }
        let counted = tokio::time::timeout(BACKLOG_WITHIN, engine.ports()).await;
        let (all, counted) = match counted {
            Ok(Ok(counted)) => (counted, true),
            _ => (Engine::ports_here(engine), false),
        };
        // Nothing works in a process that only answers for the others.
        let works = admin.joined.is_none();
        ports(&mut page, &all, works, counted);
        instances(&mut page, engine).await;
        if let Some(processes) = &admin.joined {
            of_the_others(&mut page, processes, &all, standings.as_deref()).await;
        }
    }
    transactions(&mut page, &admin.gateway.store.transactions().stats());
    if let Some(standings) = standings {
        admin.transitions.write(&mut page);
        cluster::write(&mut page, &standings, &admin.gateway.node);
    }
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        page.text(),
    )
}

/// What the processes of the hosts of this node say, but for what this one says as well. One that has to be there and
/// does not answer is not ready.
async fn of_the_others(
    page: &mut Page,
    processes: &Processes,
    ports: &[PortView],
    standings: Option<&[Standing]>,
) {
    let hosts: HashMap<&str, &Name> = ports.iter().map(|port| (&*port.name, &port.host)).collect();
    let told = processes.metrics().await;
    let mut joined = Joined::default();
    for (name, text) in &told {
        let host = processes.host_of(name);
        joined.add(host, text, &|metric, port| {
            let elsewhere = port.is_some_and(|port| hosts.get(port).is_none_or(|of| **of != host));
            !elsewhere && !name_of_backlog(metric) && metric != "quayside_info"
        });
    }
    page.join(joined);
    // A clustered host that operators do not want to run has no process anywhere.
    let wanted = |host: &Name| {
        let mut standings = standings.into_iter().flatten();
        standings.any(|standing| standing.host == *host && standing.online)
    };
    for (host, is_clustered) in processes.without(told.iter().map(|(name, _)| name.as_str())) {
        if !is_clustered || wanted(host) {
            page.value(READY, &[("host", host.as_str())], 0);
        }
    }
}

/// Where the clustered hosts stand, with their changes here counted, for whoever answers for a node of agents. Of a
/// store that does not answer in time none. `None`: there are no clustered hosts to answer for.
async fn of_the_cluster(admin: &Admin) -> Option<Vec<Standing>> {
    let cluster = admin.gateway.store.cluster()?;
    if admin.joined.is_none() || admin.policies.is_empty() {
        return None;
    }
    let asked = async {
        let node = &admin.gateway.node;
        admin.transitions.read(cluster, node).await.ok()?;
        standing::standings(admin).await.ok()
    };
    let standings = tokio::time::timeout(BACKLOG_WITHIN, asked).await;
    Some(standings.ok().flatten().unwrap_or_default())
}

/// Name, kind, help, and the value that a port has of it.
type PortMetric = (
    &'static str,
    &'static str,
    &'static str,
    fn(&PortView) -> Option<f64>,
);

/// What each port says of itself.
const OF_PORTS: [PortMetric; 8] = [
    (
        "quayside_port_up",
        "gauge",
        "Whether the port or location works in this process now.",
        |port| Some(f64::from(u8::from(port.running))),
    ),
    (
        "quayside_port_disconnected",
        "gauge",
        "Whether the port or location is open in this process and cannot reach its partner.",
        |port| Some(in_trouble(port, TroubleKind::Disconnected)),
    ),
    (
        "quayside_port_held_back",
        "gauge",
        "Whether the partner of the port or location takes nothing from this process now.",
        |port| Some(in_trouble(port, TroubleKind::BackPressure)),
    ),
    (
        "quayside_port_in_flight",
        "gauge",
        "Deliveries in hand in this process.",
        |port| Some(number(port.in_flight as u64)),
    ),
    (
        "quayside_port_done_total",
        "counter",
        "Deliveries that ended well; of a location, those taken in.",
        |port| Some(number(port.tally.done)),
    ),
    (
        "quayside_port_failed_attempts_total",
        "counter",
        "Attempts that failed and are made again; of a location, failures to open or receive.",
        |port| Some(number(port.tally.failed)),
    ),
    (
        "quayside_port_suspensions_total",
        "counter",
        "Deliveries that this process suspended.",
        |port| Some(number(port.tally.suspended)),
    ),
    (
        "quayside_port_last_success_timestamp_seconds",
        "gauge",
        "When the last delivery ended well in this process.",
        |port| port.tally.last_done_at.map(seconds),
    ),
];

/// What the store says of each port. The same on every node.
const BACKLOG: [PortMetric; 4] = [
    (
        "quayside_port_waiting",
        "gauge",
        "Deliveries in the store that nobody has in hand, counted up to 10000.",
        |port| Some(port.backlog.as_ref().map_or(0.0, |b| f64::from(b.ready))),
    ),
    (
        "quayside_port_claimed",
        "gauge",
        "Deliveries in the hands of any process, counted up to 10000.",
        |port| Some(port.backlog.as_ref().map_or(0.0, |b| f64::from(b.claimed))),
    ),
    (
        "quayside_port_held",
        "gauge",
        "Deliveries behind an earlier one of their order key, counted up to 10000.",
        |port| Some(port.backlog.as_ref().map_or(0.0, |b| f64::from(b.held))),
    ),
    (
        "quayside_port_suspended",
        "gauge",
        "Deliveries that wait for an operator, counted up to 10000.",
        |port| {
            Some(
                port.backlog
                    .as_ref()
                    .map_or(0.0, |b| f64::from(b.suspended)),
            )
        },
    ),
];

fn in_trouble(port: &PortView, kind: TroubleKind) -> f64 {
    let is_so = port.running && port.trouble.as_ref().is_some_and(|it| it.kind == kind);
    f64::from(u8::from(is_so))
}

/// What each port says of itself, if it can work here, and what the store says of it, if that was `counted`.
fn ports(page: &mut Page, ports: &[PortView], works: bool, counted: bool) {
    let own: &[PortMetric] = if works { &OF_PORTS } else { &[] };
    let backlog: &[PortMetric] = if counted { &BACKLOG } else { &[] };
    for (name, kind, help, read) in own.iter().chain(backlog) {
        page.metric(name, kind, help);
        for port in ports {
            let Some(value) = read(port) else { continue };
            // What is left of a port that the configuration has no more works nowhere.
            if port.kind == "removed" && !name_of_backlog(name) {
                continue;
            }
            let labels = [("port", port.name.as_str()), ("kind", port.kind)];
            page.value(name, &labels, value);
        }
    }
}

fn name_of_backlog(name: &str) -> bool {
    name == INSTANCES || BACKLOG.iter().any(|(of_backlog, ..)| *of_backlog == name)
}

/// What the store says of the instances of orchestrations: each state of each orchestration of the configuration, so that
/// an alarm sees it come back to 0, and what is left of others.
async fn instances(page: &mut Page, engine: &Engine) {
    let live = tokio::time::timeout(BACKLOG_WITHIN, engine.live_instances(COUNTED)).await;
    let Ok(Ok(live)) = live else { return };
    let mut counts: BTreeMap<Name, [u64; 4]> = engine
        .orchestrations()
        .into_iter()
        .map(|(name, ..)| (name, [0; 4]))
        .collect();
    for (name, state, count) in live {
        let of = counts.entry(name).or_default();
        if let Some(place) = of.get_mut(state as usize) {
            *place = count;
        }
    }
    page.metric(
        INSTANCES,
        "gauge",
        "Instances of orchestrations that are not over, counted up to 10000.",
    );
    for (name, counts) in counts {
        for (state, count) in STATES.into_iter().zip(counts) {
            let labels = [("orchestration", name.as_str()), ("state", state)];
            page.value(INSTANCES, &labels, count);
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the format knows floating point only; counts below 2^53 are exact"
)]
fn number(count: u64) -> f64 {
    count as f64
}

fn seconds(moment: Timestamp) -> f64 {
    number(u64::try_from(moment.as_micros()).unwrap_or_default()) / 1e6
}

fn transactions(page: &mut Page, stats: &[TransactionStats]) {
    let name = "quayside_store_transactions_total";
    page.metric(
        name,
        "counter",
        "Transactions of the store by name and end.",
    );
    for stat in stats {
        page.value(name, &[("name", stat.name), ("end", "done")], stat.done);
        page.value(name, &[("name", stat.name), ("end", "failed")], stat.failed);
    }
    let name = "quayside_store_transaction_seconds_total";
    page.metric(
        name,
        "counter",
        "The time that transactions of the store took.",
    );
    for stat in stats {
        page.value(name, &[("name", stat.name)], number(stat.micros) / 1e6);
    }
    let name = "quayside_store_transaction_items_total";
    page.metric(
        name,
        "counter",
        "How many items committed transactions held.",
    );
    for stat in stats {
        page.value(name, &[("name", stat.name)], stat.items);
    }
}

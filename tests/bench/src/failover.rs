//! How long nothing comes out when the owner of a clustered host is lost, or the host is moved.
//!
//! Two nodes with agents share a PostgreSQL store and a broker, and a clustered host moves messages between two
//! queues in the order of their keys, under a steady load. A consumer that is not ours tells when each message
//! came out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use quayside_harness::{
    App, Gateway, Node, Postgres, RabbitMq, look_for,
    rabbitmq::{Arrival, Confirmed, Consumer, Producer, ProducerPlan},
    unix_micros,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{programs, report::say};

/// The clustered host, and the nodes that may run it. Budgets are for nodes that are sick, and not for this.
const HOST: &str = "line";
const NODES: [&str; 2] = ["node-a", "node-b"];
const GROUP: &str = r#"
[quarantine]
lost = "100 per 1m"

[host.line]
members = ["node-a", "node-b"]
clustered = { restarts = "100 per 1m", moves = "100 per 1m" }
"#;

/// How many order keys the load has.
const KEYS: usize = 16;
/// So many messages show that the host works.
const GOOD: usize = 20;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
const MICROS_PER_MS: f64 = 1000.0;

/// What is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// What happens to the owner; each of them unless one is named.
    #[arg(long = "fault", value_enum)]
    faults: Vec<Fault>,
    /// How often each happens.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    injections: u32,
    /// Messages per second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(50..=2000))]
    rate: u32,
}

/// What happens to the owner of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Fault {
    /// Its process is killed.
    KillHost,
    /// Its process is paused.
    PauseHost,
    /// Its agent is killed, and with it every process of the node.
    NodeLoss,
    /// The agent and every process of the node are paused.
    NodePause,
    /// An operator moves the host.
    PlannedMove,
    /// An operator drains the node.
    Drain,
}

impl Fault {
    /// Whether the owner gives the host away: then the gap counts, and otherwise the time from the fault on.
    fn is_planned(self) -> bool {
        matches!(self, Self::PlannedMove | Self::Drain)
    }
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    faults: Vec<Row>,
}

/// What one kind of fault did.
#[derive(Debug, Serialize)]
struct Row {
    fault: Fault,
    n: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// Confirmed to the producer, and never came out.
    lost: usize,
    /// Came out again, under the same id.
    repeated: usize,
    /// Came out for the first time behind a later one of their key, which an owner does that does not know that it
    /// is none any more.
    stale: usize,
}

/// The fields end in this order.
struct Cluster {
    gateways: Vec<Gateway>,
    nodes: Vec<Node>,
    _app: App,
    _store: Postgres,
    broker: RabbitMq,
    rate: u32,
}

/// The load of one kind of fault.
struct Load {
    producer: Producer,
    consumer: Consumer,
}

/// Measures and prints. `false`: something was lost or out of order.
pub(crate) async fn run(options: Options) -> anyhow::Result<bool> {
    programs::build()?;
    let faults = if options.faults.is_empty() {
        Fault::value_variants().to_vec()
    } else {
        options.faults.clone()
    };
    let mut cluster = Cluster::start(options.rate).await;
    let mut rows = Vec::new();
    for fault in faults {
        let row = cluster.measure(fault, options.injections).await?;
        say(&format!(
            "{fault:?}, {} times: {:.0} ms in the middle, {:.0} ms at p99, {:.0} ms at most; {} lost, {} repeated, \
             {} out of order",
            row.n, row.p50_ms, row.p99_ms, row.max_ms, row.lost, row.repeated, row.stale
        ));
        rows.push(row);
    }
    let good = rows.iter().all(|row| row.lost == 0 && row.stale == 0);
    let report = Report { faults: rows };
    say(&serde_json::to_string(&report)?);
    Ok(good)
}

fn application(broker: &str) -> String {
    format!(
        r#"
[app]
name = "t"

[receive.line]
host = "{HOST}"
ordered = true
[receive.line.location.in.amqp]
url = "{broker}"
queue = "in"

[send.line]
host = "{HOST}"
filter = "msg.origin == 't.line.in'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "500ms" }}
ordered = {{ by = "amqp.header.key", on_failure = "hold-key" }}
[send.line.primary.amqp]
url = "{broker}"
queue = "out"
pipeline = 16
"#
    )
}

impl Cluster {
    async fn start(rate: u32) -> Self {
        let broker = RabbitMq::start().await;
        for queue in ["in", "out"] {
            broker.declare(queue, true).await;
        }
        let store = Postgres::start().await;
        let url = store.create_database("quayside").await;
        let app = App::new(&application(&broker.url()));
        let node = |name: &str| {
            let node = Node::new(name, app.path()).with_store(&url);
            node.with_group(GROUP).with_agent()
        };
        let nodes: Vec<Node> = NODES.map(node).into();
        let mut gateways = Vec::new();
        for node in &nodes {
            gateways.push(node.start().await);
        }
        Self {
            gateways,
            nodes,
            _app: app,
            _store: store,
            broker,
            rate,
        }
    }

    fn load(&self) -> Load {
        let keys = (0..KEYS).map(|no| format!("k{}-{no}", unix_micros()));
        let plan = ProducerPlan {
            queues: BTreeMap::from([("in".to_owned(), keys.collect())]),
            rate: self.rate,
            pad: 512,
        };
        Load {
            producer: self.broker.producer(&plan),
            consumer: self.broker.consumer(&["out".to_owned()]),
        }
    }

    async fn measure(&mut self, fault: Fault, injections: u32) -> anyhow::Result<Row> {
        let mut load = self.load();
        let mut times = Vec::new();
        for _ in 0..injections {
            times.push(self.inject(fault, &mut load).await?);
        }
        times.sort_by(f64::total_cmp);
        let confirmed = load.producer.finish().await;
        let all_came = look_for(PATIENCE, async || {
            match judge(&confirmed, load.consumer.arrivals()).0 {
                0 => Ok(()),
                lost => Err(format!("{lost} are missing")),
            }
        });
        // What is missing then is lost.
        drop(all_came.await);
        let arrivals = load.consumer.finish().await;
        let (lost, repeated, stale) = judge(&confirmed, &arrivals);
        Ok(Row {
            fault,
            n: times.len(),
            p50_ms: percentile(&times, 50),
            p99_ms: percentile(&times, 99),
            max_ms: percentile(&times, 100),
            lost,
            repeated,
            stale,
        })
    }

    /// Does it once, and puts everything back. Returns how long nothing came out, in milliseconds.
    async fn inject(&mut self, fault: Fault, load: &mut Load) -> anyhow::Result<f64> {
        let active = self.settled().await?;
        more(&mut load.consumer, GOOD).await?;
        let other = 1 - active;
        let before = self.owner(other).await.map_err(anyhow::Error::msg)?;
        let family = self.gateways[active].family();
        let process = self.gateways[active].process_of(HOST);
        let process = process.context("the active node has no process of the host")?;
        let seen = load.consumer.arrivals().len();
        let at = unix_micros();
        match fault {
            Fault::KillHost => send(&[process], Signal::KILL),
            Fault::PauseHost => send(&[process], Signal::STOP),
            Fault::NodeLoss => {
                self.gateways[active].kill9();
            }
            Fault::NodePause => send(&family, Signal::STOP),
            Fault::PlannedMove => {
                let path = format!("cluster/hosts/{HOST}/move");
                self.say(other, &path, &json!({ "to": NODES[other] }))
                    .await?;
            }
            Fault::Drain => {
                let path = format!("cluster/nodes/{}/drain", NODES[active]);
                self.say(other, &path, &json!({})).await?;
            }
        }
        let taken = look_for(PATIENCE, async || match self.owner(other).await? {
            now if now == before => Err("it has the owner that it had".to_owned()),
            _ => Ok(()),
        });
        taken.await.map_err(anyhow::Error::msg)?;
        if fault == Fault::NodePause {
            // Until its connections end, the broker keeps for it what it was given last.
            send(&family, Signal::CONT);
        }
        more(&mut load.consumer, GOOD).await?;
        let (begun, ended) = longest_gap(&load.consumer.arrivals()[seen..], at)?;
        match fault {
            Fault::NodeLoss => self.gateways[active] = self.nodes[active].start().await,
            Fault::Drain => {
                let path = format!("cluster/nodes/{}/resume", NODES[active]);
                self.say(other, &path, &json!({})).await?;
            }
            _ => {}
        }
        let from = if fault.is_planned() { begun } else { at };
        Ok(millis(ended.saturating_sub(from)))
    }

    async fn say(&self, no: usize, path: &str, body: &Value) -> anyhow::Result<()> {
        let said = self.gateways[no].post(path, body).await;
        said.map(drop).map_err(anyhow::Error::msg)
    }

    /// Which process owns the host, as node `no` sees it.
    async fn owner(&self, no: usize) -> Result<String, String> {
        let told = self.gateways[no].api("cluster").await?;
        let owner = told["hosts"][0]["instance"].as_str().map(str::to_owned);
        owner.ok_or_else(|| "nobody has it".to_owned())
    }

    /// Waits until one node works and the other one stands by, and returns the number of the first.
    async fn settled(&self) -> anyhow::Result<usize> {
        let settled = look_for(PATIENCE, async || {
            let (a, b) = (self.ports(0).await?, self.ports(1).await?);
            match (
                (all(&a, "running"), all(&a, "standby")),
                (all(&b, "running"), all(&b, "standby")),
            ) {
                ((true, false), (false, true)) => Ok(0),
                ((false, true), (true, false)) => Ok(1),
                _ => Err(format!("{a} {b}")),
            }
        });
        settled.await.map_err(anyhow::Error::msg)
    }

    async fn ports(&self, no: usize) -> Result<Value, String> {
        let ports = self.gateways[no].api("ports").await?;
        Ok(ports["ports"].clone())
    }
}

fn all(ports: &Value, key: &str) -> bool {
    let ports = ports.as_array().map_or(&[][..], Vec::as_slice);
    !ports.is_empty() && ports.iter().all(|port| port[key] == true)
}

fn send(pids: &[Pid], signal: Signal) {
    for pid in pids {
        // One that its agent has killed meanwhile is no failure.
        let _ = kill_process(*pid, signal);
    }
}

/// Waits for so many more messages.
async fn more(consumer: &mut Consumer, count: usize) -> anyhow::Result<()> {
    let goal = consumer.arrivals().len() + count;
    let came = look_for(PATIENCE, async || match consumer.arrivals().len() {
        now if now >= goal => Ok(()),
        now => Err(format!("{now} of {goal} messages have come out")),
    });
    came.await.map_err(anyhow::Error::msg)
}

/// The longest time without a message in `arrivals`, which came after `at`.
fn longest_gap(arrivals: &[Arrival], at: u64) -> anyhow::Result<(u64, u64)> {
    let mut times: Vec<u64> = arrivals
        .iter()
        .map(|arrival| arrival.at_us.max(at))
        .collect();
    times.insert(0, at);
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| (pair[0], pair[1]));
    let longest = gaps.max_by_key(|(begun, ended)| ended - begun);
    longest.context("nothing came out")
}

/// How many messages are lost, came again, and came out of order.
fn judge(confirmed: &[Confirmed], arrivals: &[Arrival]) -> (usize, usize, usize) {
    let (mut seen, mut newest) = (BTreeSet::new(), BTreeMap::<&str, u64>::new());
    let (mut repeated, mut stale) = (0, 0);
    for arrival in arrivals {
        if !seen.insert(arrival.id.clone()) {
            repeated += usize::from(!arrival.redelivered);
            continue;
        }
        let newest = newest.entry(&arrival.key).or_default();
        stale += usize::from(arrival.sequence < *newest);
        *newest = arrival.sequence.max(*newest);
    }
    let lost = confirmed
        .iter()
        .filter(|message| !seen.contains(&message.id()));
    (lost.count(), repeated, stale)
}

/// The value that so many per cent of `sorted` do not exceed.
fn percentile(sorted: &[f64], per_cent: usize) -> f64 {
    let place = (sorted.len() * per_cent).div_ceil(100);
    sorted
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "times are far below 2^52 microseconds"
)]
fn millis(micros: u64) -> f64 {
    micros as f64 / MICROS_PER_MS
}

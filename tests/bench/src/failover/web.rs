//! A host that takes requests and sends them to a partner on two nodes at once, and loses one of its processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use quayside_harness::{
    App, Gateway, Load, LoadPlan, Node, Partner, Postgres, client, look_for, pass_through,
    unix_micros,
};
use rustix::process::{Signal, kill_process};
use serde_json::json;

use super::{
    Fault, Row,
    judge::{self, millis},
};

/// The host and its nodes.
const HOST: &str = "edge";
const NODES: [&str; 2] = ["node-a", "node-b"];
const GROUP: &str = "[host.edge]\nmembers = [\"node-a\", \"node-b\"]\n";
const DATABASE: &str = "quayside";

/// How many clients there are.
const CLIENTS: u16 = 8;
/// How long the partner takes for each message, so that a process always has some in hand.
const SLOW_MS: u64 = 100;
/// So many requests show that the nodes work.
const GOOD: u64 = 100;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The instance of the host on a node, and its deliveries. The text of a delivery's id is its idempotency key.
const INSTANCE: &str = "SELECT i.id::text FROM instance i JOIN session s ON s.id = i.session \
     WHERE i.node = $1 AND i.state = 0 AND s.live AND i.hosts LIKE '%edge%' ORDER BY i.id DESC LIMIT 1";
const CLAIMED: &str =
    "SELECT message::text || '.' || no FROM delivery WHERE state = 1 AND instance::text = $1";
const LEFT: &str = "SELECT count(*) FROM delivery WHERE message::text || '.' || no = ANY($1)";

/// The nodes and what they share. The fields end in this order.
pub(super) struct Web {
    gateways: Vec<Gateway>,
    _nodes: Vec<Node>,
    _app: App,
    partner: Partner,
    store: Postgres,
    rate: u32,
}

impl Web {
    pub(super) async fn start(rate: u32) -> Self {
        let partner = Partner::start().await;
        partner
            .fault(&json!({ "kind": "slow", "delay_ms": SLOW_MS }))
            .await;
        let store = Postgres::start().await;
        let url = store.create_database(DATABASE).await;
        let app = App::new(&pass_through(partner.addr(), "", ""));
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
            _nodes: nodes,
            _app: app,
            partner,
            store,
            rate,
        }
    }

    pub(super) async fn measure(&mut self, injections: u32) -> anyhow::Result<Row> {
        self.ready().await?;
        let servers: Vec<_> = self.gateways.iter().map(|gateway| gateway.http).collect();
        let mut plan = LoadPlan::new(&servers, "/in/orders", CLIENTS.into());
        plan.rest = Some(Duration::from_secs(1) * u32::from(CLIENTS) / self.rate);
        plan.prefix = format!("m{}", unix_micros());
        let load = Load::start(plan);
        let mut times = Vec::new();
        for no in 0..injections {
            let released = self.release(no, &load).await;
            times.push(released.with_context(|| format!("number {}", no + 1))?);
        }
        let report = load.finish().await;
        let ids = report.accepted();
        let ids: Vec<&str> = ids.iter().map(|answer| answer.id.as_str()).collect();
        let all_came = look_for(PATIENCE, async || {
            match judge::posted(&report, &self.partner.log().await).lost {
                0 => Ok(()),
                lost => Err(format!("{lost} of {} are missing", ids.len())),
            }
        });
        // What is missing then is lost.
        drop(all_came.await);
        let counted = judge::posted(&report, &self.partner.log().await);
        Ok(Row::new(Fault::ReleaseStateless, times, counted, 0))
    }

    /// Kills a process, and waits until another one has done everything that it had claimed.
    async fn release(&self, no: u32, load: &Load) -> anyhow::Result<f64> {
        self.ready().await?;
        load.wait_accepted(GOOD, PATIENCE).await;
        let victim = usize::from(no % 2 == 1);
        let session = self.store.connect(DATABASE).await;
        let instance = session.query_one(INSTANCE, &[&NODES[victim]]).await;
        let instance: String = instance.context("the instance of the victim")?.get(0);
        let from = self.partner.log().await.len();
        let (claimed, at) = look_for(PATIENCE, async || {
            let claimed = session.query(CLAIMED, &[&instance]).await;
            if claimed.map_err(|error| error.to_string())?.is_empty() {
                return Err("it has nothing in hand".to_owned());
            }
            let pid = self.gateways[victim].process_of(HOST);
            let pid = pid.ok_or("there is no process of the host")?;
            let at = unix_micros();
            kill_process(pid, Signal::KILL).map_err(|error| error.to_string())?;
            // What it has now stays as it is, whatever it was about to do.
            let claimed = session.query(CLAIMED, &[&instance]).await;
            let claimed = claimed.map_err(|error| error.to_string())?;
            let claimed: Vec<String> = claimed.iter().map(|row| row.get(0)).collect();
            Ok((claimed, at))
        })
        .await
        .map_err(anyhow::Error::msg)?;
        anyhow::ensure!(!claimed.is_empty(), "it had nothing in hand when it died");
        let done = look_for(PATIENCE, async || {
            let left = session.query_one(LEFT, &[&claimed]).await;
            match left.map_err(|error| error.to_string())?.get::<_, i64>(0) {
                0 => Ok(()),
                left => Err(format!("{left} of {} are left", claimed.len())),
            }
        });
        done.await.map_err(anyhow::Error::msg)?;
        let log = self.partner.log().await;
        let mut last = BTreeMap::new();
        for seen in log[from..].iter().filter(|seen| seen.at_us > at) {
            last.insert(seen.key.trim_matches('"'), seen.at_us);
        }
        let keys: BTreeSet<&str> = claimed.iter().map(String::as_str).collect();
        let times = keys.iter().filter_map(|key| last.get(key));
        let last = times.max().context("no delivery came to the partner")?;
        Ok(millis(last - at))
    }

    /// Waits until both nodes take requests.
    async fn ready(&self) -> anyhow::Result<()> {
        let ready = look_for(PATIENCE, async || {
            for gateway in &self.gateways {
                let ask = client::request("GET", gateway.http, "/readyz", &[], Bytes::new());
                let answer = client::once(gateway.http, ask, PATIENCE).await;
                let status = answer.map_err(|error| error.to_string())?.status;
                if !status.is_success() {
                    return Err(format!("{}: {status}", gateway.http));
                }
            }
            Ok(())
        });
        ready.await.map_err(anyhow::Error::msg)
    }
}

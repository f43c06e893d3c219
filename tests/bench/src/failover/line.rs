//! A clustered host that moves messages between two queues in the order of their keys, on two nodes.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, ensure};
use quayside_harness::{
    App, Gateway, Lost, Node, Postgres, Proxy, RabbitMq, lasts, look_for,
    rabbitmq::{Consumer, Producer, ProducerPlan},
    signal_all, unix_micros,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    Fault, Row,
    judge::{self, first_since, longest_gap, millis},
    watch,
};

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
const DATABASE: &str = "quayside";

/// How many order keys the load has.
const KEYS: usize = 16;
/// So many messages show that the host works.
const GOOD: usize = 20;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the store is away in every second restart: longer than a lease. Otherwise it comes back at once.
const OUTAGE: Duration = Duration::from_secs(4);

/// The nodes and what they share. The fields end in this order.
pub(super) struct Line {
    gateways: Vec<Gateway>,
    nodes: Vec<Node>,
    /// Between each node and the store, if that is measured.
    proxies: Vec<Proxy>,
    _app: App,
    store: Postgres,
    broker: RabbitMq,
    rate: u32,
}

/// The load of one kind of fault.
struct Load {
    producer: Producer,
    consumer: Consumer,
}

/// What one injection came to.
struct Injected {
    millis: f64,
    /// Whether the host moved although nothing called for it.
    moved: bool,
}

/// Each node has a user of its own at the broker, so that a takeover closes what the former owner has open.
fn application(broker: &RabbitMq) -> String {
    let broker = format!(
        "url = \"{}\"\nuser = \"line-{{node}}\"\npassword = {{ secret = \"mq\" }}\n\
         takeover = {{ management = \"{}\", user = \"guest\", password = {{ secret = \"closer\" }} }}",
        broker.url(),
        broker.management()
    );
    format!(
        r#"
[app]
name = "t"

[receive.line]
host = "{HOST}"
ordered = true
[receive.line.location.in.amqp]
{broker}
queue = "in"

[send.line]
host = "{HOST}"
filter = "msg.origin == 't.line.in'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "500ms" }}
ordered = {{ by = "amqp.header.key", on_failure = "hold-key" }}
[send.line.primary.amqp]
{broker}
queue = "out"
pipeline = 16
"#
    )
}

impl Line {
    pub(super) async fn start(rate: u32, proxied: bool) -> Self {
        let broker = RabbitMq::start_with(&["rabbitmq_management"]).await;
        for node in NODES {
            broker.add_user(&format!("line-{node}"), node).await;
        }
        for queue in ["in", "out"] {
            broker.declare(queue, true).await;
        }
        let store = Postgres::start().await;
        let url = store.create_database(DATABASE).await;
        let app = App::new(&application(&broker));
        let mut proxies = Vec::new();
        if proxied {
            for _ in NODES {
                proxies.push(Proxy::start(store.addr()).await);
            }
        }
        let mut nodes = Vec::new();
        for (no, name) in NODES.iter().enumerate() {
            let through = |proxy| store.url_through(proxy, DATABASE);
            let url = proxies.get(no).map_or_else(|| url.clone(), through);
            let node = Node::new(name, app.path()).with_store(&url);
            let node = node.with_secret("mq", name).with_secret("closer", "guest");
            nodes.push(node.with_group(GROUP).with_agent());
        }
        let mut gateways = Vec::new();
        for node in &nodes {
            gateways.push(node.start().await);
        }
        Self {
            gateways,
            nodes,
            proxies,
            _app: app,
            store,
            broker,
            rate,
        }
    }

    pub(super) fn has_proxies(&self) -> bool {
        !self.proxies.is_empty()
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

    pub(super) async fn measure(&mut self, fault: Fault, injections: u32) -> anyhow::Result<Row> {
        let mut load = self.load();
        let mut times = Vec::new();
        let mut moved = 0;
        for no in 0..injections {
            let injected = self.inject(fault, no, &mut load).await;
            let injected = injected.with_context(|| format!("{fault:?}, number {}", no + 1))?;
            times.push(injected.millis);
            moved += usize::from(injected.moved);
        }
        let confirmed = load.producer.finish().await;
        let all_came = look_for(PATIENCE, async || {
            match judge::moved(&confirmed, load.consumer.arrivals()).lost {
                0 => Ok(()),
                lost => Err(format!("{lost} are missing")),
            }
        });
        // What is missing then is lost.
        drop(all_came.await);
        let arrivals = load.consumer.finish().await;
        let counted = judge::moved(&confirmed, &arrivals);
        Ok(Row::new(fault, times, counted, moved))
    }

    /// Does it once, and puts everything back.
    async fn inject(&mut self, fault: Fault, no: u32, load: &mut Load) -> anyhow::Result<Injected> {
        let active = self.settled().await?;
        more(&mut load.consumer, GOOD).await?;
        if fault == Fault::RollingRestart {
            return self.roll(load).await;
        }
        if fault.moves_nothing() {
            return self.restart(fault, no, active, load).await;
        }
        let other = 1 - active;
        let before = self.owner(other).await.map_err(anyhow::Error::msg)?;
        let family = self.gateways[active].family();
        let seen = load.consumer.arrivals().len();
        let at = unix_micros();
        self.hit(fault, active).await?;
        let taken = look_for(PATIENCE, async || match self.owner(other).await? {
            now if now == before => Err("it has the owner that it had".to_owned()),
            _ => Ok(()),
        });
        taken.await.map_err(anyhow::Error::msg)?;
        more(&mut load.consumer, GOOD).await?;
        if fault == Fault::NodePause {
            signal_all(&family, Signal::CONT);
        }
        let (begun, ended) = longest_gap(&load.consumer.arrivals()[seen..], at)?;
        self.heal(fault, active).await?;
        let planned = matches!(fault, Fault::PlannedMove | Fault::Drain);
        let from = if planned { begun } else { at };
        Ok(Injected {
            millis: millis(ended.saturating_sub(from)),
            moved: false,
        })
    }

    /// Does it to the node that is active.
    async fn hit(&mut self, fault: Fault, active: usize) -> anyhow::Result<()> {
        let other = 1 - active;
        let process = self.gateways[active].process_of(HOST);
        let process = process.context("the active node has no process of the host")?;
        match fault {
            Fault::KillHost => signal_all(&[process], Signal::KILL),
            Fault::PauseHost => signal_all(&[process], Signal::STOP),
            Fault::NodeLoss => {
                self.gateways[active].kill9();
            }
            Fault::NodePause => signal_all(&self.gateways[active].family(), Signal::STOP),
            Fault::PartitionStore => self.proxies[active].lose(Lost::Both),
            Fault::PlannedMove => {
                let path = format!("cluster/hosts/{HOST}/move");
                self.say(other, &path, &json!({ "to": NODES[other] }))
                    .await?;
            }
            Fault::Drain => {
                let path = format!("cluster/nodes/{}/drain", NODES[active]);
                self.say(other, &path, &json!({})).await?;
            }
            other => anyhow::bail!("{other:?} does not happen to one node"),
        }
        Ok(())
    }

    /// Puts back what [`Line::hit`] did.
    async fn heal(&mut self, fault: Fault, hit: usize) -> anyhow::Result<()> {
        match fault {
            Fault::NodeLoss => self.gateways[hit] = self.nodes[hit].start().await,
            Fault::PartitionStore => self.proxies[hit].pass(),
            Fault::Drain => {
                let path = format!("cluster/nodes/{}/resume", NODES[hit]);
                self.say(1 - hit, &path, &json!({})).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Stops one node after the other and starts it again. The longest gap counts.
    async fn roll(&mut self, load: &mut Load) -> anyhow::Result<Injected> {
        let seen = load.consumer.arrivals().len();
        let at = unix_micros();
        for no in 0..NODES.len() {
            let code = self.gateways[no].stop(PATIENCE).await;
            ensure!(
                code == Some(0),
                "an agent that was told to stop ended with {code:?}"
            );
            self.gateways[no] = self.nodes[no].start().await;
            self.settled().await?;
        }
        more(&mut load.consumer, GOOD).await?;
        let (begun, ended) = longest_gap(&load.consumer.arrivals()[seen..], at)?;
        Ok(Injected {
            millis: millis(ended - begun),
            moved: false,
        })
    }

    /// Stops what both nodes need and starts it again. The time from its return on counts, and the host stays where
    /// it is.
    async fn restart(
        &mut self,
        fault: Fault,
        no: u32,
        active: usize,
        load: &mut Load,
    ) -> anyhow::Result<Injected> {
        let before = self.owner(active).await.map_err(anyhow::Error::msg)?;
        let returned = if fault == Fault::StoreRestart {
            self.store.stop().await;
            if no % 2 == 1 {
                lasts(OUTAGE).await;
            }
            let url = self.store.url(DATABASE);
            tokio::join!(watch::logs_in(&url), self.store.start_again()).0
        } else {
            self.broker.stop().await;
            let addr = self.broker.addr();
            tokio::join!(watch::listens(addr), self.broker.start_again()).0
        };
        let consumer = &mut load.consumer;
        let next = look_for(PATIENCE, async || {
            let next = first_since(consumer.arrivals(), returned);
            next.ok_or_else(|| "nothing has come out since".to_owned())
        });
        let next = next.await.map_err(anyhow::Error::msg)?;
        more(&mut load.consumer, GOOD).await?;
        self.settled().await?;
        let now = self.owner(active).await.map_err(anyhow::Error::msg)?;
        Ok(Injected {
            millis: millis(next - returned),
            moved: now != before,
        })
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

/// Waits for so many more messages.
async fn more(consumer: &mut Consumer, count: usize) -> anyhow::Result<()> {
    let goal = consumer.arrivals().len() + count;
    let came = look_for(PATIENCE, async || match consumer.arrivals().len() {
        now if now >= goal => Ok(()),
        now => Err(format!("{now} of {goal} messages have come out")),
    });
    came.await.map_err(anyhow::Error::msg)
}

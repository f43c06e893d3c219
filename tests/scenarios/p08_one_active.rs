//! P8: a clustered host is never active twice, and another node takes over when the active one is lost.
//!
//! Two nodes share a store, and a host that moves messages between transactional queues runs on one of them at
//! a time. The active one is killed, paused for longer than its lease and continued, and stopped, each under
//! load. A producer and a consumer that are not ours judge by the ids in the bodies.

use std::{fmt, time::Duration};

use quayside_harness::{
    Node, Postgres, RabbitMq, Stopwatch, look_for,
    rabbitmq::{Consumer, Producer},
    wait_for,
};
use quayside_tests::{
    Site, Store, judge_one, note,
    queues::{MOVES, all_moves, declare_moves, in_order, three_moves},
};

/// How often each thing happens to the active node.
const TIMES: usize = 2;

/// How many messages a second the producer offers, to all moves together.
const OFFERED: u32 = 300;

/// How many messages of each move show that a host works.
const GOOD: usize = 20;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

const GROUP: &str = "[host.edge]\nmembers = [\"node-a\", \"node-b\"]\nclustered = true\n";

/// What happens to the active node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Pause,
    Stop,
}

/// The fields end in this order.
struct Cluster {
    site: Site,
    producer: Producer,
    consumer: Consumer,
    server: RabbitMq,
}

/// What a node says of the ports of the clustered host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// All work here.
    Active,
    /// All stand by.
    Standby,
    /// Some are on their way.
    Between,
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

async fn says(site: &Site, no: usize) -> Result<Says, String> {
    let ports = site.gateways[no].api("ports").await?;
    let ports = ports["ports"].as_array().cloned().unwrap_or_default();
    let all = |key: &str| !ports.is_empty() && ports.iter().all(|port| port[key] == true);
    Ok(match (all("running"), all("standby")) {
        (true, false) => Says::Active,
        (false, true) => Says::Standby,
        _ => Says::Between,
    })
}

/// Waits until one node is active and the other one stands by, and returns the number of the active one.
async fn settled(site: &Site) -> usize {
    wait_for(
        "one active node and one standby",
        PATIENCE,
        async || match (says(site, 0).await?, says(site, 1).await?) {
            (Says::Active, Says::Standby) => Ok(0),
            (Says::Standby, Says::Active) => Ok(1),
            (a, b) => Err(format!("{a}, {b}")),
        },
    )
    .await
}

async fn becomes_active(site: &Site, no: usize) {
    wait_for("the node to be active", PATIENCE, async || {
        match says(site, no).await? {
            Says::Active => Ok(()),
            says => Err(says.to_string()),
        }
    })
    .await;
}

impl Cluster {
    async fn start() -> Self {
        let broker = RabbitMq::start().await;
        let out = declare_moves(&broker).await;
        let url = broker.url();
        let server = Postgres::start().await;
        let clustered = |node: Node| node.with_group(GROUP);
        let site = Site::of(Some(server), 2, &|_| three_moves(&url), &clustered).await;
        Self {
            producer: broker.producer(&all_moves(OFFERED)),
            consumer: broker.consumer(&out),
            site,
            server: broker,
        }
    }

    /// Returns when messages of every move have come out from now on.
    async fn works(&mut self) {
        let seen = self.consumer.arrivals().len();
        let goes_on = look_for(PATIENCE, async || {
            let new = &self.consumer.arrivals()[seen..];
            let of = |name: &str| new.iter().filter(|a| a.key.starts_with(name)).count();
            let counts = MOVES.map(|(name, _)| of(name));
            if counts.iter().all(|count| *count >= GOOD) {
                Ok(())
            } else {
                Err(format!("{counts:?}"))
            }
        });
        if let Err(counts) = goes_on.await {
            let broker = self.server.state().await;
            let mut nodes = String::new();
            for gateway in &self.site.gateways {
                let live = gateway.api("deliveries?limit=20").await;
                nodes.push_str(&live.map_or_else(|error| error, |live| live.to_string()));
                nodes.push('\n');
            }
            panic!("not every move goes on: {counts}\n{broker}\n{nodes}");
        }
    }

    /// Does it to the active node; afterwards both nodes run again.
    async fn suffer(&mut self, fault: Fault) {
        let active = settled(&self.site).await;
        let standby = &self.site.gateways[1 - active];
        let told = standby.api("cluster").await.expect("an answer");
        let node = self.site.nodes[active].name();
        assert_eq!(told["hosts"][0]["node"], node, "{told}");
        self.works().await;
        let gateway = &mut self.site.gateways[active];
        match fault {
            Fault::Kill => gateway.kill9(),
            Fault::Pause => gateway.process.pause().await,
            Fault::Stop => {
                let code = gateway.stop(PATIENCE).await;
                assert_eq!(code, Some(0), "a stop is clean");
            }
        }
        let watch = Stopwatch::start();
        becomes_active(&self.site, 1 - active).await;
        let active_ms = watch.elapsed().as_millis();
        match fault {
            // It finds its session ended, begins anew and stands by. Until its connections end, by this or by a
            // heartbeat, the broker keeps for it what it was given last.
            Fault::Pause => self.site.gateways[active].process.resume(),
            Fault::Kill | Fault::Stop => self.works().await,
        }
        let worked_ms = watch.elapsed().as_millis();
        note(&format!(
            "{fault:?}: active after {active_ms} ms, went on within {worked_ms} ms"
        ));
        if fault != Fault::Pause {
            self.site.restart(active).await;
        }
        assert_eq!(settled(&self.site).await, 1 - active, "nobody moved back");
        self.works().await;
    }

    async fn judge(self) {
        let Self {
            site,
            producer,
            mut consumer,
            server,
        } = self;
        let confirmed = producer.finish().await;
        wait_for("every message to come out", PATIENCE, async || {
            let moved = quayside_tests::judge_move(&confirmed, consumer.arrivals());
            if moved.lost.is_empty() {
                Ok(())
            } else {
                Err(moved.to_string())
            }
        })
        .await;
        let active = settled(&site).await;
        site.gateways[active].drained(PATIENCE).await;
        let arrivals = consumer.finish().await;
        for (name, _) in MOVES {
            let moved = judge_one(name, &confirmed, &arrivals);
            note(&format!("{name}: {moved}"));
            assert!(moved.exactly_once(), "{name}: {moved}");
            let kept = !in_order(name) || moved.out_of_order.is_empty();
            assert!(kept, "{name}: {moved}");
            let waiting = server.waiting(&format!("{name}-in")).await;
            assert_eq!(waiting, 0, "{name}: taken and not acknowledged");
        }
        let (stored, stored_twice) = site.stored_bodies().await;
        assert_eq!(stored_twice, 0, "stored twice, of {stored}");
        assert!(stored >= confirmed.len(), "{stored} of {}", confirmed.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clustered_host_runs_on_one_node_and_moves_when_that_is_lost() {
    let mut cluster = Cluster::start().await;
    for fault in [Fault::Kill, Fault::Pause, Fault::Stop] {
        for _ in 0..TIMES {
            cluster.suffer(fault).await;
        }
    }
    cluster.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_node_runs_its_clustered_host_from_the_start() {
    let clustered = |node: Node| node.with_group(GROUP);
    let broker = RabbitMq::start().await;
    declare_moves(&broker).await;
    let url = broker.url();
    for store in [Store::Sqlite, Store::Postgres] {
        let server = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(Postgres::start().await),
        };
        let mut site = Site::of(server, 1, &|_| three_moves(&url), &clustered).await;
        for _ in 0..2 {
            becomes_active(&site, 0).await;
            site.gateways[0].kill9();
            site.restart(0).await;
        }
    }
}

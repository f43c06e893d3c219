//! Two nodes that share a store, and a clustered host that moves messages between transactional queues on one of
//! them at a time. A producer and a consumer that are not ours judge by the ids in the bodies.

use std::{fmt, time::Duration};

use quayside_harness::{
    Node, Postgres, Proxy, RabbitMq, look_for,
    rabbitmq::{Consumer, Producer},
    wait_for,
};

use crate::{
    Site, judge_move, judge_one, note,
    queues::{MOVES, all_moves, declare_moves, in_order, three_moves},
};

/// How many messages a second the producer offers, to all moves together.
const OFFERED: u32 = 300;

/// How many messages of each move show that a host works.
const GOOD: usize = 20;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A group of the nodes: with the defaults.
pub const GROUP: &str = "[host.edge]\nmembers = [\"node-a\", \"node-b\"]\nclustered = true\n";

/// Two nodes with one clustered host, under load. The fields end in this order.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes.
    pub site: Site,
    producer: Producer,
    consumer: Consumer,
    /// The broker.
    pub server: RabbitMq,
}

/// What each node has of its own in a cluster that is started [behind proxies](Cluster::behind): the URL of its
/// proxy, as a variable of the group's file.
const BROKER: &str = "{ var = \"broker\" }";

/// What a node says of the ports of the clustered host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
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

/// What node `no` says of the ports of the clustered host.
///
/// # Errors
/// It does not answer.
pub async fn says(site: &Site, no: usize) -> Result<Says, String> {
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
pub async fn settled(site: &Site) -> usize {
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

/// Waits until node `no` is active.
pub async fn becomes_active(site: &Site, no: usize) {
    wait_for("the node to be active", PATIENCE, async || {
        match says(site, no).await? {
            Says::Active => Ok(()),
            says => Err(says.to_string()),
        }
    })
    .await;
}

impl Cluster {
    /// Starts them in `group`, with nodes that `made` has the last word on.
    pub async fn start(group: &str, made: &dyn Fn(Node) -> Node) -> Self {
        Self::start_on(Postgres::start().await, group, made).await
    }

    /// The same on a given server.
    pub async fn start_on(server: Postgres, group: &str, made: &dyn Fn(Node) -> Node) -> Self {
        let broker = RabbitMq::start().await;
        let out = declare_moves(&broker).await;
        let url = broker.url();
        let clustered = |node: Node| made(node.with_group(group));
        let site = Site::of(Some(server), 2, &|_| three_moves(&url), &clustered).await;
        Self {
            producer: broker.producer(&all_moves(OFFERED)),
            consumer: broker.consumer(&out),
            site,
            server: broker,
        }
    }

    /// The same with a proxy for each node, through which it reaches the broker. `app` and
    /// `made` have the last word on the application and the nodes.
    pub async fn behind(
        broker: RabbitMq,
        group: &str,
        app: &dyn Fn(String) -> String,
        made: &dyn Fn(Node) -> Node,
    ) -> (Self, [Proxy; 2]) {
        let out = declare_moves(&broker).await;
        let server = Postgres::start().await;
        let proxies = [
            Proxy::start(broker.addr()).await,
            Proxy::start(broker.addr()).await,
        ];
        let clustered = |node: Node| {
            let proxy = &proxies[usize::from(node.name() == "node-b")];
            let group = format!("{group}\n[vars]\nbroker = \"amqp://{}\"\n", proxy.addr());
            made(node.with_group(&group))
        };
        let moves = app(three_moves("BROKER").replace("\"BROKER\"", BROKER));
        let site = Site::of(Some(server), 2, &|_| moves.clone(), &clustered).await;
        let cluster = Self {
            producer: broker.producer(&all_moves(OFFERED)),
            consumer: broker.consumer(&out),
            site,
            server: broker,
        };
        (cluster, proxies)
    }

    /// Returns when messages of every move have come out from now on.
    pub async fn works(&mut self) {
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

    /// Ends the load and judges it: nothing lost, nothing stored twice, order kept.
    pub async fn judge(self) {
        let Self {
            site,
            producer,
            mut consumer,
            server,
        } = self;
        let confirmed = producer.finish().await;
        wait_for("every message to come out", PATIENCE, async || {
            let moved = judge_move(&confirmed, consumer.arrivals());
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

//! P8: a clustered host is never active twice, and another node takes over when the active one is lost.
//!
//! Two nodes share a store, and a host that moves messages between transactional queues runs on one of them at
//! a time. The active one is killed, paused for longer than its lease and continued, and stopped, each under
//! load. A producer and a consumer that are not ours judge by the ids in the bodies.

use quayside_harness::{Node, Postgres, RabbitMq, Stopwatch};
use quayside_tests::{
    Site, Store,
    cluster::{Cluster, GROUP, PATIENCE, becomes_active, settled},
    note,
    queues::{declare_moves, three_moves},
};

/// How often each thing happens to the active node.
const TIMES: usize = 2;

/// What happens to the active node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Pause,
    Stop,
}

/// Does it to the active node; afterwards both nodes run again.
async fn suffer(cluster: &mut Cluster, fault: Fault) {
    let active = settled(&cluster.site).await;
    let standby = &cluster.site.gateways[1 - active];
    let told = standby.api("cluster").await.expect("an answer");
    let node = cluster.site.nodes[active].name();
    assert_eq!(told["hosts"][0]["node"], node, "{told}");
    cluster.works().await;
    let gateway = &mut cluster.site.gateways[active];
    match fault {
        Fault::Kill => gateway.kill9(),
        Fault::Pause => gateway.process.pause().await,
        Fault::Stop => {
            let code = gateway.stop(PATIENCE).await;
            assert_eq!(code, Some(0), "a stop is clean");
        }
    }
    let watch = Stopwatch::start();
    becomes_active(&cluster.site, 1 - active).await;
    let active_ms = watch.elapsed().as_millis();
    match fault {
        // It finds its session ended, begins anew and stands by. Until its connections end, by this or by a
        // heartbeat, the broker keeps for it what it was given last.
        Fault::Pause => cluster.site.gateways[active].process.resume(),
        Fault::Kill | Fault::Stop => cluster.works().await,
    }
    let worked_ms = watch.elapsed().as_millis();
    note(&format!(
        "{fault:?}: active after {active_ms} ms, went on within {worked_ms} ms"
    ));
    if fault != Fault::Pause {
        cluster.site.restart(active).await;
    }
    assert_eq!(
        settled(&cluster.site).await,
        1 - active,
        "nobody moved back"
    );
    cluster.works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clustered_host_runs_on_one_node_and_moves_when_that_is_lost() {
    let mut cluster = Cluster::start(GROUP, &|node| node).await;
    for fault in [Fault::Kill, Fault::Pause, Fault::Stop] {
        for _ in 0..TIMES {
            suffer(&mut cluster, fault).await;
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

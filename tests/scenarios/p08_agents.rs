//! P8 with agents: a clustered host has one active process among all nodes, and another one takes its place when its
//! process, its node or its agent is lost, or when an operator says so.
//!
//! Two nodes, each with an agent, share a store. Under load the active process is killed and paused, its agent is
//! killed (which takes the whole node down) and paused, the whole node is paused, the host is moved by an
//! operator and its node drained. A producer and a consumer that are not ours judge by the ids in the bodies.

use std::net::SocketAddr;

use bytes::Bytes;
use quayside_harness::{
    Load, LoadPlan, Node, OnBreak, Postgres, Stopwatch, client, scenario::pass_through, signal_all,
    wait_for,
};
use quayside_tests::{
    Site,
    cluster::{Cluster, PATIENCE, becomes_active, settled},
    judge, note,
};
use rustix::process::Signal;
use serde_json::json;

/// How often each thing happens to the active node.
const TIMES: usize = 2;

/// The clustered host.
const HOST: &str = "edge";

/// Budgets are for nodes that are sick, and not for a test.
const GROUP: &str = r#"
[quarantine]
lost = "100 per 1h"

[host.edge]
members = ["node-a", "node-b"]
clustered = { restarts = "100 per 15m", moves = "100 per 1h" }
"#;

/// What happens to the active process or its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KillProcess,
    PauseProcess,
    KillAgent,
    PauseAgent,
    PauseNode,
    Move,
    Drain,
    StopNode,
}

const FAULTS: [Fault; 8] = [
    Fault::KillProcess,
    Fault::PauseProcess,
    Fault::KillAgent,
    Fault::PauseAgent,
    Fault::PauseNode,
    Fault::Move,
    Fault::Drain,
    Fault::StopNode,
];

/// Which process owns the host, as the store has it.
async fn owner(cluster: &Cluster, no: usize) -> Result<String, String> {
    let told = cluster.site.gateways[no].api("cluster").await?;
    let instance = told["hosts"][0]["instance"].as_str();
    instance.map(str::to_owned).ok_or_else(|| told.to_string())
}

/// Does it to the active node; afterwards both nodes run again.
async fn suffer(cluster: &mut Cluster, fault: Fault) {
    let active = settled(&cluster.site).await;
    let other = 1 - active;
    cluster.works().await;
    let before = owner(cluster, other).await.expect("somebody has it");
    let family = cluster.site.gateways[active].family();
    let process = cluster.site.gateways[active].process_of(HOST);
    let process = [process.expect("the active process")];
    let name = cluster.site.nodes[active].name().to_owned();
    let watch = Stopwatch::start();
    match fault {
        Fault::KillProcess => signal_all(&process, Signal::KILL),
        Fault::PauseProcess => signal_all(&process, Signal::STOP),
        Fault::KillAgent => {
            cluster.site.gateways[active].kill9();
        }
        Fault::PauseAgent => cluster.site.gateways[active].process.pause().await,
        Fault::PauseNode => signal_all(&family, Signal::STOP),
        Fault::Move => {
            let to = json!({ "to": cluster.site.nodes[other].name() });
            let path = format!("cluster/hosts/{HOST}/move");
            let moved = cluster.site.gateways[active].post(&path, &to).await;
            moved.expect("the order is taken");
        }
        Fault::Drain => {
            let path = format!("cluster/nodes/{name}/drain");
            let drained = cluster.site.gateways[active].post(&path, &json!({})).await;
            drained.expect("the order is taken");
        }
        Fault::StopNode => {
            let code = cluster.site.gateways[active].stop(PATIENCE).await;
            assert_eq!(code, Some(0), "a stop is clean");
        }
    }
    wait_for(
        "another process to own the host",
        PATIENCE,
        async || match owner(cluster, other).await? {
            now if now == before => Err("the same one".to_owned()),
            _ => Ok(()),
        },
    )
    .await;
    let owned_ms = watch.elapsed().as_millis();
    if fault == Fault::PauseNode {
        // Until its connections end, the broker keeps for it what it was given last.
        signal_all(&family, Signal::CONT);
    }
    if fault == Fault::PauseAgent {
        cluster.site.gateways[active].process.resume();
    }
    cluster.works().await;
    let worked_ms = watch.elapsed().as_millis();
    note(&format!(
        "{fault:?}: taken after {owned_ms} ms, went on within {worked_ms} ms"
    ));
    match fault {
        Fault::KillAgent | Fault::StopNode => cluster.site.restart(active).await,
        Fault::Drain => {
            let path = format!("cluster/nodes/{name}/resume");
            let resumed = cluster.site.gateways[active].post(&path, &json!({})).await;
            resumed.expect("the order is taken");
        }
        _ => {}
    }
    let now = settled(&cluster.site).await;
    if !matches!(fault, Fault::KillProcess | Fault::PauseProcess) {
        assert_eq!(now, other, "{fault:?}: the other node has it");
    }
    becomes_active(&cluster.site, now).await;
    cluster.works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_is_active_whatever_happens_to_it_and_its_node() {
    let mut cluster = Cluster::start(GROUP, &|node| node.with_agent()).await;
    for fault in FAULTS {
        for _ in 0..TIMES {
            suffer(&mut cluster, fault).await;
        }
    }
    cluster.judge().await;
}

/// Requests come in on every node, and one process at a time sends to the partner.
const WEB_AND_EDGE: &str = r#"
[host.web]
members = ["node-a", "node-b"]

[host.edge]
members = ["node-a", "node-b"]
clustered = { restarts = "100 per 15m", moves = "100 per 1h" }
"#;

async fn takes_requests(server: SocketAddr) {
    wait_for("a node to take requests", PATIENCE, async || {
        let ask = client::request("GET", server, "/readyz", &[], Bytes::new());
        let answer = client::once(server, ask, PATIENCE).await;
        match answer.map_err(|error| error.to_string())?.status {
            status if status.is_success() => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_are_enough() {
    let app = |partner: SocketAddr| {
        // The first host of the application is that of its location.
        pass_through(partner, "", "").replacen("host = \"edge\"", "host = \"web\"", 1)
    };
    let made = |node: Node| node.with_group(WEB_AND_EDGE).with_agent();
    let mut site = Site::of(Some(Postgres::start().await), 2, &app, &made).await;
    let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 8);
    plan.on_break = OnBreak::Mixed;
    let load = Load::start(plan);
    for lost in [0, 1, 0] {
        for server in site.servers() {
            takes_requests(server).await;
        }
        let watch = Stopwatch::start();
        site.gateways[lost].kill9();
        // Only the other node takes requests now, and sends what both have taken.
        load.wait_accepted(200, PATIENCE).await;
        let sent = site.partner.log().await.len();
        wait_for("the other node to send", PATIENCE, async || {
            let now = site.partner.log().await.len();
            if now > sent + 50 {
                Ok(())
            } else {
                Err(format!("{sent}, then {now}"))
            }
        })
        .await;
        note(&format!(
            "node {lost} killed: the other one took and sent everything after {} ms",
            watch.elapsed().as_millis()
        ));
        site.restart(lost).await;
    }
    let report = load.finish().await;
    site.gateways[0].drained(PATIENCE).await;
    let verdict = judge(&report, &site.partner.log().await);
    note(&verdict.to_string());
    assert!(verdict.exactly_once(), "{verdict}");
}

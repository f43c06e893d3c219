//! P8, and what the nodes of a clustered host can reach: a broker that nobody can reach moves nothing, and one that
//! only the active node cannot reach moves the host to a node that can. What an owner that is paused has open at the
//! broker is closed by the next one.
//!
//! Two nodes, each with an agent, reach a broker through a proxy of their own. A producer and a consumer that are not
//! ours, and that use no proxy, judge by the ids in the bodies.

use quayside_harness::{Lost, Node, RabbitMq, Stopwatch, signal_all, wait_for};
use quayside_tests::{
    cluster::{Cluster, PATIENCE, settled},
    note,
};
use rustix::process::Signal;
use serde_json::Value;

/// Budgets are for nodes that are sick, and not for a test.
const GROUP: &str = r#"
[quarantine]
lost = "100 per 1h"

[host.edge]
members = ["node-a", "node-b"]
clustered = { moves = "100 per 1h", adapter_patience = "2s" }
"#;

/// So long a fault lasts until it is certain that nothing moves for it.
const CERTAIN_MS: u64 = 8000;

/// What the nodes say of the clustered host, asked on node `no`.
async fn told(cluster: &Cluster, no: usize) -> Result<Value, String> {
    let told = cluster.site.gateways[no].api("cluster").await?;
    Ok(told["hosts"][0].clone())
}

/// Of how many nodes the process says that it cannot reach the broker, and of how many that it can.
fn reach(told: &Value) -> (usize, usize) {
    let reports = told["reports"].as_array().cloned().unwrap_or_default();
    let any = |key: &str| {
        let said = |report: &&Value| {
            report[key]
                .as_array()
                .is_some_and(|names| !names.is_empty())
        };
        reports.iter().filter(said).count()
    };
    (any("adapters_down"), any("adapters_up"))
}

/// Waits until both nodes have reached the broker for long enough that either could be moved to.
async fn both_reach_it(cluster: &Cluster) {
    wait_for("both nodes to reach the broker", PATIENCE, async || {
        let told = told(cluster, 0).await?;
        match (reach(&told), told["state"] == "active") {
            ((0, 2), true) => Ok(()),
            _ => Err(told.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_moves_for_its_own_node_and_not_for_the_broker() {
    let broker = RabbitMq::start().await;
    let agents = |node: Node| node.with_agent();
    let (mut cluster, proxies) = Cluster::behind(broker, GROUP, &|app| app, &agents).await;
    let active = settled(&cluster.site).await;
    cluster.works().await;
    both_reach_it(&cluster).await;

    // Nobody can reach it.
    let before = told(&cluster, 0).await.expect("what is told");
    cluster.server.kill9().await;
    let what = "the outage to last for longer than anything waits";
    let down = wait_for(what, PATIENCE, async || {
        let told = told(&cluster, 0).await?;
        let lasts = told["since"]["ago_ms"].as_u64().unwrap_or(0);
        let down = told["state"] == "adapter-down" && reach(&told) == (2, 0);
        match down && lasts > CERTAIN_MS {
            true => Ok(told),
            false => Err(told.to_string()),
        }
    })
    .await;
    assert_eq!(
        (&down["instance"], &down["epoch"]),
        (&before["instance"], &before["epoch"]),
        "nothing has moved"
    );
    cluster.server.start_again().await;
    cluster.works().await;
    both_reach_it(&cluster).await;
    let after = told(&cluster, 0).await.expect("what is told");
    assert_eq!(before["instance"], after["instance"], "nothing has moved");

    // The node that has the host cannot reach it.
    let other = 1 - active;
    proxies[active].lose(Lost::Both);
    wait_for("the host to move", PATIENCE, async || {
        let told = told(&cluster, other).await?;
        match told["node"] == cluster.site.nodes[other].name() && told["state"] == "active" {
            true => Ok(()),
            false => Err(told.to_string()),
        }
    })
    .await;
    cluster.works().await;
    let history = cluster.site.gateways[other].api("cluster/history").await;
    let history = history.expect("the history");
    let events = history["events"].as_array().cloned().unwrap_or_default();
    let cause = |event: &&Value| event["to"] == "draining" && event["cause"] == "adapter down";
    let moved: Vec<_> = events.iter().filter(cause).collect();
    assert_eq!(moved.len(), 1, "{history}");
    note(&format!("moved: {}", moved[0]));

    // It can again, and nothing moves back.
    proxies[active].pass();
    both_reach_it(&cluster).await;
    assert_eq!(settled(&cluster.site).await, other, "nobody moved back");
    cluster.judge().await;
}

/// A node with its own password for the broker.
fn with_password(node: Node) -> Node {
    let own = node.name().to_owned();
    let node = node.with_secret("mq", &own).with_secret("closer", "guest");
    node.with_agent()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_paused_owner_has_open_at_the_broker_is_closed() {
    let broker = RabbitMq::start_with(&["rabbitmq_management"]).await;
    for node in ["node-a", "node-b"] {
        broker.add_user(&format!("edge-{node}"), node).await;
    }
    // By itself the broker would notice a paused owner after three minutes.
    let login = format!(
        "{{ var = \"broker\" }}\nuser = \"edge-{{node}}\"\npassword = {{ secret = \"mq\" }}\nheartbeat = \"1m\"\n\
         takeover = {{ management = \"{}\", user = \"guest\", password = {{ secret = \"closer\" }} }}",
        broker.management()
    );
    let app = |app: String| app.replace("{ var = \"broker\" }", &login);
    let (mut cluster, _proxies) = Cluster::behind(broker, GROUP, &app, &with_password).await;
    let active = settled(&cluster.site).await;
    cluster.works().await;
    let other = 1 - active;
    let user = format!("edge-{}", cluster.site.nodes[active].name());
    assert!(
        cluster.server.connections_of(&user).await > 0,
        "{user} is used"
    );

    let family = cluster.site.gateways[active].family();
    signal_all(&family, Signal::STOP);
    let watch = Stopwatch::start();
    wait_for("the other node to take over", PATIENCE, async || {
        let told = told(&cluster, other).await?;
        match told["node"] == cluster.site.nodes[other].name() && told["state"] == "active" {
            true => Ok(()),
            false => Err(told.to_string()),
        }
    })
    .await;
    let active_ms = watch.elapsed().as_millis();
    // While the former owner is paused.
    wait_for(
        "its connections to be closed",
        PATIENCE,
        async || match cluster.server.connections_of(&user).await {
            0 => Ok(()),
            some => Err(format!("{some} of {user} work")),
        },
    )
    .await;
    cluster.works().await;
    let worked_ms = watch.elapsed().as_millis();
    note(&format!(
        "paused: another owner after {active_ms} ms, went on within {worked_ms} ms"
    ));
    signal_all(&family, Signal::CONT);
    assert_eq!(settled(&cluster.site).await, other, "nobody moved back");
    cluster.judge().await;
}

//! P8 rehearsed: `quayside cluster drill` moves a clustered host there and back, and kills its process, under load, and
//! tells what that cost. What it tells is held against a producer and a consumer that are not ours.

use std::process::{Command, Output};

use quayside_harness::{program, wait_for};
use quayside_tests::{
    cluster::{Cluster, PATIENCE, settled},
    note,
};
use serde_json::Value;

/// Two moves are all that the budget has, and a drill takes none of them.
const GROUP: &str = r#"
[host.edge]
members = ["node-a", "node-b"]
clustered = { restarts = "1 per 15m", moves = "2 per 1h" }
"#;

/// How often the process is killed: more often than the budget has moves.
const KILLS: usize = 3;

/// Runs the program against node `no`.
async fn quayside(cluster: &Cluster, no: usize, args: &[&str]) -> Output {
    let admin = format!("http://{}", cluster.site.gateways[no].admin);
    let mut command = Command::new(program("quayside"));
    command
        .args(args)
        .env("QUAYSIDE_ADMIN", admin)
        .env("NO_COLOR", "1");
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("it is run").expect("the program runs")
}

async fn json(cluster: &Cluster, no: usize, args: &[&str]) -> Value {
    let output = quayside(cluster, no, &[args, &["-o", "json"]].concat()).await;
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What a drill tells of each takeover is plausible.
fn check(drill: &Value, count: usize, in_doubt: bool) {
    note(&format!("{drill}"));
    let takeovers = drill["takeovers"].as_array().expect("a list");
    assert_eq!(
        (takeovers.len(), &drill["lost"]),
        (count, &0.into()),
        "{drill:#}"
    );
    for takeover in takeovers {
        assert_ne!(takeover["from"], takeover["node"], "{drill:#}");
        assert_eq!(takeover["went_on"], true, "{drill:#}");
        let gap = takeover["gap_ms"].as_u64().expect("there is traffic");
        assert!((1..5000).contains(&gap), "{drill:#}");
        let out = takeover["out_of_work_ms"].as_u64().expect("it is recorded");
        assert!(out < 5000, "{drill:#}");
        assert_eq!(
            (&takeover["open"], &takeover["kept"]),
            (&0.into(), &0.into())
        );
        assert!(
            in_doubt || takeover["in_doubt"] == 0,
            "a move leaves no doubt: {drill:#}"
        );
    }
}

/// Waits until another node than the owner has a process ready.
async fn could_take_over(cluster: &Cluster, no: usize) {
    wait_for("another node that could take over", PATIENCE, async || {
        let told = cluster.site.gateways[no].api("cluster").await?;
        let next = told["hosts"][0]["next"].is_string();
        next.then_some(()).ok_or_else(|| told.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_tells_what_a_takeover_costs() {
    let mut cluster = Cluster::start(GROUP, &|node| node.with_agent()).await;
    let active = settled(&cluster.site).await;
    cluster.works().await;
    let asked = quayside(
        &cluster,
        active,
        &["cluster", "drill", "edge", "--fault", "kill"],
    )
    .await;
    assert_eq!(asked.status.code(), Some(2), "it wants a yes: {asked:?}");
    could_take_over(&cluster, active).await;
    let drill = json(&cluster, active, &["cluster", "drill", "edge"]).await;
    check(&drill, 2, false);
    assert_eq!(settled(&cluster.site).await, active, "there and back");
    for _ in 0..KILLS {
        let now = settled(&cluster.site).await;
        could_take_over(&cluster, now).await;
        cluster.works().await;
        let kill = [
            "cluster", "drill", "edge", "--fault", "kill", "--yes", "--reason", "friday",
        ];
        check(&json(&cluster, active, &kill).await, 1, true);
    }
    let told = cluster.site.gateways[active]
        .api("cluster")
        .await
        .expect("an answer");
    assert_eq!(told["hosts"][0]["moves"]["used"], 0, "{told:#}");
    let history = quayside(&cluster, active, &["cluster", "history", "edge"]).await;
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    for part in [
        "its process to be killed",
        "drill, friday",
        "drill: killed: a drill",
    ] {
        assert!(history.contains(part), "`{part}` is missing:\n{history}");
    }
    let doubts = json(&cluster, active, &["cluster", "in-doubt", "edge"]).await;
    assert_eq!(doubts["deliveries"], serde_json::json!([]), "{doubts:#}");

    // A node that is drained could not take over.
    let now = settled(&cluster.site).await;
    let other = cluster.site.nodes[1 - now].name().to_owned();
    let drained = quayside(&cluster, now, &["cluster", "drain", &other]).await;
    assert!(drained.status.success(), "{drained:?}");
    let refused = quayside(&cluster, now, &["cluster", "drill", "edge"]).await;
    let shown = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(1) && shown.contains("QS0727"),
        "{shown}"
    );
    let resumed = quayside(&cluster, now, &["cluster", "resume", &other]).await;
    assert!(resumed.status.success(), "{resumed:?}");

    measured(&cluster, now).await;
    cluster.works().await;
    cluster.judge().await;
}

/// The admin address of a node tells what the processes of its hosts measure, and how the cluster stands.
async fn measured(cluster: &Cluster, active: usize) {
    let mut drills = 0.0;
    for (no, gateway) in cluster.site.gateways.iter().enumerate() {
        let metrics = wait_for("the metrics of the cluster", PATIENCE, async || {
            let metrics = gateway.metrics().await?;
            let states = metrics.sum("quayside_cluster_host_state", "state=\"active\"");
            let known = states > 0.5;
            known
                .then_some(metrics)
                .ok_or_else(|| "it is not active".to_owned())
        })
        .await;
        let here = f64::from(u8::from(no == active));
        let is = |name: &str, label: &str, value: f64| {
            let sum = metrics.sum(name, label);
            assert!(
                (sum - value).abs() < 0.5,
                "{name} {label}: {sum}, not {value}"
            );
        };
        is("quayside_cluster_host_here", "host=\"edge\"", here);
        is("quayside_cluster_host_moves_used", "host=\"edge\"", 0.0);
        // Who stands by does what it should: no alert on what is not ready may fire for ever.
        is("quayside_ready", "host=\"edge\"", 1.0);
        let up = metrics.sum("quayside_port_up", "host=\"edge\"");
        assert_eq!(up > 0.5, no == active, "{up}");
        drills += metrics.sum("quayside_cluster_transitions_total", "cause=\"drill\"");
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let wanted = KILLS as f64;
    assert!((drills - wanted).abs() < 0.5, "{drills}");
}

//! P5: an owner that was paused beyond its lease writes nothing and sends nothing when it goes on.

use std::time::Duration;

use quayside_harness::{App, Gateway, Load, LoadPlan, Node, Partner, Postgres, items, wait_for};
use quayside_tests::{Site, Store, judge};
use serde_json::json;

/// Longer than the lease of the default profile, release and claims by another node included.
const TAKEN_OVER: Duration = Duration::from_secs(15);

/// The instances that the store holds for live, as machine `no` tells it.
async fn live_instances(site: &Site, no: usize) -> Result<Vec<String>, String> {
    let all = site.gateways[no].api("instances").await?;
    let live = items(&all).iter().filter(|i| i["live"] == true);
    Ok(live
        .filter_map(|i| i["node"].as_str().map(str::to_owned))
        .collect())
}

/// Waits until exactly these machines have a live instance, as machine 1 tells it.
async fn until_live(site: &Site, what: &str, nodes: &[&str]) {
    wait_for(what, TAKEN_OVER, async || {
        let mut live = live_instances(site, 1).await?;
        live.sort();
        if live == nodes {
            Ok(())
        } else {
            Err(format!("live: {live:?}"))
        }
    })
    .await;
}

/// The instance that runs in a process, once it is ready.
async fn instance(gateway: &Gateway) -> Result<String, String> {
    let status = gateway.api("status").await?;
    match (&status["ready"], status["instance"].as_str()) {
        (serde_json::Value::Bool(true), Some(instance)) => Ok(instance.to_owned()),
        _ => Err(status.to_string()),
    }
}

/// Waits until a process is of use again, as another instance than `stale`.
async fn until_replaced(gateway: &Gateway, stale: &str) {
    wait_for("another instance", TAKEN_OVER, async || {
        match instance(gateway).await? {
            new if new == stale => Err(format!("still instance {stale}")),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_process_is_replaced_and_has_no_say_afterwards() {
    let site = Site::with(Store::Postgres, 2, "", "").await;
    site.partner
        .fault(&json!({ "kind": "slow", "delay_ms": 30 }))
        .await;
    let load = Load::start(LoadPlan::new(&site.servers(), "/in/orders", 16));
    load.wait_accepted(300, Duration::from_secs(60)).await;

    let paused = &site.gateways[0];
    let stale = instance(paused).await.expect("it is ready");
    paused.process.pause().await;
    let held = site.claimed(0).await;
    assert!(held > 0, "the paused process holds work");
    until_live(&site, "the other node to end the session", &["node-b"]).await;
    wait_for("its claims to be released", TAKEN_OVER, async || {
        let left = site.claimed(0).await;
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} of {held} are left"))
        }
    })
    .await;

    let before = site.partner.log().await.len();
    paused.process.resume();
    load.wait_accepted(300, Duration::from_secs(60)).await;
    let both = ["node-a", "node-b"];
    until_live(&site, "the paused process to come back", &both).await;
    wait_for(
        "it to be of use again",
        TAKEN_OVER,
        async || match instance(paused).await? {
            new if new == stale => Err(format!("still instance {stale}")),
            _ => Ok(()),
        },
    )
    .await;
    let said = paused.process.stderr();
    assert!(said.contains("QS0811") && said.contains("QS0714"), "{said}");
    let order = site.order("after").await;
    assert_eq!(order.status, 202, "{}", order.text());
    let report = load.finish().await;
    site.gateways[1].drained(Duration::from_secs(60)).await;
    let log = site.partner.log().await;
    assert!(log.len() > before, "work goes on");
    let verdict = judge(&report, &log);
    assert!(verdict.exactly_once(), "{verdict}");
    // What was in its hands is sent again once by the new owner; the old one adds nothing to that.
    let held = usize::try_from(held).expect("a count");
    assert!(verdict.repeats <= held, "{held} were held, {verdict}");
}

/// Two machines that take over soon.
async fn hasty_site() -> Site {
    let server = Postgres::start().await;
    let url = server.create_database("quayside").await;
    let partner = Partner::start().await;
    let app = App::pass_through(partner.addr(), "", "");
    let node = |name| {
        let node = Node::new(name, app.path()).with_store(&url);
        node.with_config("[session]\nprofile = \"fast\"\n")
    };
    let nodes = vec![node("node-a"), node("node-b")];
    let gateways = vec![nodes[0].start().await, nodes[1].start().await];
    Site {
        gateways,
        nodes,
        app,
        partner,
        server: Some(server),
    }
}

/// So many losses within a minute end a process, with this exit code.
const LOSSES: usize = 5;
const LOST: i32 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_lost_again_and_again_ends_for_its_supervisor() {
    let mut site = hasty_site().await;
    for loss in 1..=LOSSES {
        let paused = &site.gateways[0];
        let stale = instance(paused).await.expect("it is ready");
        paused.process.pause().await;
        until_live(&site, "the session to be ended", &["node-b"]).await;
        paused.process.resume();
        if loss < LOSSES {
            until_replaced(paused, &stale).await;
        }
    }
    let lost = &mut site.gateways[0].process;
    let exit = lost.wait_exit(TAKEN_OVER).await;
    let said = lost.stderr();
    assert_eq!(exit.code(), Some(LOST), "{said}");
    assert!(said.contains("QS0721"), "{said}");
    // The supervisor.
    site.restart(0).await;
    let order = site.order("1").await;
    assert_eq!(order.status, 202, "{}", order.text());
    site.gateways[0].drained(TAKEN_OVER).await;
    let effects = site.partner.log().await;
    assert_eq!(effects.iter().filter(|seen| seen.effect).count(), 1);
}

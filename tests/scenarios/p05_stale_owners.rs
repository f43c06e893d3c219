//! P5: an owner that was paused beyond its lease writes nothing and sends nothing when it goes on.

use std::time::Duration;

use quayside_harness::{Load, LoadPlan, items, wait_for};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_process_is_replaced_and_has_no_say_afterwards() {
    let site = Site::with(Store::Postgres, 2, "", "").await;
    site.partner
        .fault(&json!({ "kind": "slow", "delay_ms": 30 }))
        .await;
    let load = Load::start(LoadPlan::new(&site.servers(), "/in/orders", 16));
    load.wait_accepted(300, Duration::from_secs(60)).await;

    let paused = &site.gateways[0];
    paused.process.pause().await;
    let held = site.claimed(0).await;
    assert!(held > 0, "the paused process holds work");
    wait_for(
        "the other node to end the session",
        TAKEN_OVER,
        async || {
            let live = live_instances(&site, 1).await?;
            if live == ["node-b"] {
                Ok(())
            } else {
                Err(format!("live: {live:?}"))
            }
        },
    )
    .await;
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
    wait_for(
        "the paused process to come back as a new instance",
        TAKEN_OVER,
        async || {
            let mut live = live_instances(&site, 1).await?;
            live.sort();
            if live == ["node-a", "node-b"] {
                Ok(())
            } else {
                Err(format!("live: {live:?}"))
            }
        },
    )
    .await;
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

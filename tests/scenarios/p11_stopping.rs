//! P11: stopping is safe. SIGTERM drains; behind a load balancer nobody notices.

use std::time::Duration;

use quayside_harness::{Haproxy, Load, LoadPlan, OnBreak, wait_for};
use quayside_tests::{Site, Store, judge};

/// How long a gateway may take to stop.
const STOP: Duration = Duration::from_secs(30);

const CLIENTS: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_and_ends_with_zero() {
    for store in [Store::Sqlite, Store::Postgres] {
        let mut site = Site::start(store).await;
        let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 16);
        plan.on_break = OnBreak::Mixed;
        let load = Load::start(plan);
        for _ in 0..3 {
            load.wait_accepted(200, Duration::from_secs(60)).await;
            assert_eq!(site.gateways[0].stop(STOP).await, Some(0), "{store:?}");
            site.restart(0).await;
        }
        let report = load.finish().await;
        site.gateway().drained(Duration::from_secs(60)).await;
        let verdict = judge(&report, &site.partner.log().await);
        assert!(verdict.exactly_once(), "{store:?}: {verdict}");
        assert_eq!(
            verdict.repeats, 0,
            "{store:?}: a stop leaves nothing in doubt: {verdict}"
        );
    }
}

/// Waits until the load balancer sends requests to machine `no`.
async fn in_rotation(site: &Site, no: usize) {
    let before = accepted(site, no).await;
    wait_for(
        "the load balancer to use it again",
        Duration::from_secs(20),
        async || {
            let now = accepted(site, no).await;
            if now > before {
                Ok(())
            } else {
                Err(format!("{now} requests"))
            }
        },
    )
    .await;
}

async fn accepted(site: &Site, no: usize) -> u64 {
    let status = site.gateways[no].api("status").await.expect("its status");
    status["counters"]["accepted"].as_u64().expect("a counter")
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_restarts_in_turn_fail_no_request() {
    let mut site = Site::with(Store::Postgres, 2, "", "").await;
    let haproxy = Haproxy::start(&site.servers(), true).await;
    let mut plan = LoadPlan::new(&[haproxy.addr()], "/in/orders", CLIENTS);
    plan.on_break = OnBreak::Abandon;
    let load = Load::start(plan);
    for round in 0..20 {
        let victim = round % 2;
        in_rotation(&site, 1 - victim).await;
        load.wait_accepted(100, Duration::from_secs(60)).await;
        assert_eq!(
            site.gateways[victim].stop(STOP).await,
            Some(0),
            "round {round}"
        );
        site.restart(victim).await;
        in_rotation(&site, victim).await;
    }
    let report = load.finish().await;
    let failed: Vec<_> = report.answers.iter().filter(|a| !a.accepted()).collect();
    let asked = report.answers.len();
    assert!(
        failed.is_empty(),
        "{} of {asked} failed: {:?}",
        failed.len(),
        failed.first()
    );
    site.gateway().drained(Duration::from_secs(60)).await;
    let verdict = judge(&report, &site.partner.log().await);
    assert!(verdict.exactly_once(), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_a_kill_fails_only_what_was_in_flight_there() {
    let mut site = Site::with(Store::Postgres, 2, "", "").await;
    let haproxy = Haproxy::start(&site.servers(), true).await;
    let mut plan = LoadPlan::new(&[haproxy.addr()], "/in/orders", CLIENTS);
    plan.on_break = OnBreak::Abandon;
    let load = Load::start(plan);
    for victim in [0, 1, 0] {
        load.wait_accepted(300, Duration::from_secs(60)).await;
        site.gateways[victim].kill9();
        load.wait_accepted(300, Duration::from_secs(60)).await;
        site.restart(victim).await;
        in_rotation(&site, victim).await;
    }
    let report = load.finish().await;
    let failed = report.answers.iter().filter(|a| !a.accepted()).count();
    // Each client has one request under way, and about half of them were at the process that died.
    assert!(
        failed <= 3 * CLIENTS,
        "{failed} of {} failed",
        report.answers.len()
    );
    site.gateway().drained(Duration::from_secs(60)).await;
    let verdict = judge(&report, &site.partner.log().await);
    assert!(verdict.exactly_once(), "{verdict}");
}

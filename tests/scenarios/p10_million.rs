//! P10: a backlog waits in little memory, and drains about as fast as messages pass through.
//!
//! Takes minutes for each store and gigabytes of disk, so it runs on demand: `tests/run --soak [COUNT]`. A
//! million is what the promise speaks of; the rates show themselves with far fewer.

use std::time::Duration;

use quayside_harness::{Gateway, Load, LoadPlan, Stopwatch, wait_for};
use quayside_tests::{Site, Store, note};
use serde_json::json;

const MIB: u64 = 1024 * 1024;

/// How many messages wait behind the stopped port, unless `QUAYSIDE_SOAK_MESSAGES` says otherwise.
const BACKLOG: u32 = 200_000;

/// The most resident memory of a process that so many wait for (design section 10).
const MEMORY: u64 = 200 * MIB;

/// How many deliveries the rate without a backlog is measured over.
const SAMPLE: u32 = 20_000;

/// How much of the rate without a backlog is left while one drains, at least.
const DRAIN: f64 = 0.8;

/// The slowest that messages may come or go, so that every run ends: one in this time.
const SLOWEST: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_waits_in_little_memory_and_drains_on_sqlite() {
    a_backlog(Store::Sqlite, backlog()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_waits_in_little_memory_and_drains_on_postgres() {
    a_backlog(Store::Postgres, backlog()).await;
}

fn backlog() -> u32 {
    match std::env::var("QUAYSIDE_SOAK_MESSAGES") {
        Ok(count) => count.parse().expect("QUAYSIDE_SOAK_MESSAGES is a number"),
        Err(_) => BACKLOG,
    }
}

async fn a_backlog(store: Store, backlog: u32) {
    let site = Site::start(store).await;
    let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 64);
    plan.size = 200;
    let load = Load::start(plan);
    load.wait_accepted(1000, Duration::from_secs(60)).await;
    let through = deliveries_per_s(&site).await;
    note(&format!("{store:?}: {through:.0}/s pass through"));

    switch(site.gateway(), "stop").await;
    let before = site.gateway().process.rss();
    let watch = Stopwatch::start();
    load.wait_accepted(u64::from(backlog), SLOWEST * backlog)
        .await;
    let filled = watch.elapsed();
    let accepted = load.finish().await.accepted().len() as u64;
    let waiting = site.number("SELECT count(*) FROM delivery").await;
    let waiting = u32::try_from(waiting).expect("a count");
    let rss = site.gateway().process.rss();
    note(&format!(
        "{store:?}: {waiting} wait after {filled:?}, in {} MiB, {} MiB when they began",
        rss / MIB,
        before / MIB
    ));
    assert!(waiting >= backlog, "{waiting}");

    let watch = Stopwatch::start();
    switch(site.gateway(), "start").await;
    site.gateway().drained(SLOWEST * waiting).await;
    let draining = f64::from(waiting) / watch.elapsed().as_secs_f64();
    let peak = site.gateway().process.peak_rss();
    note(&format!(
        "{store:?}: drained at {draining:.0}/s, {:.2} of the rate without a backlog, in {} MiB at most",
        draining / through,
        peak / MIB
    ));
    let counts = site.partner.counts().await;
    assert_eq!(counts["effective_ids"], accepted, "lost: {counts}");
    assert_eq!(counts["max_effects_per_id"], 1, "done twice: {counts}");
    assert_eq!(counts["max_keys_per_id"], 1, "several keys: {counts}");
    assert!(rss < MEMORY && peak < MEMORY, "{} MiB", rss.max(peak) / MIB);
    assert!(
        draining >= DRAIN * through,
        "{draining:.0}/s, {through:.0}/s without a backlog"
    );
}

async fn switch(gateway: &Gateway, verb: &str) {
    let path = format!("ports/t.out/{verb}");
    let answer = gateway.post(&path, &json!({})).await;
    answer.unwrap_or_else(|e| panic!("{path}: {e}"));
}

/// How many orders a second have their effect, from now on.
async fn deliveries_per_s(site: &Site) -> f64 {
    let start = effects(site).await;
    let watch = Stopwatch::start();
    let done = wait_for("orders at the partner", SLOWEST * SAMPLE, async || {
        let done = effects(site).await - start;
        if done >= u64::from(SAMPLE) {
            Ok(done)
        } else {
            Err(format!("{done} of {SAMPLE}"))
        }
    })
    .await;
    f64::from(u32::try_from(done).expect("a sample")) / watch.elapsed().as_secs_f64()
}

async fn effects(site: &Site) -> u64 {
    let counts = site.partner.counts().await;
    counts["effects"].as_u64().expect("a count")
}

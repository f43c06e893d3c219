//! P10: a million messages wait in little memory, and drain about as fast as messages pass through.
//!
//! Takes some minutes for each store and gigabytes of disk, so it runs on demand: `tests/run --soak`.

use std::time::Duration;

use quayside_harness::{Gateway, Load, LoadPlan, Stopwatch, wait_for};
use quayside_tests::{Site, Store, note};
use serde_json::json;

const MIB: u64 = 1024 * 1024;

/// How many messages wait behind the stopped port.
const BACKLOG: u64 = 1_000_000;

/// The most resident memory of a process that so many wait for (design section 10).
const MEMORY: u64 = 200 * MIB;

/// How many deliveries a rate is measured over.
const SAMPLE: u64 = 20_000;

/// How long the backlog may take to come, and to go.
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn a_million_messages_wait_in_little_memory_and_drain_on_sqlite() {
    a_million(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_messages_wait_in_little_memory_and_drain_on_postgres() {
    a_million(Store::Postgres).await;
}

async fn a_million(store: Store) {
    let site = Site::start(store).await;
    let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 64);
    plan.size = 200;
    let load = Load::start(plan);
    load.wait_accepted(1000, Duration::from_secs(60)).await;
    let through = deliveries_per_s(&site).await;

    switch(site.gateway(), "stop").await;
    let before = site.gateway().process.rss();
    let watch = Stopwatch::start();
    load.wait_accepted(BACKLOG, HOUR).await;
    let filled = watch.elapsed();
    let accepted = load.finish().await.accepted().len() as u64;
    let waiting = site.number("SELECT count(*) FROM delivery").await;
    let rss = site.gateway().process.rss();
    note(&format!(
        "{store:?}: {waiting} wait after {filled:?}, in {} MiB, {} MiB when they began",
        rss / MIB,
        before / MIB
    ));
    assert!(
        u64::try_from(waiting).is_ok_and(|n| n >= BACKLOG),
        "{waiting}"
    );

    let watch = Stopwatch::start();
    switch(site.gateway(), "start").await;
    let draining = deliveries_per_s(&site).await;
    note(&format!(
        "{store:?}: {draining:.0}/s at the head of the backlog, {through:.0}/s through without one"
    ));
    site.gateway().drained(HOUR).await;
    let peak = site.gateway().process.peak_rss();
    note(&format!(
        "{store:?}: all gone in {:?}; {} MiB at most",
        watch.elapsed(),
        peak / MIB
    ));
    let counts = site.partner.counts().await;
    assert_eq!(counts["effective_ids"], accepted, "lost: {counts}");
    assert_eq!(counts["max_effects_per_id"], 1, "done twice: {counts}");
    assert_eq!(counts["max_keys_per_id"], 1, "several keys: {counts}");
    assert!(rss < MEMORY && peak < MEMORY, "{} MiB", rss.max(peak) / MIB);
    assert!(
        draining >= 0.8 * through,
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
    let done = wait_for("orders at the partner", HOUR, async || {
        let done = effects(site).await - start;
        if done >= SAMPLE {
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

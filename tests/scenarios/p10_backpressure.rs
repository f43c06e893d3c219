//! P10: memory is bounded; what is too much is refused with a time to come back; a backlog drains.

use std::time::Duration;

use quayside_harness::{Load, LoadPlan, OnBreak, Stopwatch, pass_through, wait_for};
use quayside_tests::{Site, Store, judge, note};

const MIB: u64 = 1024 * 1024;

/// How much a backlog may add to the memory of a process.
const GROWTH: u64 = 64 * MIB;

/// How long an answer may take, whatever the store does.
const ANSWER: Duration = Duration::from_secs(2);

/// How many messages wait behind the partner that is down.
const BACKLOG: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_waits_in_the_store_and_drains() {
    for store in [Store::Sqlite, Store::Postgres] {
        let site = Site::start(store).await;
        let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 32);
        plan.size = 2048;
        let load = Load::start(plan);
        load.wait_accepted(1000, Duration::from_secs(60)).await;
        let before = site.gateway().process.rss();
        site.partner.process.pause().await;
        load.wait_accepted(BACKLOG, Duration::from_secs(300)).await;
        let report = load.finish().await;
        let grown = site.gateway().process.rss().saturating_sub(before);
        assert!(
            grown < GROWTH,
            "{store:?}: {} MiB for {BACKLOG} messages",
            grown / MIB
        );

        site.partner.process.resume();
        let watch = Stopwatch::start();
        site.gateway().drained(Duration::from_secs(240)).await;
        note(&format!(
            "{store:?}: {BACKLOG} messages drained in {:?}",
            watch.elapsed()
        ));
        let verdict = judge(&report, &site.partner.log().await);
        assert!(verdict.exactly_once(), "{store:?}: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_with_a_time_to_come_back() {
    let app = |partner| {
        let text = pass_through(partner, "", "");
        let location = "[receive.orders.location.web.http]";
        assert!(
            text.contains(location),
            "the location to be narrowed is there"
        );
        let narrow = "[receive.orders.location.web]\nmax_in_flight = 4\n";
        text.replace(location, &format!("{narrow}{location}\nmax_in_flight = 4"))
    };
    let site = Site::new(Store::Postgres, 1, &app, &[]).await;
    assert_eq!(site.order("before").await.status, 202);
    // Commits hang, so that requests pile up at the location.
    let server = site.server.as_ref().expect("a server");
    server.pause();
    let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 64);
    plan.on_break = OnBreak::Abandon;
    plan.patience = Duration::from_secs(5);
    let load = Load::start(plan);
    wait_for(
        "the gateway to refuse",
        Duration::from_secs(20),
        async || {
            let status = site.gateway().api("status").await?;
            if status["ready"] == false {
                Ok(())
            } else {
                Err(status.to_string())
            }
        },
    )
    .await;
    let report = load.finish().await;
    server.resume();
    assert!(!report.answers.is_empty());
    for answer in &report.answers {
        let status = answer
            .outcome
            .as_ref()
            .unwrap_or_else(|e| panic!("{}: {e}", answer.id));
        assert!(matches!(status.code, 429 | 503), "{answer:?}");
        assert!(
            status.retry_after && status.problem.starts_with("QS"),
            "{answer:?}"
        );
        assert!(answer.took < ANSWER, "{answer:?}");
    }
    wait_for("it to accept again", Duration::from_secs(10), async || {
        let reply = site.order("after").await;
        if reply.status == 202 {
            Ok(())
        } else {
            Err(reply.text())
        }
    })
    .await;
}

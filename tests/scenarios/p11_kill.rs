//! P11: SIGKILL of anything at any instant loses nothing and does nothing twice.
//!
//! Clients outside the gateway write a business id into every body; some repeat a request without an
//! answer, others never speak of it again. The partner judges by id and `Idempotency-Key`. Before each
//! kill the process is frozen and the store is asked for work that it holds, so that the kills that
//! count are known and not guessed. With the key, the dedupe or the release of claims switched off the
//! same run fails, which shows that it would notice.

use std::{collections::HashSet, time::Duration};

use quayside_harness::{Load, LoadPlan, OnBreak, Seen, look_for, order_xml};
use quayside_tests::{Site, Store, Verdict, judge, note, post, two_ports};
use serde_json::json;

/// What a run has to reach.
struct Goal {
    kills: usize,
    kills_with_work: usize,
    accepted: u64,
    /// How long the last accepted message may take to arrive.
    patience: Duration,
}

/// What happened at each of the two ports.
struct Outcome {
    kills: usize,
    with_work: usize,
    /// The port without order.
    out: Verdict,
    /// The ordered one.
    sequence: Verdict,
}

async fn run(store: Store, machines: usize, goal: &Goal, fail_point: &str) -> Outcome {
    let env = [("QUAYSIDE_FAIL_POINTS", fail_point)];
    let mut site = Site::new(store, machines, &two_ports, &env).await;
    // A partner that acts at once and answers late: much is on its way at every instant.
    site.partner
        .fault(&json!({ "kind": "slow", "delay_ms": 15 }))
        .await;
    let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 24);
    plan.on_break = OnBreak::Mixed;
    let load = Load::start(plan);
    let (mut kills, mut with_work) = (0, 0);
    let share = goal.accepted / goal.kills as u64;
    while kills < goal.kills || with_work < goal.kills_with_work {
        assert!(
            kills < 4 * goal.kills,
            "only {with_work} of {kills} kills met claimed work"
        );
        load.wait_accepted(share, Duration::from_secs(60)).await;
        let victim = kills % machines;
        with_work += usize::from(site.pause(victim).await > 0);
        site.gateways[victim].kill9();
        kills += 1;
        site.restart(victim).await;
        repeat_an_accepted_one(&site).await;
    }
    let report = load.finish().await;
    let accepted: Vec<_> = report.accepted().iter().map(|a| a.id.clone()).collect();
    site.partner.heal().await;
    let log = settled(&site, &accepted, goal.patience).await;
    let at = |path: &str| {
        log.iter()
            .filter(|s| s.path == path)
            .cloned()
            .collect::<Vec<_>>()
    };
    let out = judge(&report, &at("/orders"));
    let sequence = judge(&report, &at("/sequence"));
    Outcome {
        kills,
        with_work,
        out,
        sequence,
    }
}

/// A client that lost its answer asks again with the same key, and the answer is the same. The id is
/// none of the load's, so that it is judged by its number of effects alone.
async fn repeat_an_accepted_one(site: &Site) {
    let body = order_xml("again", "again", 300);
    for addr in site.servers() {
        let reply = post(addr, "again", body.clone()).await.expect("an answer");
        assert_eq!(reply.status, 202, "{}", reply.text());
    }
}

/// The partner's log as soon as every accepted id had its effect at both ports, or when the time is up:
/// the judge then names what is missing.
async fn settled(site: &Site, accepted: &[String], patience: Duration) -> Vec<Seen> {
    let mut log = Vec::new();
    // Whether it is all there is judged from the log.
    let _all_there = look_for(patience, async || {
        log = site.partner.log().await;
        let missing = missing(&log, "/orders", accepted) + missing(&log, "/sequence", accepted);
        if missing == 0 {
            Ok(())
        } else {
            Err(format!("{missing} are missing"))
        }
    })
    .await;
    log
}

fn missing(log: &[Seen], path: &str, accepted: &[String]) -> usize {
    let ids = log
        .iter()
        .filter(|s| s.effect && s.path == path)
        .map(|s| s.id.as_str());
    let ids: HashSet<_> = ids.collect();
    accepted
        .iter()
        .filter(|id| !ids.contains(id.as_str()))
        .count()
}

async fn nothing_is_lost_or_doubled(store: Store, machines: usize) {
    let goal = Goal {
        kills: 30,
        kills_with_work: 20,
        accepted: 10_500,
        patience: Duration::from_secs(60),
    };
    let outcome = run(store, machines, &goal, "").await;
    let (kills, with_work) = (outcome.kills, outcome.with_work);
    note(&format!(
        "{kills} kills, {with_work} of them with claimed work"
    ));
    note(&format!("without order: {}", outcome.out));
    note(&format!("in order: {}", outcome.sequence));
    assert!(outcome.out.exactly_once(), "{}", outcome.out);
    assert!(outcome.sequence.exactly_once(), "{}", outcome.sequence);
    assert!(
        outcome.sequence.out_of_order.is_empty(),
        "{}",
        outcome.sequence
    );
    assert!(outcome.out.accepted >= 10_000, "{}", outcome.out);
    assert!(
        outcome.out.repeats > 0,
        "no kill met a request on its way: {}",
        outcome.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_on_sqlite() {
    nothing_is_lost_or_doubled(Store::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_by_two_processes_on_postgres() {
    nothing_is_lost_or_doubled(Store::Postgres, 2).await;
}

/// A short run with a fail point on.
async fn broken(store: Store, machines: usize, fail_point: &str) -> Outcome {
    let goal = Goal {
        kills: 6,
        kills_with_work: 4,
        accepted: 1_200,
        patience: Duration::from_secs(20),
    };
    run(store, machines, &goal, fail_point).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_stable_key_the_partner_acts_twice() {
    for (store, machines) in [(Store::Sqlite, 1), (Store::Postgres, 2)] {
        let outcome = broken(store, machines, "no-idempotency-key").await;
        assert!(
            !outcome.out.several_keys.is_empty(),
            "{store:?}: {}",
            outcome.out
        );
        assert!(!outcome.out.exactly_once(), "{store:?}: {}", outcome.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dedupe_repeats_are_delivered_again() {
    for (store, machines) in [(Store::Sqlite, 1), (Store::Postgres, 2)] {
        let outcome = broken(store, machines, "no-dedupe").await;
        assert!(
            !outcome.out.doubled.is_empty(),
            "{store:?}: {}",
            outcome.out
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_release_of_claims_messages_stay_behind() {
    for (store, machines) in [(Store::Sqlite, 1), (Store::Postgres, 2)] {
        let Outcome { out, sequence, .. } = broken(store, machines, "no-claim-release").await;
        // What a kill met in hand may all belong to the ordered port, the slower of both.
        let behind = out.lost.len() + sequence.lost.len();
        assert!(behind > 0, "{store:?}: {out}; in order: {sequence}");
    }
}

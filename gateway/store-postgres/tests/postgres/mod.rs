//! What only PostgreSQL has: several processes, a server that pauses, commits in the dark, partitions.

mod cluster;
mod hosts;
mod plans;
mod restored;
mod runs;

use std::{sync::Arc, time::Duration};

use crate::server::{DATABASE, Fresh, open};
use quayside_conformance::{
    Scene,
    scene::{key, name, sent, text},
};
use quayside_harness::{Postgres, wait_for};
use quayside_store::{
    Browse, Claims, Commit, Maintain, Op, Operate, Outcome, PublishOutcome, Sessions,
    SettleOutcome, StoreErrorKind, Want,
    maintain::Retention,
    model::{Clock, MessageId, SystemClock, SystemEntropy},
    operate::OperateOutcome,
};
use quayside_store_postgres::{Options, PostgresStore};
use tokio::task::JoinSet;

/// Longer than any wait of these tests; reached only when one fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A bound that is worked out anew for each row cannot be one of an index: the sweep would read all keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_of_dedupe_keys_reads_only_what_it_removes() {
    let fresh = Fresh::start().await;
    let client = fresh.server.connect(DATABASE).await;
    let sweep = include_str!("../../sql/dedupe_delete.sql");
    let settings = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off";
    client.batch_execute(settings).await.expect("settings");
    let prepare = format!("PREPARE sweep (bigint) AS {sweep}");
    client.batch_execute(&prepare).await.expect("prepare");
    let explain = client.query("EXPLAIN EXECUTE sweep (10)", &[]).await;
    let lines: Vec<String> = explain
        .expect("explain")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let bounded = |line: &&String| line.contains("Index Cond") && line.contains("(slice < ");
    let plan = lines.join("\n");
    assert_eq!(lines.iter().filter(bounded).count(), 1, "{plan}");
    assert!(!plan.contains("Filter: (slice"), "{plan}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_key_one_wins_and_the_others_learn_who() {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    let stores = [Arc::clone(&fresh.store), Arc::new(open(&fresh.url).await)];
    for round in 0..20 {
        let mut racers = JoinSet::new();
        for store in stores.iter().chain(&stores) {
            let mut publish = scene.publish("raced", &["a"]);
            publish.dedupe = Some(key(&format!("key {round}"), "same"));
            let (store, me, id) = (Arc::clone(store), scene.me, publish.message.id);
            racers.spawn(async move {
                let outcomes = store.commit(me, &[Op::Publish(Box::new(publish))]).await;
                (id, outcomes.expect("commit").remove(0))
            });
        }
        let outcomes = racers.join_all().await;
        let stored = |o: &&(MessageId, Outcome)| {
            matches!(o.1, Outcome::Published(PublishOutcome::Stored { .. }))
        };
        let winners: Vec<_> = outcomes.iter().filter(stored).map(|(id, _)| *id).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        for (_, outcome) in outcomes.iter().filter(|o| !stored(o)) {
            let Outcome::Published(PublishOutcome::Duplicate(first)) = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!(first.message, winners[0]);
        }
    }
}

#[tokio::test]
async fn what_the_server_says_is_one_line() {
    let fresh = Fresh::start().await;
    let session = fresh.server.connect(DATABASE).await;
    let rename = "ALTER FUNCTION now_us() RENAME TO gone";
    session.batch_execute(rename).await.expect("it is there");
    let store = open(&fresh.url).await;
    let error = store.live_sessions().await.expect_err("a function lacks");
    assert_eq!(error.kind, StoreErrorKind::Schema);
    let text = error.source.to_string();
    assert!(text.starts_with("ERROR: function now_us()"), "{text}");
    assert!(text.contains("; HINT: ") && !text.contains('\n'), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_claim_at_once_share_without_overlap() {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    let other = scene.instance().await;
    let ops: Vec<Op> = (0..200)
        .map(|_| Op::Publish(Box::new(scene.publish("x", &["a"]))))
        .collect();
    scene.commit(&ops).await.expect("commit");
    let second = Arc::new(open(&fresh.url).await);
    let mut claimers = JoinSet::new();
    for (store, me) in [(Arc::clone(&fresh.store), scene.me), (second, other)] {
        claimers.spawn(async move {
            let want = [Want {
                port: name("a"),
                room: 7,
                ordered: false,
                marks: false,
                deaths: quayside_store::Deaths::Any,
            }];
            let mut mine = Vec::new();
            loop {
                let claimed = store.claim(me, &want).await.expect("claim");
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed.iter().map(quayside_store::Claimed::id));
            }
        });
    }
    let mut all: Vec<_> = claimers.join_all().await.concat();
    // A claimer that met only rows the other one was claiming went away early; none is lost.
    all.extend(
        scene
            .claim("a", 200)
            .await
            .iter()
            .map(quayside_store::Claimed::id),
    );
    assert_eq!(all.len(), 200);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 200, "somebody got the same delivery twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_server_is_answered_for_in_time_and_the_batch_runs_again() {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    let quick = PostgresStore::connect(Options::new(&fresh.url))
        .await
        .expect("connect");
    quick.commit(scene.me, &[]).await.expect("an empty batch");
    let ops = [Op::Publish(Box::new(scene.publish("patient", &["a"])))];
    fresh.server.pause();
    let began = SystemClock.monotonic();
    let error = quick
        .commit(scene.me, &ops)
        .await
        .expect_err("nobody answers");
    let took = SystemClock.monotonic().since(began);
    fresh.server.resume();
    assert!(error.kind.is_transient(), "{error:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    wait_for("the batch to be stored", PATIENCE, async || {
        match quick.commit(scene.me, &ops).await {
            Ok(outcomes) => {
                let stored = PublishOutcome::Stored { claimed: vec![] };
                assert_eq!(outcomes, [Outcome::Published(stored)]);
                Ok(())
            }
            Err(e) => Err(e.to_string()),
        }
    })
    .await;
    assert_eq!(scene.claim("a", 9).await.len(), 1, "stored once");
}

/// Commits wait for a standby that is not there; then the commit is broken by `how`.
async fn a_commit_broken_while_it_waits(how: &str) {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    scene.stored(scene.publish("settled", &["b"])).await;
    let held = scene.claim("b", 1).await;
    let mut publish = scene.publish("in the dark", &["a"]);
    publish.dedupe = Some(key("k", "f"));
    let ops = [
        Op::Publish(Box::new(publish)),
        Op::Settle(held[0].claim, sent()),
    ];
    let admin = fresh.server.connect(DATABASE).await;
    set(&admin, "synchronous_standby_names", "'nobody'").await;
    until_commits_wait(&fresh.server).await;
    let (store, me, batch) = (Arc::clone(&fresh.store), scene.me, ops.to_vec());
    let mut committing = JoinSet::new();
    committing.spawn(async move { store.commit(me, &batch).await });
    wait_for("the commit to wait for the standby", PATIENCE, async || {
        let waiting = format!(
            "SELECT {how}(pid) FROM pg_stat_activity
             WHERE wait_event = 'SyncRep' AND application_name = 'qs:{me}'"
        );
        let rows = admin
            .query(&waiting, &[])
            .await
            .map_err(|e| e.to_string())?;
        if rows.is_empty() {
            Err("nobody waits".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    let error = committing
        .join_all()
        .await
        .remove(0)
        .expect_err("not known");
    assert_eq!(error.kind, StoreErrorKind::Unknown, "{error:?}");
    set(&admin, "synchronous_standby_names", "''").await;
    let outcomes = scene.commit(&ops).await.expect("run again");
    let stored = Outcome::Published(PublishOutcome::Stored { claimed: vec![] });
    assert_eq!(outcomes, [stored, Outcome::Settled(SettleOutcome::Done)]);
    assert_eq!(scene.claim("a", 9).await.len(), 1, "stored once");
    assert_eq!(scene.claim("b", 9).await.len(), 0, "ended once");
}

/// Commits begin to wait when the checkpointer has read the setting too, which no session can ask: so some
/// other session tries until its commit does not come back.
async fn until_commits_wait(server: &Postgres) {
    wait_for("commits to wait for a standby", PATIENCE, async || {
        let probe = server.connect(DATABASE).await;
        let commit = probe.batch_execute("CREATE TEMP TABLE probe ()");
        match tokio::time::timeout(Duration::from_millis(500), commit).await {
            Err(_) => Ok(()),
            Ok(done) => Err(format!("a commit came back: {done:?}")),
        }
    })
    .await;
}

async fn set(admin: &tokio_postgres::Client, setting: &str, value: &str) {
    let alter = format!("ALTER SYSTEM SET {setting} = {value}");
    admin.batch_execute(&alter).await.expect("alter");
    admin
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .expect("reload");
    let expected = value.trim_matches('\'').to_owned();
    wait_for("the setting to be read", PATIENCE, async || {
        let row = admin.query_one(&format!("SHOW {setting}"), &[]).await;
        let now: String = row.map_err(|e| e.to_string())?.get(0);
        if now == expected { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_backend_was_killed_is_unknown_and_happens_once() {
    a_commit_broken_while_it_waits("pg_terminate_backend").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_with_a_warning_is_unknown_and_happens_once() {
    a_commit_broken_while_it_waits("pg_cancel_backend").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashed_is_found_again() {
    let mut fresh = Fresh::start().await;
    let store = Arc::clone(&fresh.store);
    store.probe().await.expect("it can write");
    fresh.server.stop_immediate().await;
    let error = store.probe().await.expect_err("it is down");
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    fresh.server.start_again().await;
    wait_for("the store to write again", PATIENCE, async || {
        store.probe().await.map_err(|e| e.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_schema_is_refused_and_two_starters_make_one() {
    let server = Postgres::start().await;
    let url = server.create_database(DATABASE).await;
    let (one, two) = (open(&url).await, open(&url).await);
    let error = one.probe().await.expect_err("no schema yet");
    assert_eq!(error.kind, StoreErrorKind::Schema, "{error:?}");
    let (first, second) = tokio::join!(one.migrate(), two.migrate());
    first.and(second).expect("both find the schema");
    one.probe().await.expect("usable");
    let admin = server.connect(DATABASE).await;
    admin
        .batch_execute("INSERT INTO schema_version VALUES (99, 0)")
        .await
        .expect("insert");
    let late = open(&url).await;
    for error in [late.probe().await, late.migrate().await].map(|r| r.expect_err("too new")) {
        assert_eq!(error.kind, StoreErrorKind::Schema, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_without_partition_gets_one_and_loses_it_when_all_has_ended() {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    let long_ago = SystemClock.now().minus(Duration::from_secs(40 * 86_400));
    let mut publish = scene.publish("late", &["a"]);
    let message = Arc::make_mut(&mut publish.message);
    message.id = MessageId::new(long_ago, &SystemEntropy);
    let id = message.id;
    scene.stored(publish).await;
    let none = Retention {
        metadata: Duration::ZERO,
        bodies: Duration::ZERO,
    };
    fresh.store.sweep(&none).await.expect("sweep");
    assert!(
        fresh.store.load(id).await.expect("load").is_some(),
        "it has a live delivery"
    );
    let delivery = quayside_store::model::DeliveryId { message: id, no: 0 };
    let ended = fresh
        .store
        .terminate(&[delivery], &text("by a test"))
        .await
        .expect("terminate");
    assert_eq!(ended, [OperateOutcome::Done]);
    wait_for("the old day to go", PATIENCE, async || {
        fresh.store.sweep(&none).await.map_err(|e| e.to_string())?;
        let admin = fresh.server.connect(DATABASE).await;
        let days = "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                    WHERE i.inhparent = 'message'::regclass
                      AND right(c.relname, 8) < to_char(now() - interval '10 days', 'YYYYMMDD')";
        let left: i64 = admin
            .query_one(days, &[])
            .await
            .map_err(|e| e.to_string())?
            .get(0);
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} are left"))
        }
    })
    .await;
    assert!(fresh.store.load(id).await.expect("load").is_none());
}

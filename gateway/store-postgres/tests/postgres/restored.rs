//! Copies of a store: they are known, and refused until somebody says what they are.

use std::time::Duration;

use quayside_conformance::{
    Backend as _, Scene,
    scene::{name, text},
};
use quayside_harness::{Postgres, wait_for};
use quayside_store::{
    Browse, Cluster, Maintain, Sessions, StoreErrorKind,
    lease::{Epoch, Take},
    model::{Clock, GrantId, InstanceId, SessionId, SystemClock, SystemEntropy},
    sessions::NewInstance,
};
use quayside_store_postgres::{PostgresStore, Restored, WhatWasSent};
use tokio::task::JoinSet;

use super::PATIENCE;
use crate::server::{DATABASE, Fresh, open};

/// Runs SQL as the superuser in `database`.
async fn run(server: &Postgres, database: &str, sql: &str) {
    let client = server.connect(database).await;
    let done = client.batch_execute(sql).await;
    done.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// Runs SQL about a database that nobody may have open, once the last connection is gone.
async fn run_alone(server: &Postgres, sql: &str) {
    let client = server.connect("postgres").await;
    wait_for("the database to be left alone", PATIENCE, async || {
        client
            .batch_execute(sql)
            .await
            .map_err(|e| format!("{e:?}"))
    })
    .await;
}

/// A copy of the database.
async fn copy(server: &Postgres, from: &str, to: &str) -> PostgresStore {
    let create = format!("CREATE DATABASE \"{to}\" TEMPLATE \"{from}\"");
    run_alone(server, &create).await;
    open(&server.url(to)).await
}

async fn release(store: &PostgresStore, sent: WhatWasSent) -> (u64, Epoch) {
    match store.restored(sent).await.expect("release") {
        Restored::Released { in_doubt, epoch } => (in_doubt, epoch),
        other => panic!("{other:?}"),
    }
}

/// A new process that takes the host `group`, as an agent has it: its epoch.
async fn take(store: &PostgresStore, group: &str) -> Epoch {
    let now = SystemClock.now();
    let session = SessionId::new(now, &SystemEntropy);
    let node = name("a");
    let opened = store.open(session, &node, Duration::from_secs(600)).await;
    opened.expect("open");
    let new = NewInstance {
        instance: InstanceId::new(now, &SystemEntropy),
        session,
        node,
        hosts: text(group),
    };
    assert!(store.register(&new).await.expect("register"));
    let grant = GrantId::new(now, &SystemEntropy);
    let group = name(group);
    match store.take_group(&group, new.instance, grant, false).await {
        Ok(Take::Taken(epoch)) => epoch,
        other => panic!("{other:?}"),
    }
}

async fn refused(store: &PostgresStore) {
    for error in [store.probe().await, store.migrate().await] {
        let error = error.expect_err("a copy");
        assert_eq!(error.kind, StoreErrorKind::Copied, "{error:?}");
        assert!(!error.kind.is_transient());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_refused_until_it_is_released_and_no_epoch_is_granted_twice() {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    scene.stored(scene.publish("open", &["p"])).await;
    let before = take(&fresh.store, "queues").await;
    fresh.store.migrate().await.expect("the same place");
    drop(scene);
    let server = &fresh.server;
    run(server, DATABASE, "UPDATE session SET lease_until = 0").await;
    fresh.store.close().await;
    // Another name is no other place.
    run_alone(server, "ALTER DATABASE quayside RENAME TO backup").await;
    let renamed = open(&server.url("backup")).await;
    renamed.probe().await.expect("the same place");
    renamed.close().await;

    let mut highest = before;
    for life in ["one", "two"] {
        let store = copy(server, "backup", life).await;
        refused(&store).await;
        let (in_doubt, epoch) = release(&store, WhatWasSent::Unknown).await;
        assert_eq!(in_doubt, 1);
        store.probe().await.expect("it is released");
        for group in ["queues", "unknown"] {
            let taken = take(&store, group).await;
            assert!(taken >= epoch && taken > highest, "{taken} after {highest}");
        }
        let rows = store.doubts(None, None, 9).await.expect("list");
        assert!(
            rows[0].owner.is_none() && rows[0].restored_at.is_some(),
            "{rows:?}"
        );
        let later = take(&store, "later").await;
        highest = highest.max(later);
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_puts_nothing_in_doubt_and_a_dump_is_known() {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    scene.stored(scene.publish("open", &["p"])).await;
    let before = take(&fresh.store, "queues").await;
    run(
        &fresh.server,
        DATABASE,
        "UPDATE session SET lease_until = 0",
    )
    .await;
    let target = Postgres::start().await;
    let url = target.create_database(DATABASE).await;
    let dumped = std::process::Command::new("sh")
        .args([
            "-euc",
            "pg_dump --format=custom \"$0\" | pg_restore --exit-on-error --dbname=\"$1\"",
        ])
        .args([&fresh.url, &url])
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", Postgres::bin_dir().display()),
        )
        .output()
        .expect("a shell");
    assert!(dumped.status.success(), "{dumped:?}");
    let store = open(&url).await;
    refused(&store).await;
    let (in_doubt, epoch) = release(&store, WhatWasSent::Nothing).await;
    assert_eq!(in_doubt, 0);
    assert!(epoch > before, "{epoch} after {before}");
    assert_eq!(store.doubts(None, None, 9).await.expect("list"), []);
    // The timeline of a standby that is promoted after it counts on.
    let first = take(&store, "queues").await;
    store.close().await;
    let standby = target.standby("second").await;
    standby.promote().await;
    let promoted = open(&standby.url(DATABASE)).await;
    promoted.probe().await.expect("a promotion is no copy");
    let who = promoted.incarnation().await.expect("who");
    assert_eq!(i64::from(who.timeline), first.timeline() + 1);
    assert!(take(&promoted, "other").await > first);
    promoted.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_use_is_not_released_nor_by_a_wrong_clock() {
    let fresh = Fresh::start().await;
    let server = &fresh.server;
    let session = SessionId::new(SystemClock.now(), &SystemEntropy);
    let (node, lease) = (name("busy"), Duration::from_secs(3));
    let opened = fresh.store.open_session(session, &node, lease).await;
    opened.expect("open");
    let other = open(&fresh.url).await;
    // A task: while it holds the sessions, a renewal waits for it.
    let mut releasing = JoinSet::new();
    releasing.spawn(async move {
        let outcome = other.restored(WhatWasSent::Unknown).await;
        (other, outcome)
    });
    let (other, outcome) = loop {
        tokio::select! {
            Some(ended) = releasing.join_next() => break ended.expect("no panic"),
            () = fresh.pass(fresh.moment()) => assert!(fresh.store.renew_session(session).await.expect("renew")),
        }
    };
    let outcome = outcome.expect("an answer");
    assert_eq!(outcome, Restored::InUse(vec![name("busy")]));
    assert!(
        fresh.store.renew_session(session).await.expect("renew"),
        "nothing is changed"
    );
    let future = "UPDATE session SET lease_until = now_us() + 3600000000";
    run(server, DATABASE, future).await;
    let outcome = other
        .restored(WhatWasSent::Unknown)
        .await
        .expect("an answer");
    assert!(matches!(outcome, Restored::WrongClock(_)), "{outcome:?}");
    run(server, DATABASE, "UPDATE session SET lease_until = 0").await;
    release(&other, WhatWasSent::Unknown).await;
    assert!(
        !fresh.store.renew_session(session).await.expect("renew"),
        "it is over"
    );
}

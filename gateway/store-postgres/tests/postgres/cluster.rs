//! Agents on PostgreSQL: frozen clients, promotions, and what an agent must not break.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use quayside_conformance::{
    Scene,
    scene::{name, text},
};
use quayside_harness::{Postgres, Session, Stopwatch, wait_for};
use quayside_store::{
    Cluster, Maintain, Sessions, Store, StoreErrorKind,
    cluster::{ControlChange, Ending, Said},
    lease::{Arrival, Epoch, StandbySeen, Take},
    maintain::Retention,
    model::{Clock, GrantId, InstanceId, SessionId, SystemClock, SystemEntropy},
    sessions::{FenceOutcome, NewInstance},
};
use quayside_store_postgres::PostgresStore;
use tokio::task::JoinSet;

use super::{PATIENCE, set, until_commits_wait};
use crate::server::{DATABASE, Fresh, open};

/// How long a frozen client may delay a takeover.
const UNLOCKED_WITHIN: Duration = Duration::from_secs(1);

const LONG: Duration = Duration::from_secs(600);

/// Opens a session for a node and registers a process under it.
async fn process(store: &PostgresStore, node: &str, ttl: Duration) -> (SessionId, InstanceId) {
    let now = SystemClock.now();
    let session = SessionId::new(now, &SystemEntropy);
    let node = name(node);
    let opened = store.open(session, &node, ttl).await;
    opened.expect("open");
    let new = NewInstance {
        instance: InstanceId::new(now, &SystemEntropy),
        session,
        node,
        hosts: text("queues"),
    };
    assert!(store.register(&new).await.expect("register"));
    (session, new.instance)
}

fn grant() -> GrantId {
    GrantId::new(SystemClock.now(), &SystemEntropy)
}

async fn take(store: &PostgresStore, instance: InstanceId) -> Take {
    let (group, grant) = (name("queues"), grant());
    let take = store.take_group(&group, instance, grant, false);
    take.await.expect("take")
}

fn taken(take: Take) -> Epoch {
    match take {
        Take::Taken(epoch) => epoch,
        other => panic!("not taken: {other:?}"),
    }
}

/// A client that is named `called` and stops in the middle of a batch of `instance`.
async fn frozen(fresh: &Fresh, called: InstanceId, instance: InstanceId) -> Session {
    let client = fresh.server.connect(DATABASE).await;
    let batch = format!(
        "SET application_name = 'qs:{called}';
         BEGIN;
         SELECT 1 FROM instance WHERE id = '{instance}' AND state = 0 FOR KEY SHARE"
    );
    client.batch_execute(&batch).await.expect("it is live");
    client
}

async fn expire(store: &PostgresStore, session: SessionId) {
    wait_for("the session to expire", PATIENCE, async || {
        let rows = store.live_sessions().await.map_err(|e| e.to_string())?;
        let row = rows.into_iter().find(|row| row.session == session);
        let row = row.ok_or("it is not live")?;
        match store.expire_session(session, row.seq).await {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_client_delays_a_takeover_by_a_second_at_most() {
    let fresh = Fresh::start().await;
    let store = &fresh.store;
    let (session, old) = process(store, "a", Duration::from_millis(50)).await;
    let (_, other) = process(store, "b", LONG).await;
    let first = taken(take(store, old).await);
    let client = frozen(&fresh, old, old).await;
    let bystander = frozen(&fresh, other, other).await;
    assert_eq!(take(store, other).await, Take::Held, "it is live");
    expire(store, session).await;
    let watch = Stopwatch::start();
    assert_eq!(take(store, other).await, Take::Locked);
    assert_eq!(store.break_locks(old).await.expect("broken"), 1);
    let second = wait_for("the takeover", PATIENCE, async || {
        match take(store, other).await {
            Take::Taken(epoch) => Ok(epoch),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let took = watch.elapsed();
    assert!(took < UNLOCKED_WITHIN, "{took:?}");
    assert!(second > first);
    let commit = client.batch_execute("COMMIT").await;
    assert!(commit.is_err(), "nothing of it is committed after that");
    let commit = bystander.batch_execute("COMMIT").await;
    commit.expect("it was not meant");
    assert_eq!(store.break_locks(old).await.expect("none"), 0);
}

/// The fence of a batch may have looked at the session before its end, and at the instance after the take.
async fn a_batch_looks_too_early(take: impl AsyncFn(&PostgresStore, InstanceId)) {
    let fresh = Fresh::start().await;
    let store = &fresh.store;
    let (session, old) = process(store, "a", Duration::from_millis(50)).await;
    let (_, other) = process(store, "b", LONG).await;
    take(store, old).await;
    let admin = fresh.server.connect(DATABASE).await;
    let lock = "SELECT pg_advisory_lock(7)";
    admin.batch_execute(lock).await.expect("lock");
    let fence = include_str!("../../sql/instance_check.sql")
        .replace("$1", &format!("'{old}'"))
        .replace(
            "SELECT now_us() FROM",
            &format!("WITH late AS MATERIALIZED ({lock}) SELECT now_us() FROM late,"),
        );
    let late = fresh.server.connect(DATABASE).await;
    let mut looking = JoinSet::new();
    looking.spawn(async move { late.query(&fence, &[]).await });
    wait_for("the batch to look", PATIENCE, async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'";
        let row = admin.query_one(waiting, &[]).await;
        match row.map_err(|e| e.to_string())?.get::<_, i64>(0) {
            1 => Ok(()),
            other => Err(format!("{other} wait")),
        }
    })
    .await;
    expire(store, session).await;
    take(store, other).await;
    let unlock = admin.query_one("SELECT pg_advisory_unlock(7)", &[]).await;
    unlock.expect("unlock");
    let rows = looking.join_all().await.remove(0).expect("it runs on");
    assert_eq!(rows.len(), 0, "it is fenced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_looked_too_early_is_fenced_after_the_take() {
    a_batch_looks_too_early(async |store, instance| {
        taken(take(store, instance).await);
    })
    .await;
}

/// Without agents too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_looked_too_early_is_fenced_after_the_take_of_a_fence() {
    a_batch_looks_too_early(async |store, instance| {
        let taken = store.take_fence(&name("sweep"), instance, grant()).await;
        let taken = taken.expect("asked");
        assert!(matches!(taken, FenceOutcome::Taken(_)), "{taken:?}");
    })
    .await;
}

/// The batches that a dead owner has open are waited for, and whoever stands by locks nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_is_not_taken_while_its_dead_owner_has_a_batch_open() {
    let fresh = Fresh::start().await;
    let store = &fresh.store;
    let (session, old) = process(store, "a", Duration::from_millis(50)).await;
    let (_, other) = process(store, "b", LONG).await;
    let fence = name("sweep");
    let take = async |instance| store.take_fence(&fence, instance, grant()).await;
    let first = take(old).await.expect("asked");
    let client = frozen(&fresh, old, old).await;
    let admin = fresh.server.connect(DATABASE).await;
    admin
        .batch_execute("BEGIN; SELECT FROM fence FOR UPDATE")
        .await
        .expect("locked");
    assert_eq!(take(other).await.expect("asked"), FenceOutcome::HeldBy(old));
    admin.batch_execute("COMMIT").await.expect("unlocked");
    expire(store, session).await;
    let error = take(other).await.expect_err("its batch is open");
    assert_eq!(error.kind, StoreErrorKind::Contended, "{error:?}");
    client.batch_execute("COMMIT").await.expect("it is in time");
    let second = take(other).await.expect("asked");
    let epoch = |outcome| match outcome {
        FenceOutcome::Taken(epoch) => epoch,
        other => panic!("not taken: {other:?}"),
    };
    assert!(epoch(second) > epoch(first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_process_waits_for_its_batches_and_not_for_ever() {
    let fresh = Fresh::start().await;
    let store = &fresh.store;
    let (_, dead) = process(store, "a", LONG).await;
    let client = frozen(&fresh, dead, dead).await;
    assert_eq!(store.end(dead).await.expect("end"), Ending::Locked);
    assert_eq!(store.break_locks(dead).await.expect("broken"), 1);
    wait_for("the end", PATIENCE, async || match store.end(dead).await {
        Ok(Ending::Ended) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(client.batch_execute("COMMIT").await.is_err());
}

/// The connections of stores, by what they are called.
async fn names(fresh: &Fresh) -> Vec<(String, i32)> {
    let client = fresh.server.connect(DATABASE).await;
    let all = "SELECT application_name, pid FROM pg_stat_activity
               WHERE application_name LIKE 'q%' ORDER BY 1, 2";
    let rows = client.query(all, &[]).await.expect("activity");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// An agent registers the processes of its node; its own connections never carry their names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaking_the_locks_of_a_process_leaves_its_agent_alone() {
    let fresh = Fresh::start().await;
    let agent = &fresh.store;
    let (_, instance) = process(agent, "a", LONG).await;
    let working = open(&fresh.url).await;
    working.work_as(instance);
    working.probe().await.expect("it works");
    agent
        .renew(SessionId::new(SystemClock.now(), &SystemEntropy))
        .await
        .expect("asked");
    let called = format!("qs:{instance}");
    let (of_process, of_agent): (Vec<_>, Vec<_>) = names(&fresh)
        .await
        .into_iter()
        .partition(|(name, _)| *name == called);
    assert!(of_process.len() == 1 && of_agent.len() > 1, "{of_agent:?}");
    assert_eq!(agent.break_locks(instance).await.expect("broken"), 1);
    wait_for("the process to lose its connection", PATIENCE, async || {
        let left = names(&fresh).await;
        match left.iter().any(|(name, _)| *name == called) {
            true => Err(format!("{left:?}")),
            false => Ok(()),
        }
    })
    .await;
    assert_eq!(names(&fresh).await, of_agent);
    wait_for("the process to connect again", PATIENCE, async || {
        working.probe().await.map_err(|e| e.to_string())
    })
    .await;
    working.close().await;
}

/// Of many stores with connections of their own one takes a group, whose owner has died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_agents_one_succeeds_a_dead_owner() {
    let fresh = Fresh::start().await;
    let (session, mut old) = process(&fresh.store, "old", Duration::from_millis(50)).await;
    let mut last = taken(take(&fresh.store, old).await);
    expire(&fresh.store, session).await;
    let agents = [
        open(&fresh.url).await,
        open(&fresh.url).await,
        open(&fresh.url).await,
    ];
    let agents = agents.map(Arc::new);
    for round in 0..20 {
        let mut racers = JoinSet::new();
        for agent in &agents {
            let agent = Arc::clone(agent);
            racers.spawn(async move {
                let (_, instance) = process(&agent, "n", LONG).await;
                (instance, take(&agent, instance).await)
            });
        }
        let takes = racers.join_all().await;
        let won: Vec<_> = takes.iter().filter(|(_, t)| *t != Take::Held).collect();
        let [(winner, take)] = won[..] else {
            panic!("round {round}, after {old}: {takes:?}");
        };
        let epoch = taken(*take);
        assert!(epoch > last, "{epoch} after {last}");
        (last, old) = (epoch, *winner);
        assert_eq!(fresh.store.end(old).await.expect("end"), Ending::Ended);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_end_with_their_connection() {
    let fresh = Fresh::start().await;
    let mut hints = fresh.store.hints().await.expect("hints");
    let admin = fresh.server.connect(DATABASE).await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE query = 'LISTEN quayside_cluster'";
    let row = admin.query_one(cut, &[]).await.expect("cut");
    assert_eq!(row.get::<_, i64>(0), 1);
    for _ in 0..2 {
        let hint = tokio::time::timeout(PATIENCE, hints.next()).await;
        let error = hint.expect("it is noticed").expect_err("it is over");
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error:?}");
    }
    let mut hints = fresh.store.hints().await.expect("new ones");
    let drained = fresh
        .store
        .drain_node(
            &name("a"),
            true,
            &quayside_store::model::Text::lossy("by a test"),
        )
        .await;
    drained.expect("drain");
    let hint = tokio::time::timeout(PATIENCE, hints.next()).await;
    hint.expect("it wakes").expect("it lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_is_seen_with_the_next_answer_and_raises_epochs() {
    let mut fresh = Fresh::start().await;
    let store = Arc::clone(&fresh.store);
    let (session, instance) = process(&store, "a", LONG).await;
    let before = store.renew(session).await.expect("renew");
    let epoch = taken(take(&store, instance).await);
    assert_eq!(epoch.timeline(), i64::from(before.incarnation.timeline));
    let signal = fresh.server.data_dir().join("standby.signal");
    fs::write(&signal, "").expect("written");
    fs::set_permissions(&signal, fs::Permissions::from_mode(0o666)).expect("set");
    fresh.server.restart().await;
    let admin = fresh.server.connect(DATABASE).await;
    let promoted = admin.query_one("SELECT pg_promote()", &[]).await;
    assert!(promoted.expect("it is a standby").get::<_, bool>(0));
    let after = wait_for("the store to answer again", PATIENCE, async || {
        store.renew(session).await.map_err(|e| e.to_string())
    })
    .await;
    assert!(after.live, "nothing was lost");
    assert_eq!(
        after.incarnation.after(Some(before.incarnation)),
        Arrival::New
    );
    assert_eq!(
        before.incarnation.after(Some(after.incarnation)),
        Arrival::Stale
    );
    assert_eq!(after.incarnation.system, before.incarnation.system);
    let looked = store.view().await.expect("view");
    assert_eq!(looked.incarnation, after.incarnation);
    assert_eq!(store.end(instance).await.expect("end"), Ending::Ended);
    let (_, next) = process(&store, "a", LONG).await;
    let raised = taken(take(&store, next).await);
    assert!(raised > epoch && raised.timeline() > epoch.timeline());
}

/// What nobody has replicated is not believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_or_take_with_a_warning_is_unknown() {
    let fresh = Fresh::start().await;
    let (session, instance) = process(&fresh.store, "a", LONG).await;
    let admin = fresh.server.connect(DATABASE).await;
    set(&admin, "synchronous_standby_names", "'nobody'").await;
    until_commits_wait(&fresh.server).await;
    let mut asked = JoinSet::new();
    let store = Arc::clone(&fresh.store);
    asked.spawn(async move { store.renew(session).await.map(|_| ()) });
    let store = Arc::clone(&fresh.store);
    let (group, grant) = (name("queues"), grant());
    asked.spawn(async move {
        let take = store.take_group(&group, instance, grant, false);
        take.await.map(|_| ())
    });
    wait_for("both to wait for the standby", PATIENCE, async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE wait_event = 'SyncRep' AND application_name = 'quayside'";
        let row = admin.query_one(waiting, &[]).await;
        match row.map_err(|e| e.to_string())?.get::<_, i64>(0) {
            2 => Ok(()),
            other => Err(format!("{other} wait")),
        }
    })
    .await;
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                  WHERE wait_event = 'SyncRep' AND application_name = 'quayside'";
    admin.query(cancel, &[]).await.expect("cancel");
    for answer in asked.join_all().await {
        let error = answer.expect_err("not known");
        assert_eq!(error.kind, StoreErrorKind::Unknown, "{error:?}");
    }
    set(&admin, "synchronous_standby_names", "''").await;
    let group = name("queues");
    let again = fresh.store.take_group(&group, instance, grant, false);
    taken(again.await.expect("it meets itself"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_says_nothing_new_writes_nothing() {
    let fresh = Fresh::start().await;
    process(&fresh.store, "a", LONG).await;
    let admin = fresh.server.connect(DATABASE).await;
    let versions = async || {
        let rows = "SELECT string_agg(ctid || ' ' || xmin, ', ') FROM
                    (SELECT ctid, xmin FROM cluster_report UNION ALL SELECT ctid, xmin FROM cluster_node) t";
        let row = admin.query_one(rows, &[]).await.expect("rows");
        row.get::<_, Option<String>>(0)
    };
    let look = async |warm: bool| {
        let node = name("a");
        let report = StandbySeen {
            node: node.clone(),
            warm,
            broken: None,
            adapters_down: vec![],
            adapters_up: vec![],
        };
        let reports = [(name("queues"), report)];
        fresh.store.look(&node, &reports).await.expect("look");
        versions().await.expect("two rows")
    };
    let first = look(true).await;
    assert_eq!(look(true).await, first);
    assert_ne!(look(false).await, first);
}

/// Nobody waits for a drill any more that could not be begun for a minute, and no process is killed for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_drill_is_no_order_any_more() {
    let fresh = Fresh::start().await;
    let admin = fresh.server.connect(DATABASE).await;
    let said = Said {
        node: name("a"),
        note: text("a rehearsal"),
    };
    let queues = name("queues");
    let drill = fresh
        .store
        .set_control(&queues, &ControlChange::Drill, &said);
    let no = drill.await.expect("say").expect("an order has a number");
    let ordered = async || {
        let view = fresh.store.view().await.expect("a view").view;
        let seen = view.groups.into_iter().find(|seen| seen.group == queues);
        seen.and_then(|seen| seen.control.order)
            .map(|order| order.no)
    };
    assert_eq!(ordered().await, Some(no));
    let ages = "UPDATE cluster_group SET drill_at = drill_at - 60000001";
    admin.batch_execute(ages).await.expect("an old drill");
    assert_eq!(ordered().await, None);
    let order = ControlChange::Move { to: None, at: None };
    let order = fresh.store.set_control(&queues, &order, &said).await;
    assert_eq!(ordered().await, order.expect("say"));
}

/// Events go with the metadata; moves that count no more go by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_events_and_moves_are_swept() {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    let admin = fresh.server.connect(DATABASE).await;
    let old = "INSERT INTO cluster_event
                 (stored_at, at, lasted_us, grp, node, from_state, to_state, cause, evidence)
               SELECT now_us() - day * 86400000000, day, 0, 'g', 'n', 'online', 'failed', 'x', '{}'
               FROM unnest(ARRAY[9, 8, 1]) day;
               INSERT INTO cluster_move SELECT 'g', now_us() - day * 86400000000
               FROM unnest(ARRAY[2, 0]) day";
    admin.batch_execute(old).await.expect("insert");
    let store = scene.store.cluster().expect("a cluster");
    assert_eq!(store.events(None, None, 9).await.expect("events").len(), 3);
    fresh
        .store
        .sweep(&Retention::default())
        .await
        .expect("sweep");
    assert_eq!(store.events(None, None, 9).await.expect("events").len(), 1);
    let moves = admin
        .query_one("SELECT count(*) FROM cluster_move", &[])
        .await;
    assert_eq!(moves.expect("count").get::<_, i64>(0), 1);
}

/// A store of the version before comes up beside a program that uses it: what stands in it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_the_version_before_is_brought_up() {
    let server = Postgres::start().await;
    let url = server.create_database(DATABASE).await;
    let admin = server.connect(DATABASE).await;
    let before = [
        include_str!("../../migrations/0001_initial.sql"),
        include_str!("../../migrations/0002_intent.sql"),
        "INSERT INTO schema_version VALUES (1, 0), (2, 0)",
    ];
    for text in before {
        admin.batch_execute(text).await.expect("version 2");
    }
    let (session, owner) = (grant().to_string(), grant().to_string());
    let rows = format!(
        "INSERT INTO session (id, node, ttl_us, lease_until) VALUES ('{session}', 'a', 3000000, 0);
         INSERT INTO instance (id, session, node, hosts, since)
         VALUES ('{owner}', '{session}', 'a', 'queues', 0);
         INSERT INTO fence VALUES ('host.queues', 1099511627783, '{owner}', '{owner}'), ('x', 1, NULL, NULL)"
    );
    admin.batch_execute(&rows).await.expect("rows");
    // A reader is in the way for a while; traffic does not queue behind the change for long.
    admin
        .batch_execute("BEGIN; LOCK TABLE session IN ACCESS SHARE MODE")
        .await
        .expect("lock");
    let store = open(&url).await;
    let migrating = store.migrate();
    tokio::pin!(migrating);
    let other = server.connect(DATABASE).await;
    for _ in 0..20 {
        tokio::select! {
            _ = &mut migrating => panic!("it did not wait"),
            renewed = other.batch_execute("UPDATE session SET seq = seq + 1") => renewed.expect("renew"),
        }
    }
    admin.batch_execute("COMMIT").await.expect("unlock");
    migrating.await.expect("version 3");
    let view = store.view().await.expect("view").view;
    let [group] = &view.groups[..] else {
        panic!("{view:?}");
    };
    let held = group.live_owner().expect("its owner lives");
    assert_eq!((group.group.as_str(), group.epoch.number()), ("queues", 7));
    assert_eq!(held.session.to_string(), session);
    assert_eq!(view.sessions, [], "that program is no agent");
    let sessions = store.live_sessions().await.expect("sessions");
    assert_eq!((sessions.len(), sessions[0].seq), (1, 20));
    // As a program of the version before does it.
    let expired = format!("UPDATE session SET live = false WHERE id = '{session}'");
    other.batch_execute(&expired).await.expect("expired");
    let (_, next) = process(&store, "b", LONG).await;
    assert_eq!(taken(take(&store, next).await).number(), 8);
}

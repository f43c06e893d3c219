//! Who holds lanes, and for how long: everybody else waits for them a second at most.

use std::sync::Arc;

use quayside_conformance::{
    Scene,
    scene::{name, order_key, sent},
};
use quayside_harness::wait_for;
use quayside_store::{Claims as _, Commit as _, Op, Outcome, SettleOutcome, StoreErrorKind, Want};
use tokio::task::JoinSet;

use super::PATIENCE;
use crate::server::{DATABASE, Fresh};

const PORT: &str = "a";

/// Whoever ends a delivery waits for the lock 7, for as long as it takes.
const STUCK: &str = "
CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = '0' AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$;
CREATE TRIGGER stuck AFTER DELETE ON delivery FOR EACH STATEMENT EXECUTE FUNCTION stuck();
SELECT pg_advisory_lock(7)";

/// The server must not go on with a batch that was given up: it holds the lanes that the next try needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_given_up_leaves_its_lanes() {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    let publish = scene.ordered("k-1", PORT, order_key("k", 0));
    scene.stored(publish).await;
    let head = scene.claim_ordered(PORT, 1).await.remove(0);
    let ops = [Op::Settle(head.claim, sent())];
    let admin = fresh.server.connect(DATABASE).await;
    admin.batch_execute(STUCK).await.expect("a trigger");
    let (store, me, batch) = (Arc::clone(&fresh.store), scene.me, ops.to_vec());
    let mut committing = JoinSet::new();
    committing.spawn(async move { store.commit(me, &batch).await });
    wait_for("the batch to be stuck", PATIENCE, async || {
        let stuck = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory'";
        let stuck = admin.query(stuck, &[]).await;
        match stuck.map_err(|e| e.to_string())?.len() {
            0 => Err("nobody is".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let lanes = "SELECT FROM lane FOR UPDATE NOWAIT";
    admin
        .batch_execute(lanes)
        .await
        .expect_err("the batch has its lane");
    committing.shutdown().await;
    wait_for("the lane to be free", PATIENCE, async || {
        let locked = admin.batch_execute(lanes).await;
        locked.map_err(|e| e.to_string())
    })
    .await;
    let free = admin.batch_execute("SELECT pg_advisory_unlock(7)").await;
    free.expect("it was held");
    let outcomes = scene.commit(&ops).await.expect("run again");
    assert_eq!(outcomes, [Outcome::Settled(SettleOutcome::Done)]);
}

/// Who waited for a lane in vain has the next try at once: with its connection, and with what it took of other ports.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_lane_in_vain_keeps_connection_and_claims() {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    scene
        .stored(scene.ordered("k-1", PORT, order_key("k", 0)))
        .await;
    let head = scene.claim_ordered(PORT, 1).await.remove(0);
    scene
        .stored(scene.ordered("l-1", PORT, order_key("l", 0)))
        .await;
    scene.stored(scene.publish("free", &["b"])).await;
    let admin = fresh.server.connect(DATABASE).await;
    let backends = async || {
        let pids = format!(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'qs:{}' ORDER BY pid",
            scene.me
        );
        let pids = admin.query(&pids, &[]).await.expect("the backends");
        pids.iter().map(|row| row.get(0)).collect::<Vec<i32>>()
    };
    let before = backends().await;
    assert!(!before.is_empty(), "they carry the name of the instance");
    let hold = "BEGIN; SELECT FROM lane FOR UPDATE";
    admin.batch_execute(hold).await.expect("the lane");

    let ops = [Op::Settle(head.claim, sent())];
    let error = scene.commit(&ops).await.expect_err("another has the lane");
    assert_eq!(error.kind, StoreErrorKind::Contended, "{error:?}");
    let want = |port: &str, ordered| Want {
        port: name(port),
        room: 9,
        ordered,
        marks: false,
        deaths: quayside_store::Deaths::Any,
    };
    let wants = [want(PORT, true), want("b", false)];
    let claimed = fresh.store.claim(scene.me, &wants).await;
    let claimed = claimed.expect("what can be had is taken");
    let ports: Vec<_> = claimed.iter().map(|c| c.port.to_string()).collect();
    assert_eq!(ports, ["b"]);
    let error = fresh.store.claim(scene.me, &wants).await;
    let error = error.expect_err("nothing else can be had");
    assert_eq!(error.kind, StoreErrorKind::Contended, "{error:?}");

    admin.batch_execute("ROLLBACK").await.expect("given back");
    let outcomes = scene.commit(&ops).await.expect("the lane is free");
    assert_eq!(outcomes, [Outcome::Settled(SettleOutcome::Done)]);
    let next = scene.claim_ordered(PORT, 1).await.remove(0);
    scene.done(next.claim, sent()).await;
    assert_eq!(backends().await, before, "no connection was given up");
}

/// A claim parks what it meets behind heads in portions: all of it at once would hold the lanes for too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_parked_in_portions() {
    const LANES: u16 = 16;
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    for lane in 0..LANES {
        let key = order_key(&format!("k{lane}"), lane);
        scene.stored(scene.ordered("head", PORT, key)).await;
    }
    let heads = scene.claim_ordered(PORT, u32::from(LANES)).await;
    assert_eq!(heads.len(), usize::from(LANES));
    let admin = fresh.server.connect(DATABASE).await;
    let behind = "
        INSERT INTO delivery (message, no, state, priority, slot, seq, rank, due, port, lane, order_key)
        SELECT gen_random_uuid(), 0, 0, 5, 0, nextval('delivery_seq'), 0, 0, d.port, d.lane, d.order_key
        FROM delivery d CROSS JOIN generate_series(1, 500)";
    admin.batch_execute(behind).await.expect("a backlog");
    let parked = async || {
        let parked = "SELECT count(*) FROM delivery WHERE state = 2";
        let row = admin.query_one(parked, &[]).await.expect("the backlog");
        row.get::<_, i64>(0)
    };
    for least in [2000, 4000, 6000, 8000] {
        assert!(scene.claim_ordered(PORT, 9).await.is_empty());
        let now = parked().await;
        assert!((least..=least * 2).contains(&now), "{now} of {least}");
    }
    assert_eq!(parked().await, 8000);
}

//! What becomes of deliveries in hand, each once, also when the batch runs twice.

use std::time::Duration;

use quayside_store::{
    Change, Op, Outcome, SettleOutcome,
    model::{DeliveryState, Transport},
};

use crate::{
    Backend,
    scene::{Scene, failure, retry, sent, suspend},
};

/// An ended delivery is gone, with one event; the message stays.
pub async fn an_end_is_one_event(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let id = scene.stored(scene.publish("x", &["a", "b"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    scene.done(claim, sent()).await;
    let way = scene.store.message(id).await.expect("way").expect("stored");
    assert_eq!(way.live_deliveries.len(), 1);
    assert_eq!((way.row.deliveries, way.row.live), (2, 1));
    assert_eq!(way.history.len(), 1);
    let event = &way.history[0];
    assert_eq!(event.event.as_str(), "sent");
    assert_eq!(event.port.as_deref(), Some("a"));
    assert_eq!(
        (event.no, event.attempts, event.detail.as_str()),
        (Some(0), 1, "200")
    );
}

/// A batch of settlements that runs twice, because its COMMIT was in the dark, is done both times.
pub async fn the_same_batch_again_is_done_once(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut changes = vec![
        sent(),
        retry(Duration::from_secs(3600), 1),
        suspend(),
        Change::Release,
    ];
    let mut ops = Vec::new();
    for change in changes.drain(..) {
        scene.stored(scene.publish("x", &["a"])).await;
        ops.push(Op::Settle(
            scene.claim("a", 1).await.remove(0).claim,
            change,
        ));
    }
    for run in 0..2 {
        let outcomes = scene.commit(&ops).await.expect("commit");
        let done = Outcome::Settled(SettleOutcome::Done);
        assert!(
            outcomes.iter().all(|o| *o == done),
            "run {run}: {outcomes:?}"
        );
    }
    let Op::Settle(ended, _) = &ops[0] else {
        unreachable!("the first settles")
    };
    let way = scene
        .store
        .message(ended.delivery.message)
        .await
        .expect("way")
        .expect("stored");
    assert_eq!(way.history.len(), 1, "it ended once");
    // After somebody had it again, the same settlement is a stale one.
    let again = scene.claim("a", 9).await;
    assert_eq!(again.len(), 1, "only the released one is ready");
    assert_eq!(
        scene.settle(again[0].claim, sent()).await,
        SettleOutcome::Done
    );
    let outcomes = scene.commit(&ops[3..]).await.expect("commit");
    assert_eq!(outcomes, [Outcome::Settled(SettleOutcome::Fenced)]);
}

/// A retry is due when its wait is over, and carries transport, attempts and failure.
pub async fn a_retry_is_due_after_its_wait(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.stored(scene.publish("x", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    let change = Change::Retry {
        wait: backend.moment(),
        transport: Transport::Backup,
        attempts: 2,
        failure: failure("no route"),
        in_doubt: false,
    };
    scene.done(claim, change).await;
    if backend.virtual_time() {
        assert_eq!(scene.claim("a", 9).await.len(), 0, "not due yet");
    }
    let way = scene
        .store
        .message(claim.delivery.message)
        .await
        .expect("way")
        .expect("stored");
    let waiting = &way.live_deliveries[0];
    assert_eq!(
        (waiting.state, waiting.transport),
        (DeliveryState::Ready, Transport::Backup)
    );
    assert_eq!((waiting.attempts, waiting.instance), (2, None));
    assert_eq!(waiting.failure, Some(failure("no route")));
    scene.moment().await;
    let due = scene.claim("a", 9).await;
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].transport, due[0].attempts), (Transport::Backup, 2));
    assert!(!due[0].in_doubt);
}

/// An attempt that may have had its effect is said so to every later one, whatever those were.
pub async fn a_doubt_stays_with_the_delivery(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.stored(scene.publish("x", &["a"])).await;
    let mut claim = scene.claim("a", 1).await.remove(0).claim;
    for doubtful in [true, false] {
        let change = Change::Retry {
            wait: Duration::ZERO,
            transport: Transport::Primary,
            attempts: 1,
            failure: failure("cut off"),
            in_doubt: doubtful,
        };
        scene.done(claim, change).await;
        let again = scene.claim("a", 1).await.remove(0);
        assert!(again.in_doubt, "after a retry with in_doubt = {doubtful}");
        claim = again.claim;
    }
}

/// A delivery given back is as it was before it was claimed.
pub async fn a_release_changes_nothing(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.stored(scene.publish("x", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    scene.done(claim, Change::Release).await;
    let again = scene.claim("a", 9).await;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].attempts, again[0].in_doubt), (0, false));
}

/// A claim names its holder: the claim of another live instance is refused.
pub async fn another_holder_is_fenced(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let other = scene.instance().await;
    scene.stored(scene.publish("x", &["a"])).await;
    let mut claim = scene.claim("a", 1).await.remove(0).claim;
    let mine = claim;
    claim.instance = other;
    assert_eq!(scene.settle(claim, sent()).await, SettleOutcome::Fenced);
    claim.instance = scene.me;
    claim.token += 1;
    assert_eq!(scene.settle(claim, sent()).await, SettleOutcome::Fenced);
    scene.done(mine, sent()).await;
}

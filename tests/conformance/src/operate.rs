//! What operators do to deliveries.

use std::time::Duration;

use quayside_store::{
    SettleOutcome,
    commit::Birth,
    model::{DeliveryId, DeliveryState, MessageId, Transport},
    operate::OperateOutcome,
};

use crate::{
    Backend,
    scene::{Scene, failure, retry, sent, suspend},
};

/// A suspended delivery comes back with all its attempts before it.
pub async fn resume_brings_a_suspended_one_back(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.stored(scene.publish("x", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    scene.done(claim, suspend()).await;
    let way = scene
        .store
        .message(claim.delivery.message)
        .await
        .expect("way")
        .expect("stored");
    assert_eq!(way.live_deliveries[0].state, DeliveryState::Suspended);
    assert_eq!(way.live_deliveries[0].failure, Some(failure("gave up")));
    assert_eq!(scene.claim("a", 9).await.len(), 0);
    let resumed = scene.store.resume(&[claim.delivery]).await.expect("resume");
    assert_eq!(resumed, [OperateOutcome::Done]);
    let back = scene.claim("a", 9).await;
    assert_eq!(back.len(), 1);
    assert_eq!(
        (back[0].attempts, back[0].transport),
        (0, Transport::Primary)
    );
    scene.done(back[0].claim, sent()).await;
    let way = scene
        .store
        .message(claim.delivery.message)
        .await
        .expect("way")
        .expect("stored");
    let events: Vec<_> = way.history.iter().map(|e| e.event.as_str()).collect();
    assert_eq!(events, ["resumed", "sent"]);
}

/// Resuming one that waits for its retry makes it due; one in doubt is not in doubt any more.
pub async fn resume_hastens_and_settles_doubts(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.stored(scene.publish("waits", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    scene
        .done(claim, retry(Duration::from_secs(86_400), 1))
        .await;
    assert_eq!(scene.claim("a", 9).await.len(), 0);
    let resumed = scene.store.resume(&[claim.delivery]).await.expect("resume");
    assert_eq!(resumed, [OperateOutcome::Done]);
    assert_eq!(scene.claim("a", 9).await.len(), 1);

    let dead = scene.instance().await;
    scene.stored(scene.publish("in doubt", &["b"])).await;
    scene.claim_by(dead, "b", 1).await;
    scene.store.end_instance(dead).await.expect("end");
    assert_eq!(scene.store.release_dead(9).await.expect("release"), 1);
    let doubtful = scene.claim("b", 1).await.remove(0);
    assert!(doubtful.in_doubt);
    scene.done(doubtful.claim, suspend()).await;
    scene.store.resume(&[doubtful.id()]).await.expect("resume");
    assert!(
        !scene.claim("b", 1).await[0].in_doubt,
        "the operator has decided"
    );
}

/// A terminated delivery is gone for good, with an event.
pub async fn terminate_ends_what_nobody_holds(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut publish = scene.publish("x", &["ready", "suspended", "claimed"]);
    publish.deliveries[1].birth = Birth::Suspended(failure("broken"));
    publish.deliveries[2].birth = Birth::Claimed;
    let message = publish.message.id;
    scene.outcome(publish).await;
    let ids: Vec<_> = (0..3).map(|no| DeliveryId { message, no }).collect();
    let ended = scene.store.terminate(&ids).await.expect("terminate");
    assert_eq!(
        ended,
        [
            OperateOutcome::Done,
            OperateOutcome::Done,
            OperateOutcome::Busy
        ]
    );
    let way = scene
        .store
        .message(message)
        .await
        .expect("way")
        .expect("stored");
    assert_eq!(way.live_deliveries.len(), 1);
    let events: Vec<_> = way
        .history
        .iter()
        .map(|e| (e.event.as_str(), e.no))
        .collect();
    assert_eq!(events, [("terminated", Some(0)), ("terminated", Some(1))]);
    assert_eq!(scene.claim("ready", 9).await.len(), 0);
    assert_eq!(
        scene.settle(scene.born(message, 2), sent()).await,
        SettleOutcome::Done
    );
}

/// Every verb answers item by item.
pub async fn each_item_has_its_outcome(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let message = scene
        .stored(scene.publish("x", &["ready", "claimed"]))
        .await;
    scene.claim("claimed", 1).await;
    let ids = [
        DeliveryId { message, no: 0 },
        DeliveryId { message, no: 1 },
        DeliveryId { message, no: 2 },
        DeliveryId {
            message: MessageId::from_bytes(scene.random()),
            no: 0,
        },
    ];
    let resumed = scene.store.resume(&ids).await.expect("resume");
    assert_eq!(
        resumed,
        [
            OperateOutcome::Unchanged,
            OperateOutcome::Busy,
            OperateOutcome::NotFound,
            OperateOutcome::NotFound
        ]
    );
    assert_eq!(scene.store.resume(&[]).await.expect("resume"), []);
}

//! What a store is like that was restored from a backup, once it is released.

use quayside_store::{
    Change, SettleOutcome,
    model::{DeliveryState, Failure, GrantId},
    sessions::FenceOutcome,
};

use crate::{
    Backend, Scene,
    scene::{bodies_of, failure, name, order_key, sent, suspend},
};

/// Whatever was open may have been sent since the backup: waiting, in hand, behind another one, kept for an operator.
/// What nobody could resume was not, and what had ended is over.
pub async fn what_was_open_is_in_doubt(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let store = &scene.store;
    for body in ["ended", "for good", "kept"] {
        scene.stored(scene.publish(body, &["a"])).await;
        let claim = scene.claim("a", 1).await.remove(0).claim;
        let change = match body {
            "ended" => sent(),
            "kept" => suspend(),
            _ => Change::Suspend {
                attempts: 1,
                failure: Failure {
                    resumable: false,
                    ..failure("never")
                },
                hold_key: false,
                in_doubt: false,
            },
        };
        scene.done(claim, change).await;
    }
    scene.stored(scene.publish("in hand", &["a"])).await;
    let held = scene.claim_unsent_by(scene.me, "a", 1).await;
    assert_eq!(bodies_of(&held), ["in hand"]);
    scene.stored(scene.publish("waits", &["b"])).await;
    for body in ["first", "behind"] {
        scene
            .stored(scene.ordered(body, "o", order_key("k", 1)))
            .await;
    }
    assert_eq!(backend.restored().await, 5);

    let rows = store.doubts(None, None, 9).await.expect("list");
    assert!(rows.iter().all(|row| row.delivery.in_doubt), "{rows:?}");
    let of = |port: &str| -> Vec<_> {
        let of = rows.iter().filter(|row| row.delivery.port == name(port));
        of.collect()
    };
    assert_eq!(["a", "b", "o"].map(|port| of(port).len()), [2, 1, 2]);
    for row in &rows {
        assert!(row.owner.is_none() && row.restored_at.is_some(), "{row:?}");
    }
    let mut states: Vec<_> = of("a").iter().map(|row| row.delivery.state).collect();
    states.sort_by_key(|state| format!("{state:?}"));
    assert_eq!(states, [DeliveryState::Claimed, DeliveryState::Suspended]);

    // Who takes one is told, and it ends as any other one does.
    assert_eq!(store.release_dead(9).await.expect("release"), 1);
    let next = scene.instance().await;
    for (port, body) in [("a", "in hand"), ("b", "waits")] {
        let claimed = scene.claim_by(next, port, 9).await;
        assert_eq!(bodies_of(&claimed), [body]);
        assert!(claimed[0].in_doubt, "{claimed:?}");
    }
    assert_eq!(backend.restored().await, 5, "once more does no harm");
}

/// Whoever lived in the backup may write no more, and epochs are above all that it could have granted since, of what it
/// had and of what it had not.
pub async fn whoever_lived_is_dead_and_epochs_begin_anew(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let store = &scene.store;
    let take = async |group: &str, instance| {
        let grant = GrantId::from_bytes(scene.random());
        let taken = store.take_fence(&name(group), instance, grant).await;
        taken.expect("take")
    };
    let FenceOutcome::Taken(before) = take("known", scene.me).await else {
        panic!("it is free");
    };
    scene.stored(scene.publish("x", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    let mut last = before;
    for round in ["first", "second"] {
        backend.restored().await;
        assert_eq!(take("known", scene.me).await, FenceOutcome::Fenced);
        assert_eq!(scene.settle(claim, sent()).await, SettleOutcome::Fenced);
        assert_eq!(bodies_of(&scene.claim("a", 1).await), [""; 0], "{round}");
        let next = scene.instance().await;
        let mut highest = last;
        for group in ["known", round] {
            let FenceOutcome::Taken(epoch) = take(group, next).await else {
                panic!("nobody has {group}");
            };
            // More than were taken in the life that is lost, were it one take in each microsecond.
            assert!(epoch > last + 900_000, "{group}: {epoch} after {last}");
            highest = highest.max(epoch);
        }
        store.end_instance(next).await.expect("end");
        last = highest;
    }
}

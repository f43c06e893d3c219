//! Claims: exclusive, proved by token, given back when their owner is dead.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use quayside_store::{
    Change, Claimed, Op, SettleOutcome, Want,
    commit::Birth,
    model::{DeliveryState, Priority},
};

use crate::{
    Backend,
    scene::{Scene, bodies_of, name, retry, sent},
};

/// Many claimers at once: each delivery goes to one of them, and all go.
pub async fn each_goes_to_one_of_many_claimers(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let ops: Vec<Op> = (0..40)
        .map(|n| Op::Publish(Box::new(scene.publish(&n.to_string(), &["a"]))))
        .collect();
    scene.commit(&ops).await.expect("commit");
    let mut instances = Vec::new();
    for _ in 0..8 {
        instances.push(scene.instance().await);
    }
    let mut seen = HashSet::new();
    while seen.len() < 40 {
        let claims = join_all(instances.iter().map(|i| scene.claim_by(*i, "a", 3))).await;
        let claims: Vec<_> = claims.into_iter().flatten().collect();
        // A claim never waits for another, so one round may pass some over; none may pass all over.
        assert!(
            !claims.is_empty(),
            "{} of 40 claimed, then none",
            seen.len()
        );
        for claimed in claims {
            assert!(
                seen.insert(claimed.id()),
                "{} was claimed twice",
                claimed.id()
            );
        }
    }
    assert_eq!(scene.claim("a", 9).await.len(), 0);
}

/// A claim gives no more than there is room for, port by port.
pub async fn a_claim_keeps_to_the_room(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    for _ in 0..3 {
        scene.stored(scene.publish("x", &["a", "b"])).await;
    }
    let want = |port, room| Want {
        port: name(port),
        room,
        ordered: false,
        marks: false,
        deaths: quayside_store::Deaths::Any,
    };
    let wants = [want("a", 2), want("b", 0), want("c", 5)];
    let claimed = scene.store.claim(scene.me, &wants).await.expect("claim");
    let ports: Vec<_> = claimed.iter().map(|c| c.port.as_str()).collect();
    assert_eq!(ports, ["a", "a"]);
    let listed = scene.store.claims_of(scene.me).await.expect("claims");
    let ids: HashSet<_> = claimed.iter().map(|c| c.claim).collect();
    assert_eq!(listed.into_iter().collect::<HashSet<_>>(), ids);
}

/// First ranks first: an urgent one overtakes, but a low priority never starves.
pub async fn urgent_ones_go_first(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    for (body, priority) in [("last", 10), ("middle", 5), ("first", 1)] {
        let mut publish = scene.publish(body, &["a"]);
        publish.deliveries[0].priority = Priority::new(priority).expect("1 to 10");
        scene.stored(publish).await;
    }
    assert_eq!(
        bodies_of(&scene.claim("a", 9).await),
        ["first", "middle", "last"]
    );
    if backend.virtual_time() {
        let mut old = scene.publish("old", &["a"]);
        old.deliveries[0].priority = Priority::new(10).expect("1 to 10");
        scene.stored(old).await;
        backend.pass(Priority::STEP * 10).await;
        let mut urgent = scene.publish("urgent", &["a"]);
        urgent.deliveries[0].priority = Priority::new(1).expect("1 to 10");
        scene.stored(urgent).await;
        assert_eq!(bodies_of(&scene.claim("a", 9).await), ["old", "urgent"]);
    }
}

/// An answer to an earlier claim of the same delivery by the same instance is refused.
pub async fn an_old_token_is_fenced(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.stored(scene.publish("x", &["a"])).await;
    let first = scene.claim("a", 1).await.remove(0).claim;
    scene.done(first, retry(Duration::ZERO, 1)).await;
    let second = scene.claim("a", 1).await.remove(0).claim;
    assert_eq!(second.delivery, first.delivery);
    assert_ne!(second.token, first.token);
    for change in [sent(), retry(Duration::ZERO, 2), crate::scene::suspend()] {
        assert_eq!(scene.settle(first, change).await, SettleOutcome::Fenced);
    }
    scene.done(second, sent()).await;
    assert_eq!(scene.settle(first, sent()).await, SettleOutcome::Fenced);
}

/// What a dead instance held is free again, marked as maybe sent, with one attempt counted.
pub async fn the_claims_of_the_dead_are_released(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let dead = scene.instance().await;
    scene.stored(scene.publish("held", &["a"])).await;
    let mut born = scene.publish("born", &["a"]);
    born.deliveries[0].birth = Birth::Claimed;
    scene.outcome_by(dead, born).await;
    let old = scene.claim_by(dead, "a", 1).await.remove(0).claim;
    scene.stored(scene.publish("of the living", &["b"])).await;
    let mine = scene.claim("b", 1).await;
    assert_eq!(
        scene.store.release_dead(100).await.expect("release"),
        0,
        "all are live"
    );
    scene.store.end_instance(dead).await.expect("end");
    assert_eq!(scene.claim("a", 9).await.len(), 0, "not released yet");
    assert_eq!(
        scene.store.release_dead(1).await.expect("release"),
        1,
        "the limit holds"
    );
    assert_eq!(scene.store.release_dead(100).await.expect("release"), 1);
    assert_eq!(scene.store.release_dead(100).await.expect("release"), 0);
    let claimed = scene.claim("a", 9).await;
    assert_eq!(claimed.len(), 2);
    for claimed in &claimed {
        assert!(claimed.in_doubt && claimed.attempts == 1, "{claimed:?}");
    }
    assert_eq!(scene.settle(old, sent()).await, SettleOutcome::Fenced);
    scene.done(mine[0].claim, sent()).await;
    let way = scene
        .store
        .message(claimed[0].id().message)
        .await
        .expect("way")
        .expect("stored");
    assert!(
        way.live_deliveries[0].in_doubt && way.live_deliveries[0].state == DeliveryState::Claimed
    );
    assert_eq!(way.history[0].event.as_str(), "released");
}

/// Where sends are marked, only what was marked may have been sent when its owner died.
pub async fn only_a_marked_claim_of_the_dead_is_in_doubt(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let dead = scene.instance().await;
    for body in ["unsent", "sending"] {
        scene.stored(scene.publish(body, &["a"])).await;
    }
    let claimed = scene.claim_unsent_by(dead, "a", 9).await;
    let marked = claimed
        .iter()
        .find(|c| bodies_of(std::slice::from_ref(c)) == ["sending"])
        .expect("both are claimed")
        .claim;
    // Twice, as after a commit in the dark.
    for _ in 0..2 {
        scene.done(marked, Change::Sending).await;
    }
    let mut stale = marked;
    stale.token += 1;
    let outcome = scene.settle(stale, Change::Sending).await;
    assert_eq!(outcome, SettleOutcome::Fenced);
    // Born in its hands: the birth is the intent.
    let mut born = scene.publish("born", &["a"]);
    born.deliveries[0].birth = Birth::Claimed;
    scene.outcome_by(dead, born).await;
    scene.store.end_instance(dead).await.expect("end");
    let outcome = scene.settle(marked, Change::Sending).await;
    assert_eq!(outcome, SettleOutcome::Fenced, "it is dead");
    assert_eq!(scene.store.release_dead(9).await.expect("release"), 3);
    let outcome = scene.settle(marked, Change::Sending).await;
    assert_eq!(outcome, SettleOutcome::Fenced, "nobody holds it");
    let mut facts = Vec::new();
    for _ in 0..2 {
        let other = scene.instance().await;
        let mut again = scene.claim_by(other, "a", 9).await;
        again.sort_by_key(|c| bodies_of(std::slice::from_ref(c)));
        let fact = |c: &Claimed| (c.in_doubt, c.attempts);
        facts.push(again.iter().map(fact).collect::<Vec<_>>());
        scene.store.end_instance(other).await.expect("end");
        assert_eq!(scene.store.release_dead(9).await.expect("release"), 3);
    }
    // Born, sending, unsent. The second owner did not mark: its claims were intents.
    let first = [(true, 1), (true, 1), (false, 0)];
    let second = [(true, 2), (true, 2), (true, 1)];
    assert_eq!(facts, [first, second]);
}

//! The same key inside its window is one message.

use std::time::Duration;

use futures_util::future::join_all;
use quayside_store::{Op, Outcome, PublishOutcome, commit::NewExchange, model::ExchangeId};

use crate::{
    Backend,
    scene::{Scene, bodies_of, key},
};

/// A repeat gets the first answer, stores nothing, and is an event of the first message.
pub async fn a_repeat_gets_the_first_answer(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut first = scene.publish("first", &["a"]);
    let exchange = ExchangeId::from_bytes(scene.random());
    first.dedupe = Some(key("k", "same"));
    first.exchange = Some(NewExchange {
        id: exchange,
        keep: Duration::from_secs(60),
        run: None,
        lease: None,
    });
    let id = scene.stored(first).await;
    let mut repeat = scene.publish("repeat", &["a", "b"]);
    repeat.dedupe = Some(key("k", "same"));
    match scene.outcome(repeat).await {
        PublishOutcome::Duplicate(first) => {
            assert_eq!((first.message, first.exchange), (id, Some(exchange)));
        }
        other => panic!("a repeat gave {other:?}"),
    }
    assert_eq!(bodies_of(&scene.claim("a", 9).await), ["first"]);
    assert_eq!(scene.claim("b", 9).await.len(), 0);
    let way = scene
        .store
        .message(id)
        .await
        .expect("message")
        .expect("stored");
    let events: Vec<_> = way
        .history
        .iter()
        .map(|event| event.event.as_str())
        .collect();
    assert_eq!(events, ["duplicate"]);
}

/// The same key for another request is refused, and the first is named.
pub async fn another_request_under_the_key_is_a_mismatch(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut first = scene.publish("first", &["a"]);
    first.dedupe = Some(key("k", "one"));
    let id = scene.stored(first).await;
    let mut other = scene.publish("other", &["a"]);
    other.dedupe = Some(key("k", "two"));
    match scene.outcome(other).await {
        PublishOutcome::Mismatch(first) => assert_eq!(first.message, id),
        other => panic!("another request gave {other:?}"),
    }
    assert_eq!(bodies_of(&scene.claim("a", 9).await), ["first"]);
}

/// Of many at once, and of several in one batch, one is stored; the others name it.
pub async fn of_many_at_once_one_is_stored(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let one = || {
        let mut publish = scene.publish("once", &["a"]);
        publish.dedupe = Some(key("k", "same"));
        Op::Publish(Box::new(publish))
    };
    let batches: Vec<Vec<Op>> = (0..8).map(|_| vec![one(), one()]).collect();
    let outcomes = join_all(batches.iter().map(|batch| scene.commit(batch))).await;
    let outcomes: Vec<Outcome> = outcomes
        .into_iter()
        .flat_map(|outcomes| outcomes.expect("commit"))
        .collect();
    let stored = |o: &&Outcome| matches!(o, Outcome::Published(PublishOutcome::Stored { .. }));
    assert_eq!(outcomes.iter().filter(stored).count(), 1, "{outcomes:?}");
    let claimed = scene.claim("a", 9).await;
    assert_eq!(claimed.len(), 1);
    let winner = claimed[0].id().message;
    for outcome in outcomes.iter().filter(|o| !stored(o)) {
        match outcome {
            Outcome::Published(PublishOutcome::Duplicate(first)) => {
                assert_eq!(first.message, winner)
            }
            other => panic!("a repeat gave {other:?}"),
        }
    }
}

/// A refused item leaves its key free for the next.
pub async fn a_refused_item_takes_no_key(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let exchange = NewExchange {
        id: ExchangeId::from_bytes(scene.random()),
        keep: Duration::from_secs(60),
        run: None,
        lease: None,
    };
    let mut first = scene.publish("first", &["a"]);
    first.exchange = Some(exchange);
    scene.stored(first).await;
    let mut refused = scene.publish("refused", &["a"]);
    refused.exchange = Some(exchange);
    refused.dedupe = Some(key("k", "same"));
    let outcome = scene.outcome(refused).await;
    assert!(matches!(outcome, PublishOutcome::Refused(_)), "{outcome:?}");
    let mut repaired = scene.publish("repaired", &["a"]);
    repaired.dedupe = Some(key("k", "same"));
    scene.stored(repaired).await;
}

/// The key holds for its window, whatever boundary lies in between, and is free some time after it.
pub async fn a_key_holds_for_its_window(backend: &dyn Backend) {
    if !backend.virtual_time() {
        return;
    }
    let scene = Scene::open(backend).await;
    let window = Duration::from_secs(3600);
    // Start at several distances from a boundary of the window.
    for start in [1, 59, 61, 1800, 3539, 3541, 3599] {
        let now = backend.now().as_micros().unsigned_abs() / 1_000_000 % 3600;
        backend
            .pass(Duration::from_secs((3600 + start - now) % 3600))
            .await;
        let name = format!("at {start}");
        let again = || {
            let mut publish = scene.publish("x", &["a"]);
            publish.dedupe = Some(key(&name, "same"));
            publish.dedupe.as_mut().expect("just set").window = window;
            publish
        };
        scene.stored(again()).await;
        for pass in [60, 1800, 1739] {
            backend.pass(Duration::from_secs(pass)).await;
            let outcome = scene.outcome(again()).await;
            assert!(
                matches!(outcome, PublishOutcome::Duplicate(_)),
                "{name}: {outcome:?}"
            );
        }
        backend.pass(window * 3).await;
        scene.stored(again()).await;
    }
}

//! Publishing: all or none, once, and by the living only.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quayside_store::{
    Op, Outcome, PublishOutcome,
    commit::{Birth, NewExchange},
    model::{Content, DeliveryId, DeliveryState, ExchangeId, Part},
};

use crate::{
    Backend,
    scene::{Scene, bodies_of, failure, name, text},
};

/// What was published is what is loaded and what is claimed, to the byte.
pub async fn stores_what_load_gives_back(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut publish = scene.publish("the body", &["a"]);
    let mut message = scene.message("the body");
    message
        .context
        .write(name("http.header.x-odd"), text("ä \"quoted\" \\ text"));
    message.parts.push(Part {
        name: name("attachment"),
        content_type: None,
        content: Content::Inline(Bytes::from((0..=255).collect::<Vec<u8>>())),
    });
    message.parts.push(Part {
        name: name("empty"),
        content_type: None,
        content: Content::Inline(Bytes::new()),
    });
    publish.message = Arc::new(message.clone());
    publish.deliveries[0].rendered = Some(text("{\"file\":\"x.xml\"}"));
    scene.stored(publish).await;
    let loaded = scene.store.load(message.id).await.expect("load");
    assert_eq!(loaded.as_ref(), Some(&message));
    let claimed = scene.claim("a", 1).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(*claimed[0].message, message);
    assert_eq!(claimed[0].rendered, Some(text("{\"file\":\"x.xml\"}")));
    assert_eq!((claimed[0].attempts, claimed[0].in_doubt), (0, false));
}

/// Every subscriber gets it, or, where one part of it cannot be stored, none does.
pub async fn all_or_none_of_the_fan_out(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene
        .stored(scene.publish("to three", &["a", "b", "c"]))
        .await;
    for port in ["a", "b", "c"] {
        assert_eq!(
            bodies_of(&scene.claim(port, 9).await),
            ["to three"],
            "{port}"
        );
    }
    let mut refused = scene.publish("to none", &["a", "b", "c"]);
    let mut message = scene.message("to none");
    // A body that this instance never opened.
    message.parts[0].content = Content::Stored(quayside_store::model::StoredBody {
        id: quayside_store::model::BodyId::from_bytes(scene.random()),
        len: 1,
        chunks: 1,
        sha256: [0; 32],
    });
    refused.message = Arc::new(message.clone());
    let outcome = scene.outcome(refused).await;
    assert!(matches!(outcome, PublishOutcome::Refused(_)), "{outcome:?}");
    for port in ["a", "b", "c"] {
        assert_eq!(scene.claim(port, 9).await.len(), 0, "{port}");
    }
    assert_eq!(scene.store.load(message.id).await.expect("load"), None);
}

/// After its end an instance changes nothing any more.
pub async fn a_dead_instance_is_fenced(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let old = scene.instance().await;
    scene.stored(scene.publish("held", &["a"])).await;
    let held = scene.claim_by(old, "a", 1).await;
    scene.store.end_instance(old).await.expect("end");
    let publish = scene.publish("too late", &["a"]);
    let id = publish.message.id;
    let ops = [
        Op::Publish(Box::new(publish)),
        Op::Settle(held[0].claim, crate::scene::sent()),
    ];
    let outcomes = scene.store.commit(old, &ops).await.expect("commit");
    assert_eq!(
        outcomes,
        [
            Outcome::Published(PublishOutcome::Fenced),
            Outcome::Settled(quayside_store::SettleOutcome::Fenced)
        ]
    );
    assert_eq!(scene.store.load(id).await.expect("load"), None);
    assert_eq!(
        scene.claim_by(old, "a", 9).await.len(),
        0,
        "the dead claim nothing"
    );
}

/// A batch that is run again, because its COMMIT was in the dark, happens once.
pub async fn the_same_batch_again_is_stored_once(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut first = scene.publish("one", &["a", "b"]);
    first.deliveries[0].birth = Birth::Claimed;
    first.dedupe = Some(crate::scene::key("k", "f"));
    let second = scene.publish("two", &["a"]);
    let ops = [Op::Publish(Box::new(first)), Op::Publish(Box::new(second))];
    let once = scene.commit(&ops).await.expect("first run");
    let again = scene.commit(&ops).await.expect("second run");
    assert_eq!(once, again);
    assert_eq!(
        once[0],
        Outcome::Published(PublishOutcome::Stored { claimed: vec![0] })
    );
    assert_eq!(bodies_of(&scene.claim("b", 9).await), ["one"]);
    assert_eq!(bodies_of(&scene.claim("a", 9).await), ["two"]);
    assert_eq!(
        scene.store.claims_of(scene.me).await.expect("claims").len(),
        3
    );
}

/// A value that the store refuses takes itself out of its batch and no other.
pub async fn a_bad_item_leaves_the_others(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let exchange = NewExchange {
        id: ExchangeId::from_bytes(scene.random()),
        keep: Duration::from_secs(60),
        run: None,
        lease: None,
    };
    let asking = |body: &str| {
        let mut publish = scene.publish(body, &["a"]);
        publish.exchange = Some(exchange);
        Op::Publish(Box::new(publish))
    };
    let plain = |body: &str| Op::Publish(Box::new(scene.publish(body, &["a"])));
    // Two messages cannot open the same request.
    let ops = [plain("one"), asking("two"), asking("bad"), plain("three")];
    let outcomes = scene.commit(&ops).await.expect("the batch lives");
    let stored = |o: &Outcome| matches!(o, Outcome::Published(PublishOutcome::Stored { .. }));
    let refused = |o: &Outcome| matches!(o, Outcome::Published(PublishOutcome::Refused(_)));
    assert!(
        stored(&outcomes[0]) && stored(&outcomes[1]) && stored(&outcomes[3]),
        "{outcomes:?}"
    );
    assert!(refused(&outcomes[2]), "{outcomes:?}");
    // Deliveries that share a moment and a priority may come in any order.
    let mut bodies = bodies_of(&scene.claim("a", 9).await);
    bodies.sort();
    assert_eq!(bodies, ["one", "three", "two"]);
}

/// Ready ones are for anyone, claimed ones for the publisher, suspended ones for the operator.
pub async fn births_decide_who_gets_it(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut publish = scene.publish("three fates", &["ready", "mine", "broken"]);
    publish.deliveries[1].birth = Birth::Claimed;
    publish.deliveries[2].birth = Birth::Suspended(failure("no such folder"));
    let id = publish.message.id;
    assert_eq!(
        scene.outcome(publish).await,
        PublishOutcome::Stored { claimed: vec![1] }
    );
    let other = scene.instance().await;
    for (port, found) in [("ready", 1), ("mine", 0), ("broken", 0)] {
        assert_eq!(scene.claim_by(other, port, 9).await.len(), found, "{port}");
    }
    let way = scene
        .store
        .message(id)
        .await
        .expect("message")
        .expect("stored");
    let states: Vec<_> = way.live_deliveries.iter().map(|d| d.state).collect();
    assert_eq!(
        states,
        [
            DeliveryState::Claimed,
            DeliveryState::Claimed,
            DeliveryState::Suspended
        ]
    );
    assert_eq!(
        way.live_deliveries[2].failure,
        Some(failure("no such folder"))
    );
    assert_eq!(way.live_deliveries[1].id, DeliveryId { message: id, no: 1 });
    // Only what is suspended needs an operator, who is told since when and why.
    let told: Vec<_> = way.history.iter().collect();
    let [event] = told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((&*event.event, event.no), ("suspended", Some(2)));
    assert_eq!(event.port.as_deref(), Some("broken"));
    let why = failure("no such folder");
    assert_eq!(*event.detail, *format!("{}: {}", why.code, why.detail));
    scene.done(scene.born(id, 1), crate::scene::sent()).await;
}

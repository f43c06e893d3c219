//! Retention keeps what lives and removes what is over.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quayside_store::{
    bodies::CHUNK,
    maintain::{Retention, Swept},
    model::{BodyId, Content, StoredBody},
};

use crate::{
    Backend,
    scene::{Scene, body_of, key, sent, suspend},
};

/// Sweeps until there is no more to do and gives the sums.
pub(crate) async fn sweep_all(scene: &Scene<'_>, retention: &Retention) -> Swept {
    let mut all = Swept::default();
    // Bounded: a store that always says `more` fails here.
    for _ in 0..10_000 {
        let swept = scene.store.sweep(retention).await.expect("sweep");
        all.messages += swept.messages;
        all.bodies += swept.bodies;
        all.keys += swept.keys;
        all.chunks += swept.chunks;
        if !swept.more {
            return all;
        }
    }
    panic!("the sweep never ends: {all:?}");
}

fn retention(backend: &dyn Backend) -> Retention {
    Retention {
        metadata: backend.moment() * 10,
        bodies: backend.moment() * 4,
    }
}

/// Bodies go first, then messages, both counted from the end of the last delivery.
pub async fn retention_runs_from_the_last_end(backend: &dyn Backend) {
    if !backend.virtual_time() {
        return;
    }
    let scene = Scene::open(backend).await;
    let retention = retention(backend);
    let id = scene.stored(scene.publish("x", &["a", "b"])).await;
    backend.pass(retention.metadata * 2).await;
    let first = scene.claim("a", 1).await.remove(0).claim;
    scene.done(first, sent()).await;
    backend.pass(retention.metadata * 2).await;
    assert_eq!(
        sweep_all(&scene, &retention).await,
        Swept::default(),
        "one still lives"
    );
    let last = scene.claim("b", 1).await.remove(0);
    assert_eq!(body_of(&last.message), "x");
    scene.done(last.claim, sent()).await;
    backend
        .pass(retention.bodies - Duration::from_secs(1))
        .await;
    assert_eq!(
        sweep_all(&scene, &retention).await,
        Swept::default(),
        "too early"
    );
    backend.pass(Duration::from_secs(2)).await;
    assert_eq!(
        sweep_all(&scene, &retention).await,
        Swept {
            bodies: 1,
            ..Swept::default()
        }
    );
    let emptied = scene
        .store
        .load(id)
        .await
        .expect("load")
        .expect("metadata stays");
    assert!(emptied.body().content.is_empty());
    let way = scene
        .store
        .message(id)
        .await
        .expect("message")
        .expect("metadata stays");
    assert_eq!((way.row.body_len, way.history.len()), (1, 2));
    backend.pass(retention.metadata).await;
    assert_eq!(
        sweep_all(&scene, &retention).await,
        Swept {
            messages: 1,
            ..Swept::default()
        }
    );
    assert_eq!(scene.store.message(id).await.expect("message"), None);
}

/// However old, a message with a live delivery stays whole: ready, waiting, suspended or in hand.
pub async fn what_lives_stays(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let none = Retention {
        metadata: Duration::ZERO,
        bodies: Duration::ZERO,
    };
    let mut ids = Vec::new();
    for (port, change) in [
        ("ready", None),
        ("claimed", None),
        ("suspended", Some(suspend())),
        (
            "waiting",
            Some(crate::scene::retry(backend.moment() * 1000, 1)),
        ),
    ] {
        let id = scene.stored(scene.publish("alive", &[port, "ended"])).await;
        let ended = scene.claim("ended", 1).await.remove(0).claim;
        scene.done(ended, sent()).await;
        if port != "ready" {
            let claim = scene.claim(port, 1).await.remove(0).claim;
            if let Some(change) = change {
                scene.done(claim, change).await;
            }
        }
        ids.push(id);
    }
    scene.moment().await;
    let swept = sweep_all(&scene, &none).await;
    assert_eq!((swept.messages, swept.bodies), (0, 0));
    for id in ids {
        let message = scene.store.load(id).await.expect("load").expect("alive");
        assert_eq!(body_of(&message), "alive");
    }
}

/// More messages than one step takes go step by step, and those without a subscriber go as well.
pub async fn many_go_step_by_step(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let count = 700;
    let none = Retention {
        metadata: Duration::ZERO,
        bodies: Duration::ZERO,
    };
    let one = |_| quayside_store::Op::Publish(Box::new(scene.publish("x", &[])));
    let ops: Vec<_> = (0..count).map(one).collect();
    scene.commit(&ops).await.expect("commit");
    scene.moment().await;
    assert_eq!(sweep_all(&scene, &none).await.messages, count);
    let left = scene
        .store
        .messages(&Default::default(), None, 9)
        .await
        .expect("messages");
    assert_eq!(left, []);
    // What comes after a sweep is swept by the next one.
    scene.stored(scene.publish("y", &[])).await;
    scene.moment().await;
    assert_eq!(sweep_all(&scene, &none).await.messages, 1);
}

/// The chunks of a body go with its message's bodies.
pub async fn chunks_go_with_their_message(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let id = BodyId::from_bytes(scene.random());
    assert!(scene.store.open_body(id, scene.me).await.expect("open"));
    for no in 0..6 {
        let chunk = Bytes::from(vec![b'x'; CHUNK]);
        assert!(
            scene
                .store
                .append_chunk(id, scene.me, no, chunk)
                .await
                .expect("append")
        );
    }
    let mut publish = scene.publish("", &["a"]);
    let mut message = scene.message("");
    message.parts[0].content = Content::Stored(StoredBody {
        id,
        len: 6 * CHUNK as u64,
        chunks: 6,
        sha256: [1; 32],
    });
    publish.message = Arc::new(message);
    scene.stored(publish).await;
    let none = Retention {
        metadata: Duration::from_secs(86_400),
        bodies: Duration::ZERO,
    };
    scene.moment().await;
    assert_eq!(
        sweep_all(&scene, &none).await.chunks,
        0,
        "its delivery lives"
    );
    let claim = scene.claim("a", 1).await.remove(0).claim;
    scene.done(claim, sent()).await;
    scene.moment().await;
    let swept = sweep_all(&scene, &none).await;
    assert_eq!((swept.bodies, swept.chunks), (1, 6));
    assert_eq!(scene.store.read_chunk(id, 0).await.expect("read"), None);
}

/// Keys go when their window is past for certain, and not before.
pub async fn keys_go_after_their_window(backend: &dyn Backend) {
    if !backend.virtual_time() {
        return;
    }
    let scene = Scene::open(backend).await;
    let day = Duration::from_secs(86_400);
    for name in ["one", "two", "three"] {
        let mut publish = scene.publish(name, &["a"]);
        publish.dedupe = Some(key(name, "f"));
        scene.stored(publish).await;
    }
    let retention = Retention::default();
    backend.pass(day - Duration::from_secs(1)).await;
    assert_eq!(sweep_all(&scene, &retention).await.keys, 0);
    backend.pass(day * 2).await;
    assert!(sweep_all(&scene, &retention).await.keys >= 3);
    assert_eq!(sweep_all(&scene, &retention).await.keys, 0);
}

/// A store that takes writes says so.
pub async fn the_probe_answers(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.store.probe().await.expect("the store is up");
    let stats = scene.store.transactions().stats();
    assert!(
        stats.iter().any(|s| s.done > 0),
        "transactions are measured"
    );
}

//! Bodies in chunks: written by one instance, sealed by the publication, read piece by piece.

use std::sync::Arc;

use bytes::Bytes;
use quayside_store::{
    Publish, PublishOutcome,
    bodies::CHUNK,
    maintain::Retention,
    model::{BodyId, Content, InstanceId, StoredBody},
};

use crate::{Backend, maintain::sweep_all, scene::Scene};

/// Opens a body for `owner` and writes one whole chunk and a short one.
async fn written(scene: &Scene<'_>, owner: InstanceId) -> StoredBody {
    let id = BodyId::from_bytes(scene.random());
    assert!(scene.store.open_body(id, owner).await.expect("open"));
    for (no, chunk) in [(0, vec![b'a'; CHUNK]), (1, vec![b'b'; 10])] {
        let appended = scene
            .store
            .append_chunk(id, owner, no, Bytes::from(chunk))
            .await;
        assert!(appended.expect("append"), "chunk {no}");
    }
    StoredBody {
        id,
        len: CHUNK as u64 + 10,
        chunks: 2,
        sha256: [7; 32],
    }
}

fn naming(scene: &Scene<'_>, body: StoredBody) -> Publish {
    let mut publish = scene.publish("", &["a"]);
    let mut message = scene.message("");
    message.parts[0].content = Content::Stored(body);
    publish.message = Arc::new(message);
    publish
}

/// A published body is read chunk by chunk, and the message names it.
pub async fn a_sealed_body_is_read_in_chunks(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let body = written(&scene, scene.me).await;
    let again = Bytes::from(vec![b'c'; 10]);
    assert!(
        scene
            .store
            .append_chunk(body.id, scene.me, 1, again.clone())
            .await
            .expect("append")
    );
    scene.stored(naming(&scene, body)).await;
    let claimed = scene.claim("a", 1).await;
    assert_eq!(claimed[0].message.body().content, Content::Stored(body));
    let chunk = async |no| scene.store.read_chunk(body.id, no).await.expect("read");
    assert_eq!(chunk(0).await.map(|c| c.len()), Some(CHUNK));
    assert_eq!(chunk(1).await, Some(again), "written again, so replaced");
    assert_eq!(chunk(2).await, None);
    let late = scene
        .store
        .append_chunk(body.id, scene.me, 2, Bytes::from_static(b"x"))
        .await;
    assert!(!late.expect("append"), "sealed");
}

/// Only the instance that wrote it, whole, and once, may publish a body.
pub async fn a_body_is_published_by_its_writer_only(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let other = scene.instance().await;
    let foreign = written(&scene, other).await;
    let refused = async |publish| {
        let outcome = scene.outcome(publish).await;
        assert!(matches!(outcome, PublishOutcome::Refused(_)), "{outcome:?}");
    };
    refused(naming(&scene, foreign)).await;
    assert!(
        !scene
            .store
            .append_chunk(foreign.id, scene.me, 2, Bytes::new())
            .await
            .expect("append")
    );
    let short = StoredBody {
        chunks: 3,
        ..written(&scene, scene.me).await
    };
    refused(naming(&scene, short)).await;
    let mine = written(&scene, scene.me).await;
    let publish = naming(&scene, mine);
    scene.stored(publish.clone()).await;
    assert_eq!(
        scene.outcome(publish).await,
        PublishOutcome::Stored { claimed: vec![] },
        "the same batch again"
    );
    refused(naming(&scene, mine)).await;
}

/// A dead instance opens and writes nothing, and its open bodies go; those of the living stay.
pub async fn open_bodies_of_the_dead_go(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let dead = scene.instance().await;
    let lost = written(&scene, dead).await;
    let kept = written(&scene, scene.me).await;
    scene.store.end_instance(dead).await.expect("end");
    let id = BodyId::from_bytes(scene.random());
    assert!(!scene.store.open_body(id, dead).await.expect("open"));
    assert!(
        !scene
            .store
            .append_chunk(lost.id, dead, 2, Bytes::new())
            .await
            .expect("append")
    );
    let swept = sweep_all(&scene, &Retention::default()).await;
    assert_eq!(swept.chunks, 2);
    assert_eq!(
        scene.store.read_chunk(lost.id, 0).await.expect("read"),
        None
    );
    scene.stored(naming(&scene, kept)).await;
    assert!(
        scene
            .store
            .read_chunk(kept.id, 0)
            .await
            .expect("read")
            .is_some()
    );
}

/// A body given up is not published any more, and its chunks go.
pub async fn an_abandoned_body_goes(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let body = written(&scene, scene.me).await;
    for _ in 0..2 {
        scene
            .store
            .abandon_body(body.id, scene.me)
            .await
            .expect("abandon");
    }
    let outcome = scene.outcome(naming(&scene, body)).await;
    assert!(matches!(outcome, PublishOutcome::Refused(_)), "{outcome:?}");
    assert_eq!(sweep_all(&scene, &Retention::default()).await.chunks, 2);
    // A sealed one cannot be given up.
    let sealed = written(&scene, scene.me).await;
    scene.stored(naming(&scene, sealed)).await;
    scene
        .store
        .abandon_body(sealed.id, scene.me)
        .await
        .expect("abandon");
    assert_eq!(sweep_all(&scene, &Retention::default()).await.chunks, 0);
    assert!(
        scene
            .store
            .read_chunk(sealed.id, 1)
            .await
            .expect("read")
            .is_some()
    );
}

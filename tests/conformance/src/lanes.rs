//! The lanes of ordered ports, between processes of a clustered host.

use std::time::Duration;

use crate::{
    Backend,
    cluster::{cluster, grant, node, taken},
    scene::{Scene, bodies_of, name, order_key, sent},
};

const PORT: &str = "p";
const LONG: Duration = Duration::from_secs(3600);

/// Whoever follows an owner that has finished works in its lanes at once; what that one has not ended keeps its lane.
pub async fn a_host_that_is_given_back_brings_its_lanes(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let host = name("queues");
    let (one, two) = (node(&scene, "a", LONG).await, node(&scene, "b", LONG).await);
    let first = grant(&scene);
    taken(
        cluster
            .take_group(&host, one.instance, first, false)
            .await
            .expect("take"),
    );
    for (body, lane) in [("k-1", 0), ("l-1", 1)] {
        let key = order_key(&body[..1], lane);
        scene.stored(scene.ordered(body, PORT, key)).await;
    }
    let mine = scene.claim_ordered_by(one.instance, PORT, 9).await;
    assert_eq!(mine.len(), 2);
    let done = mine.iter().find(|c| c.order == Some(order_key("k", 0)));
    scene.done(done.expect("claimed").claim, sent()).await;
    for (body, lane) in [("k-2", 0), ("m-1", 1)] {
        let key = order_key(&body[..1], lane);
        scene.stored(scene.ordered(body, PORT, key)).await;
    }
    let other = scene.claim_ordered_by(two.instance, PORT, 9).await;
    assert_eq!(other.len(), 0, "the lanes are another one's");
    let released = cluster.release_group(&host, first, None).await;
    assert!(released.expect("release"));
    let theirs = scene.claim_ordered_by(two.instance, PORT, 9).await;
    assert_eq!(bodies_of(&theirs), ["k-2"], "of the lane without work");
    let again = cluster.release_group(&host, first, None).await;
    assert!(!again.expect("release"), "it was given back");
    let ended = cluster.end(one.instance).await;
    ended.expect("end");
    scene.store.release_dead(9).await.expect("release");
    let rest = scene.claim_ordered_by(two.instance, PORT, 9).await;
    let mut rest = bodies_of(&rest);
    rest.sort();
    assert_eq!(rest, ["l-1", "m-1"], "of the other one, which is dead");
}

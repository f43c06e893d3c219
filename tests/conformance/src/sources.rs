//! Marks at sources, and leases on them.

use quayside_store::{commit::NewSource, model::Text};

use crate::{
    Backend,
    scene::{Scene, key, name, text},
};

/// A mark is there with its message and until it is settled.
pub async fn marks_wait_until_they_are_settled(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (here, there) = (name("app.port.here"), name("app.port.there"));
    let mut ids = Vec::new();
    for file in ["one", "two", "three"] {
        let mut publish = scene.publish(file, &["a"]);
        publish.source = Some(NewSource {
            location: here.clone(),
            key: text(file),
            state: text(&format!("state of {file}")),
        });
        ids.push(scene.stored(publish).await);
    }
    let pending = async |location, limit| {
        let pending = scene
            .store
            .pending_sources(location, limit)
            .await
            .expect("pending");
        let mut keys: Vec<_> = pending.iter().map(|p| p.key.to_string()).collect();
        keys.sort();
        keys
    };
    let all = scene
        .store
        .pending_sources(&here, 9)
        .await
        .expect("pending");
    for mark in &all {
        let place = ["one", "two", "three"]
            .iter()
            .position(|file| mark.key == *file);
        assert_eq!(mark.message, ids[place.expect("one of the three")]);
        assert_eq!(mark.state.to_string(), format!("state of {}", mark.key));
    }
    assert_eq!(pending(&here, 9).await, ["one", "three", "two"]);
    assert_eq!(pending(&here, 2).await.len(), 2);
    assert_eq!(pending(&there, 9).await.len(), 0);
    for _ in 0..2 {
        let settled: [Text; 2] = [text("one"), text("three")];
        scene
            .store
            .settle_sources(&here, &settled)
            .await
            .expect("settle");
    }
    assert_eq!(pending(&here, 9).await, ["two"]);
}

/// A repeat leaves no mark: its source is the first message's business.
pub async fn a_repeat_leaves_no_mark(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let location = name("app.port.here");
    for (file, marks) in [("first", 1), ("repeat", 1)] {
        let mut publish = scene.publish(file, &["a"]);
        publish.dedupe = Some(key("k", "same"));
        publish.source = Some(NewSource {
            location: location.clone(),
            key: text(file),
            state: text(""),
        });
        scene.outcome(publish).await;
        let pending = scene
            .store
            .pending_sources(&location, 9)
            .await
            .expect("pending");
        assert_eq!(pending.len(), marks, "{file}");
    }
}

/// A lease has one live owner and ends with it.
pub async fn a_lease_has_one_live_owner(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let other = scene.instance().await;
    let folder = text("/var/spool/in");
    let take = async |instance| {
        scene
            .store
            .take_lease(&folder, instance)
            .await
            .expect("take")
    };
    assert!(take(scene.me).await);
    assert!(take(scene.me).await, "kept");
    assert!(!take(other).await);
    scene
        .store
        .release_lease(&folder, other)
        .await
        .expect("not its own: nothing changes");
    assert!(!take(other).await);
    scene
        .store
        .release_lease(&folder, scene.me)
        .await
        .expect("release");
    assert!(take(other).await);
    scene.store.end_instance(other).await.expect("end");
    assert!(!take(other).await, "the dead take nothing");
    assert!(take(scene.me).await, "the dead have nothing");
}

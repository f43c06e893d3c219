//! The operators' word and the configuration in force.

use quayside_store::model::{PortStatus, port::PortControl};

use crate::{
    Backend,
    scene::{Scene, name, text},
};

/// A control is what was set last, and each change raises the version.
pub async fn the_last_word_counts(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let before = scene.store.controls().await.expect("controls");
    assert!(before.controls.is_empty());
    let paused = PortControl {
        status: PortStatus::Started,
        paused_until: Some(backend.now().plus(backend.moment())),
        reason: Some(text("night shift \"B\"")),
    };
    let stopped = PortControl {
        status: PortStatus::Stopped,
        ..PortControl::default()
    };
    let mut version = before.version;
    for (port, control) in [("app.a", &paused), ("app.b", &paused), ("app.a", &stopped)] {
        scene
            .store
            .set_control(&name(port), control)
            .await
            .expect("set");
        let set = scene.store.controls().await.expect("controls");
        assert!(set.version > version, "{port}");
        version = set.version;
    }
    let set = scene.store.controls().await.expect("controls");
    let mut controls: Vec<_> = set.controls.into_iter().map(|(n, c, _)| (n, c)).collect();
    controls.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        controls,
        [(name("app.a"), stopped), (name("app.b"), paused)]
    );
}

/// Applying the newest configuration again is not a new version; going back to an older one is.
pub async fn versions_of_the_configuration_rise(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let apply = async |hash| scene.store.apply_config(hash, "text").await.expect("apply");
    let one = apply("aa").await;
    assert_eq!(apply("aa").await, one);
    let two = apply("bb").await;
    assert!(two > one);
    assert!(apply("aa").await > two);
}

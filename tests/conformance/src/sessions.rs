//! Who is alive: sessions, instances, fences.

use std::time::Duration;

use quayside_store::{
    model::{GrantId, InstanceId, SessionId},
    sessions::{FenceOutcome, NewInstance, SessionRow},
};

use crate::{
    Backend,
    scene::{Scene, name, text},
};

fn new_instance(scene: &Scene<'_>, session: SessionId) -> NewInstance {
    NewInstance {
        instance: InstanceId::from_bytes(scene.random()),
        session,
        node: name("node-b"),
        hosts: text("edge"),
    }
}

/// A session lives while it is renewed, and ends only when its lease has run out and nobody renewed it.
pub async fn a_session_ends_by_its_lease_and_an_observer(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let session = SessionId::from_bytes(scene.random());
    scene
        .store
        .open_session(session, &name("node-b"), backend.moment() * 4)
        .await
        .expect("open");
    let row = async || {
        let live = scene.store.live_sessions().await.expect("sessions");
        live.into_iter().find(|row| row.session == session)
    };
    let expire = async |seen: &SessionRow| {
        let expired = scene.store.expire_session(session, seen.seq).await;
        expired.expect("expire")
    };
    let opened = row().await.expect("live");
    assert_eq!(
        (opened.node.as_str(), opened.ttl),
        ("node-b", backend.moment() * 4)
    );
    assert!(!expire(&opened).await, "too early");
    backend.pass(backend.moment() * 5).await;
    assert!(row().await.expect("live").overdue);
    assert!(
        scene.store.renew_session(session).await.expect("renew"),
        "late, but not too late"
    );
    let renewed = row().await.expect("live");
    assert!(renewed.seq > opened.seq && !renewed.overdue);
    assert!(!expire(&opened).await, "renewed");
    backend.pass(backend.moment() * 5).await;
    assert!(!expire(&opened).await, "old seq");
    assert!(expire(&renewed).await);
    assert!(
        !scene.store.renew_session(session).await.expect("renew"),
        "it never lives again"
    );
    assert_eq!(row().await, None);
    assert!(!expire(&renewed).await, "ended");
}

/// An instance lives under a live session only, and dies with it.
pub async fn an_instance_dies_with_its_session(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let session = SessionId::from_bytes(scene.random());
    let orphan = new_instance(&scene, session);
    assert!(
        !scene
            .store
            .register_instance(&orphan)
            .await
            .expect("register"),
        "no session"
    );
    scene
        .store
        .open_session(session, &name("node-b"), Duration::from_secs(60))
        .await
        .expect("open");
    let new = new_instance(&scene, session);
    assert!(scene.store.register_instance(&new).await.expect("register"));
    scene.stored(scene.publish("x", &["a"])).await;
    assert_eq!(scene.claim_by(new.instance, "a", 1).await.len(), 1);
    scene.store.close_session(session).await.expect("close");
    assert!(
        !scene
            .store
            .register_instance(&new_instance(&scene, session))
            .await
            .expect("register")
    );
    let row = async || {
        let rows = scene.store.instances().await.expect("instances");
        rows.into_iter().find(|row| row.instance == new.instance)
    };
    let dead = row().await.expect("it still holds a claim");
    assert!(!dead.live);
    assert_eq!(
        (dead.claims, dead.node.as_str(), dead.hosts.as_str()),
        (1, "node-b", "edge")
    );
    assert_eq!(scene.store.release_dead(9).await.expect("release"), 1);
    assert!(row().await.is_none(), "dead and without claims");
    scene
        .store
        .end_instance(new.instance)
        .await
        .expect("ending again changes nothing");
    scene.store.end_instance(scene.me).await.expect("end");
}

/// Only one has a fence; each take has a higher epoch, also after it was given back.
pub async fn epochs_never_fall(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let other = scene.instance().await;
    let group = name("queues");
    let grant = || GrantId::from_bytes(scene.random());
    let (first, second, third) = (grant(), grant(), grant());
    let take = async |instance, grant| {
        scene
            .store
            .take_fence(&group, instance, grant)
            .await
            .expect("take fence")
    };
    let taken = |outcome| match outcome {
        FenceOutcome::Taken(epoch) => epoch,
        other => panic!("not taken: {other:?}"),
    };
    let one = taken(take(scene.me, first).await);
    assert_eq!(
        taken(take(scene.me, first).await),
        one,
        "the same take again"
    );
    assert_eq!(take(other, second).await, FenceOutcome::HeldBy(scene.me));
    assert!(
        !scene
            .store
            .release_fence(&group, second)
            .await
            .expect("release"),
        "not its grant"
    );
    assert!(
        scene
            .store
            .release_fence(&group, first)
            .await
            .expect("release")
    );
    assert!(
        !scene
            .store
            .release_fence(&group, first)
            .await
            .expect("release"),
        "given back"
    );
    let listed = async || {
        let mut fences = scene.store.fences().await.expect("fences");
        fences.retain(|fence| fence.group == group);
        let fence = fences.pop().expect("it was taken");
        (fence.epoch, fence.owner.map(|(instance, _)| instance))
    };
    assert_eq!(listed().await, (one, None), "given back");
    let two = taken(take(other, second).await);
    assert!(two > one);
    assert_eq!(listed().await, (two, Some(other)));
    scene.store.end_instance(other).await.expect("end");
    assert_eq!(listed().await, (two, None), "the dead have nothing");
    assert_eq!(take(other, third).await, FenceOutcome::Fenced);
    let three = taken(take(scene.me, third).await);
    assert!(three > two, "the dead have no fence");
    assert!(
        !scene
            .store
            .release_fence(&group, second)
            .await
            .expect("release"),
        "an old grant"
    );
}

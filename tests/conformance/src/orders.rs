//! What operators order, who ordered it, and how a rehearsal that they order is measured. Only for a store that nodes
//! share.

use std::time::Duration;

use quayside_store::{
    cluster::{ControlChange, Effects},
    model::Timestamp,
};

use crate::{
    Backend,
    cluster::{LONG, cluster, grant, group, node, said, taken},
    scene::{Scene, name, sent, suspend},
};

/// Who said something to a group or a node, and why, stands among the changes of state.
pub async fn who_said_it_is_recorded(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let queues = name("queues");
    let at = Timestamp::from_micros(1_700_000_000_000_000);
    let to = Some(name("b"));
    let changes = [
        (ControlChange::Paused(true), "paused"),
        (ControlChange::Pin(to.clone()), "pinned to b"),
        (
            ControlChange::Move { to, at: Some(at) },
            "ordered to b, not before 2023-11-14T22:13:20.000000Z",
        ),
        (ControlChange::Clear, "cleared"),
        (ControlChange::Online(false), "wanted offline"),
    ];
    for (change, _) in &changes {
        let set = cluster.set_control(&queues, change, &said()).await;
        set.expect("say");
    }
    let note = said().note;
    for drained in [true, false] {
        let drain = cluster.drain_node(&name("b"), drained, &note).await;
        drain.expect("drain");
    }
    cluster.clear_node(&name("b"), &note).await.expect("clear");
    let events = async |group: Option<&str>, node: Option<&str>| {
        let (group, node) = (group.map(name), node.map(name));
        let rows = cluster.events(group.as_ref(), node.as_ref(), 99).await;
        let mut rows = rows.expect("events");
        rows.reverse();
        rows
    };
    let of_group = events(Some("queues"), None).await;
    let words: Vec<&str> = of_group.iter().map(|row| row.cause.as_str()).collect();
    assert_eq!(words, changes.each_ref().map(|(_, word)| *word));
    for row in &of_group {
        assert!(row.is_word() && row.from.is_empty(), "{row:?}");
        assert_eq!(
            (row.group.as_ref(), &row.node),
            (Some(&queues), &said().node)
        );
        assert_eq!(row.evidence, ["by a test: new disk"]);
        assert_eq!((row.epoch, row.lasted), (None, Duration::ZERO));
    }
    let of_node = events(None, Some("b")).await;
    let words: Vec<&str> = of_node.iter().map(|row| row.cause.as_str()).collect();
    assert_eq!(words, ["drained", "resumed", "cleared"]);
    assert!(
        of_node
            .iter()
            .all(|row| row.group.is_none() && row.is_word())
    );
}

/// A drill is an order whose process is killed; the move that follows it is not counted, and one after that is.
pub async fn a_drill_is_an_order_that_costs_no_move(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let (queues, said) = (name("queues"), said());
    let (a, b) = (node(&scene, "a", LONG).await, node(&scene, "b", LONG).await);
    let control = async || group(&scene, "queues").await.control;
    let counted = async |instance| {
        let grant = grant(&scene);
        let take = cluster.take_group(&queues, instance, grant, true).await;
        taken(take.expect("take"));
        cluster
            .release_group(&queues, grant, None)
            .await
            .expect("release");
        group(&scene, "queues").await.moves.len()
    };
    let drill = cluster.set_control(&queues, &ControlChange::Drill, &said);
    let no = drill.await.expect("say").expect("an order has a number");
    let seen = control().await;
    assert_eq!(seen.drill, Some(no));
    assert_eq!(seen.order.map(|order| order.no), Some(no));
    cluster
        .answer_move(&queues, no, None)
        .await
        .expect("answer");
    assert_eq!(control().await.order, None);
    assert_eq!(counted(b.instance).await, 0, "that was the drill");
    assert_eq!(counted(a.instance).await, 1);

    let drill = cluster.set_control(&queues, &ControlChange::Drill, &said);
    let no = drill.await.expect("say").expect("an order has a number");
    let refused = Some("no other node can run it");
    cluster
        .answer_move(&queues, no, refused)
        .await
        .expect("answer");
    assert_eq!(counted(b.instance).await, 2, "it was refused");
    let order = ControlChange::Move { to: None, at: None };
    let no = cluster
        .set_control(&queues, &order, &said)
        .await
        .expect("say");
    let seen = control().await;
    assert_eq!((seen.order.map(|order| order.no), seen.drill), (no, None));

    // The end of an owner that was on its way out is no fault.
    let offer = cluster.offer(&queues, &name("a"), true).await;
    offer.expect("offer");
    assert_eq!(counted(a.instance).await, 2, "that was planned");
    assert_eq!(counted(b.instance).await, 3);
}

/// What came of sends around a takeover is counted, and nothing else.
pub async fn a_takeover_is_measured(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let send = async |port: &str, count: usize| {
        for _ in 0..count {
            scene.stored(scene.publish("x", &[port])).await;
            let claim = scene.claim(port, 1).await.remove(0).claim;
            scene.done(claim, sent()).await;
        }
    };
    let ports = [name("b")];
    send("b", 2).await;
    backend.pass(backend.moment()).await;
    let since = scene.instance().await;
    let instances = scene.store.instances().await.expect("instances");
    let since = instances.iter().find(|row| row.instance == since);
    let since = since.expect("it is live").since;
    let effects = async || cluster.effects(&ports, since).await.expect("effects");
    assert_eq!(effects().await, Effects::default());
    send("b", 1).await;
    send("other", 3).await;
    let first = effects().await;
    assert_eq!(first.ended, 1);
    assert!(first.last.is_some_and(|last| last >= since), "{first:?}");
    assert!(
        first.longest.is_some_and(|gap| gap >= backend.moment()),
        "{first:?}"
    );
    // Of four in hand of an owner that dies one ends, one is kept and two wait.
    let dead = scene.instance().await;
    for _ in 0..4 {
        scene.stored(scene.publish("x", &["b"])).await;
    }
    assert_eq!(scene.claim_by(dead, "b", 9).await.len(), 4);
    scene.store.end_instance(dead).await.expect("end");
    scene.store.release_dead(9).await.expect("release");
    let claims = scene.claim("b", 2).await;
    scene.done(claims[0].claim, sent()).await;
    scene.done(claims[1].claim, suspend()).await;
    let after = effects().await;
    let wanted = Effects {
        ended: 2,
        released: 4,
        in_doubt: 4,
        kept: 1,
        open: 3,
        lost: 0,
        last: after.last,
        longest: after.longest,
    };
    assert_eq!(after, wanted);
}

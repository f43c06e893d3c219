//! A port that would send nothing well rests, and its messages wait.

use std::time::Duration;

use quayside_conformance::{
    Scene,
    scene::{name, order_key},
};
use quayside_engine::{Engine, PortView, codes};
use quayside_harness::wait_for;
use quayside_model::{DeliveryState, MessageId, PortControl};

use crate::{
    PATIENCE, PORT, way,
    world::{Behaviour, World, ordered, plan, port},
};

fn view(engine: &Engine) -> PortView {
    let ports = engine.ports_here();
    let port = ports.into_iter().find(|port| port.name.as_str() == PORT);
    port.expect("it is configured")
}

/// Waits until the adapter has been given so many sends.
async fn sends(world: &World, at_least: usize) -> Vec<String> {
    wait_for("the sends", PATIENCE, async || {
        let seen = world.probe.seen();
        match seen.len() >= at_least {
            true => Ok(seen.into_iter().map(|seen| seen.body).collect()),
            false => Err(format!("{seen:?}")),
        }
    })
    .await
}

async fn resting(engine: &Engine) -> PortView {
    wait_for("the port to rest", PATIENCE, async || {
        let view = view(engine);
        match view.resting && view.in_flight == 0 {
            true => Ok(view),
            false => Err(format!("{view:?}")),
        }
    })
    .await
}

async fn delivered(scene: &Scene<'_>, ids: &[MessageId]) {
    wait_for("all to be delivered", PATIENCE, async || {
        for id in ids {
            let way = way(scene, *id).await;
            if way.row.live != 0 {
                return Err(format!("{way:?}"));
            }
        }
        Ok(())
    })
    .await;
}

/// Of two attempts each, none is spent by a partner that takes nothing: all go when it is repaired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_wait_while_none_would_pass() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.behave(Behaviour::Stop);
    let mut port = port(PORT);
    port.primary.retry.max = Duration::from_millis(10);
    let engine = world.engine(vec![port]).await;
    let mut ids = Vec::new();
    for n in 0..9 {
        ids.push(scene.stored(scene.publish(&n.to_string(), &[PORT])).await);
    }
    // More than all of their attempts would be.
    sends(&world, 2 * ids.len() + 4).await;
    let view = resting(&engine).await;
    assert!(!view.running);
    let reason = view.reason.expect("a reason").to_string();
    assert!(reason.contains(codes::REFUSED.code), "{reason}");
    for id in &ids {
        let way = way(&scene, *id).await;
        let delivery = &way.live_deliveries[0];
        let found = (delivery.state, delivery.attempts);
        assert!(
            matches!(
                delivery.state,
                DeliveryState::Ready | DeliveryState::Claimed
            ),
            "{way:?}"
        );
        assert_eq!(found.1, 0, "{way:?}");
        let events = way.history.iter().map(|event| event.event.as_str());
        assert!(
            !events.clone().any(|event| event == "failed-over"),
            "{way:?}"
        );
    }
    let failed = way(&scene, ids[0]).await;
    let mut events = failed.history.iter().map(|event| event.event.as_str());
    assert!(events.any(|event| event == "attempt-failed"), "{failed:?}");
    world.probe.behave(Behaviour::Take);
    delivered(&scene, &ids).await;
    let view = self::view(&engine);
    assert_eq!(
        (view.running, view.resting, view.reason),
        (true, false, None)
    );
    assert!(engine.stop(PATIENCE).await.ended);
}

/// The order of a key is kept through a rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_keeps_its_order_through_a_rest() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.behave(Behaviour::Stop);
    let key = order_key("k", 0);
    let bodies: Vec<_> = (1..=9).map(|n| format!("k-{n}")).collect();
    let mut ids = Vec::new();
    for body in &bodies {
        ids.push(scene.stored(scene.ordered(body, PORT, key)).await);
    }
    let mut port = ordered(PORT);
    port.primary.retry.max = Duration::from_millis(10);
    let engine = world.engine(vec![port]).await;
    sends(&world, 4).await;
    world.probe.behave(Behaviour::Take);
    delivered(&scene, &ids).await;
    let mut seen = sends(&world, bodies.len()).await;
    assert!(seen.iter().take(4).all(|body| body == "k-1"), "{seen:?}");
    seen.dedup();
    assert_eq!(seen, bodies);
    assert!(engine.stop(PATIENCE).await.ended);
}

/// Who has repaired it does not wait for the end of the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_of_an_operator_ends_a_rest() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let mut port = port(PORT);
    port.max_in_flight = 1;
    port.primary.retry.first = Duration::from_secs(3600);
    port.primary.retry.max = Duration::from_secs(3600);
    let engine = world.engine(vec![port.clone()]).await;
    for (failing, passing, reload) in [("a", "b", false), ("c", "d", true)] {
        world.probe.behave(Behaviour::Stop);
        let first = scene.stored(scene.publish(failing, &[PORT])).await;
        let view = resting(&engine).await;
        let reason = view.reason.expect("a reason").to_string();
        assert!(reason.starts_with("rests until "), "{reason}");
        world.probe.behave(Behaviour::Take);
        let second = scene.stored(scene.publish(passing, &[PORT])).await;
        if reload {
            let applied = engine.apply(plan(vec![port.clone()])).await;
            applied.expect("the plan can run");
        } else {
            let started = engine.control(&name(PORT), PortControl::default()).await;
            assert!(started.expect("it is recorded"));
        }
        delivered(&scene, &[second]).await;
        let first = way(&scene, first).await;
        assert_eq!(
            first.live_deliveries[0].state,
            DeliveryState::Ready,
            "its time comes"
        );
        assert!(self::view(&engine).running);
    }
    assert!(engine.stop(PATIENCE).await.ended);
}

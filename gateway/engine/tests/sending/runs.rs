//! Deliveries of one key that are under way together come out in their order, whatever happens to them.

use std::{collections::BTreeSet, time::Duration};

use quayside_conformance::{
    Scene,
    scene::{order_key, text},
};
use quayside_engine::plan::{InDoubt, SendPort};
use quayside_harness::wait_for;
use quayside_model::{DeliveryState, MessageId, OnOrderFailure};
use quayside_store::Op;

use crate::{
    PATIENCE, PORT, way,
    world::{Behaviour, Seen, World, ordered},
};

/// How many of a key are under way together.
const RUN: usize = 8;

fn runs(on_failure: OnOrderFailure) -> SendPort {
    let mut port = ordered(PORT);
    port.max_in_flight = RUN;
    port.primary.retry.attempts = 1000;
    port.primary.retry.max = Duration::from_millis(10);
    port.ordered.as_mut().expect("it is ordered").on_failure = on_failure;
    port
}

/// So many of one key, stored before anything is sent.
async fn stored(scene: &Scene<'_>, count: usize) -> (Vec<MessageId>, Vec<String>) {
    let bodies: Vec<_> = (0..count).map(|n| format!("k-{n:03}")).collect();
    let publish = |body: &String| scene.ordered(body, PORT, order_key("k", 0));
    let publishes: Vec<_> = bodies.iter().map(publish).collect();
    let ids = publishes.iter().map(|p| p.message.id).collect();
    let publish = |p| Op::Publish(Box::new(p));
    let ops: Vec<_> = publishes.into_iter().map(publish).collect();
    scene.commit(&ops).await.expect("commit");
    (ids, bodies)
}

/// Each once, in the order of its first arrival.
fn firsts(seen: &[Seen]) -> Vec<String> {
    let mut known = BTreeSet::new();
    let bodies = seen.iter().map(|seen| seen.body.clone());
    bodies.filter(|body| known.insert(body.clone())).collect()
}

/// Waits until the adapter was given all of `bodies` and the store holds `left` deliveries.
async fn over(world: &World, scene: &Scene<'_>, ids: &[MessageId], left: usize) -> Vec<Seen> {
    wait_for("all to have ended", PATIENCE, async || {
        let mut live = 0;
        for id in ids {
            live += way(scene, *id).await.live_deliveries.len();
        }
        match live == left {
            true => Ok(world.probe.seen()),
            false => Err(format!("{live} live, runs {:?}", world.probe.runs())),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_out_in_runs_in_its_order() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.take_runs(RUN);
    let (ids, bodies) = stored(&scene, 100).await;
    let engine = world.engine(vec![runs(OnOrderFailure::HoldKey)]).await;
    let seen = over(&world, &scene, &ids, 0).await;
    assert_eq!(seen.len(), bodies.len(), "each once");
    assert_eq!(firsts(&seen), bodies);
    let runs = world.probe.runs();
    assert_eq!(runs.iter().max(), Some(&RUN), "{runs:?}");
    let report = engine.stop(PATIENCE).await;
    assert_eq!(report.unfinished, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_behind_a_lost_one_comes_again_behind_it() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.take_runs(RUN);
    world.probe.behave(Behaviour::TakeSome(3));
    let (ids, bodies) = stored(&scene, 60).await;
    let engine = world.engine(vec![runs(OnOrderFailure::HoldKey)]).await;
    wait_for("some runs", PATIENCE, async || {
        let runs = world.probe.runs();
        match runs.len() >= 4 {
            true => Ok(()),
            false => Err(format!("{runs:?}")),
        }
    })
    .await;
    world.probe.behave(Behaviour::Take);
    let seen = over(&world, &scene, &ids, 0).await;
    assert_eq!(firsts(&seen), bodies);
    assert!(seen.len() > bodies.len(), "some came again");
    // A repeat says that it may be one; so does history, of each.
    let mut known = BTreeSet::new();
    for seen in &seen {
        let repeat = !known.insert(&seen.body);
        assert!(!repeat || seen.in_doubt, "{seen:?}");
    }
    assert!(engine.stop(PATIENCE).await.ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_one_holds_those_behind_it() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.take_runs(RUN);
    world.probe.behave(Behaviour::RefuseOne("k-012"));
    let (ids, bodies) = stored(&scene, 30).await;
    let engine = world.engine(vec![runs(OnOrderFailure::HoldKey)]).await;
    let seen = over(&world, &scene, &ids, 30 - 12).await;
    assert_eq!(firsts(&seen), bodies[..=12]);
    let held = wait_for("its suspension", PATIENCE, async || {
        let held = way(&scene, ids[12]).await;
        match held.live_deliveries[0].state {
            DeliveryState::Suspended => Ok(held),
            _ => Err(format!("{held:?}")),
        }
    })
    .await;
    world.probe.behave(Behaviour::Take);
    let refused = held.live_deliveries[0].id;
    let note = text("by a test");
    let resumed = scene.store.resume(&[refused], &note).await;
    resumed.expect("resume");
    let seen = over(&world, &scene, &ids, 0).await;
    assert_eq!(firsts(&seen), bodies);
    assert_eq!(seen.len(), bodies.len() + 1, "only the refused one twice");
    assert!(engine.stop(PATIENCE).await.ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_one_lets_those_behind_it_go_on() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.take_runs(RUN);
    world.probe.behave(Behaviour::RefuseOne("k-012"));
    let (ids, bodies) = stored(&scene, 30).await;
    let engine = world.engine(vec![runs(OnOrderFailure::Skip)]).await;
    let seen = over(&world, &scene, &ids, 1).await;
    assert_eq!(firsts(&seen), bodies);
    assert_eq!(seen.len(), bodies.len(), "each once");
    assert!(engine.stop(PATIENCE).await.ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_stops_behind_a_refused_one_sends_nothing_more() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.take_runs(RUN);
    world.probe.behave(Behaviour::RefuseOne("k-012"));
    let (ids, bodies) = stored(&scene, 30).await;
    let engine = world.engine(vec![runs(OnOrderFailure::StopPort)]).await;
    wait_for("the stop", PATIENCE, async || {
        let ports = engine.ports_here();
        let port = ports.iter().find(|port| port.name.as_str() == PORT);
        match port {
            Some(port) if !port.running && port.in_flight == 0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let seen = over(&world, &scene, &ids, 30 - 12).await;
    assert_eq!(firsts(&seen), bodies[..=12]);
    assert!(engine.stop(PATIENCE).await.ended);
}

/// What is in doubt is held, each of it, where the port says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_in_doubt_is_held_as_a_whole() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.take_runs(RUN);
    let (ids, bodies) = stored(&scene, 12).await;
    world.probe.behave(Behaviour::TakeSome(3));
    let mut port = runs(OnOrderFailure::HoldKey);
    port.in_doubt = InDoubt::Hold;
    let engine = world.engine(vec![port]).await;
    // One alone, then a run of eight of which three are taken: five are in doubt.
    let held = wait_for("five to be held", PATIENCE, async || {
        let mut held = Vec::new();
        for (id, body) in ids.iter().zip(&bodies) {
            let live = way(&scene, *id).await.live_deliveries;
            if live.iter().any(|d| d.state == DeliveryState::Suspended) {
                held.push(body.clone());
            }
        }
        match held.len() >= 5 {
            true => Ok(held),
            false => Err(format!("{held:?}")),
        }
    })
    .await;
    assert_eq!(held, bodies[4..9]);
    assert_eq!(world.probe.seen().len(), 9, "and nothing else was sent");
    assert!(engine.stop(PATIENCE).await.ended);
}

/// A process that dies leaves its run in doubt, and whoever takes over sends it again in its order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_the_dead_is_sent_again_in_its_order() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.take_runs(RUN);
    let (ids, bodies) = stored(&scene, 30).await;
    world.probe.behave(Behaviour::RefuseOne("none"));
    let engine = world.engine(vec![runs(OnOrderFailure::HoldKey)]).await;
    wait_for("a run", PATIENCE, async || {
        let runs = world.probe.runs();
        match runs.is_empty() {
            true => Err(format!("{:?}", world.probe.seen())),
            false => {
                world.probe.behave(Behaviour::Hang);
                Ok(())
            }
        }
    })
    .await;
    engine.stop(Duration::ZERO).await;
    let released = scene.store.release_dead(99).await.expect("release");
    world.probe.behave(Behaviour::Take);
    let engine = world.engine(vec![runs(OnOrderFailure::HoldKey)]).await;
    let seen = over(&world, &scene, &ids, 0).await;
    assert_eq!(firsts(&seen), bodies);
    let again = seen.iter().filter(|seen| seen.in_doubt).count();
    assert!(again <= released as usize, "{again} of {released}");
    assert!(engine.stop(PATIENCE).await.ended);
}

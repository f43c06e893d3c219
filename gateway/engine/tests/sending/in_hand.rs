//! What a port has in hand, as people see it.

use std::time::Duration;

use quayside_conformance::{Backend as _, Scene};
use quayside_harness::wait_for;

use crate::{
    PATIENCE, PORT,
    world::{Behaviour, World, port},
};

/// How many looks of the claimer are watched.
const LOOKS: u64 = 8;

fn looks(world: &World) -> u64 {
    let stats = world.store().transactions().stats();
    let claims = stats.iter().find(|stat| stat.name == "claim deliveries");
    claims.map_or(0, |stat| stat.done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_for_work_is_nothing_in_hand() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.behave(Behaviour::Hang);
    let engine = world.engine(vec![port(PORT)]).await;
    let in_hand = || engine.ports_here()[0].in_flight;
    for in_all in 0..=3 {
        if in_all > 0 {
            scene.stored(scene.publish("x", &[PORT])).await;
        }
        wait_for("all to be in hand", PATIENCE, async || match in_hand() {
            now if now == in_all => Ok(()),
            now => Err(now.to_string()),
        })
        .await;
        // While the claimer looks it holds every place that is free.
        let first = looks(&world);
        while looks(&world) < first + LOOKS {
            assert_eq!(in_hand(), in_all);
        }
    }
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stopping_engine_has_in_hand_is_seen() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.behave(Behaviour::Hang);
    let engine = world.engine(vec![port(PORT)]).await;
    for _ in 0..3 {
        scene.stored(scene.publish("x", &[PORT])).await;
    }
    let sight = engine.sight();
    let look = || {
        let ports = sight.ports().expect("it is there");
        (ports[0].running, ports[0].in_flight)
    };
    let sees = async |wanted: (bool, usize)| {
        wait_for("them to be seen", PATIENCE, async || match look() {
            seen if seen == wanted => Ok(()),
            seen => Err(format!("{seen:?}")),
        })
        .await;
    };
    sees((true, 3)).await;
    tokio::select! {
        report = engine.stop(PATIENCE) => panic!("they hang: {report:?}"),
        () = sees((false, 3)) => {}
    }
    wait_for("the end of the engine", PATIENCE, async || {
        match sight.ports() {
            None => Ok(()),
            Some(ports) => Err(format!("{ports:?}")),
        }
    })
    .await;
}

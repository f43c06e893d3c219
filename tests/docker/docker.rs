//! Topologies in containers, under load from outside and faults of every kind, judged by ids in the bodies.
//!
//! `QUAYSIDE_DOCKER_TOPOLOGIES` names those that run, the small one by default: `tests/run --docker-all` names all.

use std::env;

use quayside_harness::Stopwatch;
use quayside_tests::{
    docker::{Engine, Fault, Relay, TOPOLOGIES, Topology},
    note,
};

/// How often each fault comes.
const TIMES: usize = 2;

/// How many messages a run has at least.
const MESSAGES: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_topology_loses_repeats_and_reorders_nothing() {
    let asked = env::var("QUAYSIDE_DOCKER_TOPOLOGIES").unwrap_or_else(|_| "small".to_owned());
    for name in asked.split_whitespace() {
        let found = TOPOLOGIES.into_iter().find(|(known, _)| *known == name);
        let (name, nodes) = found.unwrap_or_else(|| panic!("there is no topology `{name}`"));
        let watch = Stopwatch::start();
        let topology = Topology::start(Engine::start().await, name).await;
        note(&format!(
            "{name}: started after {} s",
            watch.elapsed().as_secs()
        ));
        let mut relay = Relay::start(topology, nodes).await;
        note(&format!(
            "{name}: works after {} s",
            watch.elapsed().as_secs()
        ));
        for time in 0..TIMES {
            for fault in Fault::ALL {
                relay.suffer(fault, time).await;
            }
        }
        relay.accept(MESSAGES).await;
        let outcome = relay.finish().await;
        note(&format!("{name}: took {} s", watch.elapsed().as_secs()));
        assert!(outcome.holds(), "{name}: {outcome:?}");
        assert!(
            outcome.accepted >= MESSAGES,
            "{name}: {} accepted",
            outcome.accepted
        );
    }
}

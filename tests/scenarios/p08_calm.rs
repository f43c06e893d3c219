//! P8: nobody is taken for dead who is not. Three nodes with agents under load keep the owner of their clustered host
//! while the store stalls, the machine is busy and packets are lost; and a machine that was paused and does not know it
//! does at most what it had begun, every bit of it listed.
//!
//! `QUAYSIDE_STRESS_SECONDS` says how long each trouble lasts (8), `QUAYSIDE_STRESS_TROUBLES` which ones alone, as a JSON
//! array.

use std::{env, time::Duration};

use quayside_harness::Network;
use quayside_tests::{
    nemesis::{Arena, calm::Trouble},
    note,
};

/// How long each trouble lasts.
const SECONDS: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn no_trouble_that_passes_moves_a_host() {
    let Some(network) = Network::of_test("no_trouble_that_passes_moves_a_host") else {
        return;
    };
    let asked = env::var("QUAYSIDE_STRESS_SECONDS").ok();
    let asked = asked.map(|text| text.parse().expect("a number of seconds"));
    let time = Duration::from_secs(asked.unwrap_or(SECONDS));
    let troubles = env::var("QUAYSIDE_STRESS_TROUBLES").ok();
    let troubles = troubles.map(|list| serde_json::from_str(&list).expect("a JSON array"));
    let troubles: Vec<Trouble> = troubles.unwrap_or_else(|| Trouble::ALL.to_vec());
    let mut arena = Arena::start(network, &|node| node).await;
    let mut moved = Vec::new();
    for trouble in troubles {
        let lived = arena.live_through(trouble, time).await;
        note(&lived.to_string());
        if lived.taken != 0 || !lived.expired.is_empty() {
            moved.push(format!("{lived}\n{}", arena.events().await));
        }
    }
    let ruling = arena.finish().await.rule();
    note(&ruling.to_string());
    assert!(moved.is_empty(), "{}", moved.join("\n"));
    assert!(ruling.holds(), "{ruling}");
}

/// How often a node is paused.
const PAUSES: usize = 4;

/// What a process may have under way: the sends of four ports, 64 at a time each.
const WINDOW: usize = 4 * 64;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_does_not_know_of_its_pause_does_what_it_had_begun_and_no_more() {
    let name = "a_machine_that_does_not_know_of_its_pause_does_what_it_had_begun_and_no_more";
    let Some(network) = Network::of_test(name) else {
        return;
    };
    let unknowing = |node: quayside_harness::Node| node.with_env("QUAYSIDE_FAIL_POINTS", "no-gate");
    let mut arena = Arena::start(network, &unknowing).await;
    for _ in 0..PAUSES {
        arena.pause_unknowing().await;
    }
    let mut ruling = arena.finish().await.rule();
    note(&ruling.to_string());
    let late = std::mem::take(&mut ruling.late);
    assert!(
        late.len() <= PAUSES * WINDOW,
        "{} are late: {late:?}",
        late.len()
    );
    assert!(ruling.holds(), "{ruling}");
}

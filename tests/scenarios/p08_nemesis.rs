//! P8 under a nemesis: three nodes with agents under load, faults of every kind one after the other in an order that a
//! seed decides, and a judge of everything that was seen from outside.
//!
//! `QUAYSIDE_NEMESIS_FAULTS` says how many faults (30), `QUAYSIDE_NEMESIS_SEED` which order,
//! `QUAYSIDE_NEMESIS_KINDS` which kinds alone, as a JSON array, and `QUAYSIDE_NEMESIS_REPORT` a file for the result.

use std::{env, fs, str::FromStr};

use quayside_harness::Network;
use quayside_tests::{
    nemesis::{Arena, Fault, Schedule},
    note,
};

/// How many faults a run has: every kind twice, and two more.
const FAULTS: usize = 30;

/// In which order, unless another one is asked for: `tests/run --nemesis` takes a new one each time.
const SEED: u64 = 1;

fn asked<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    let value = text.parse().ok();
    Some(value.unwrap_or_else(|| panic!("{name} is `{text}`, not a number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invariant_holds_under_faults_of_every_kind() {
    let name = "every_invariant_holds_under_faults_of_every_kind";
    let Some(network) = Network::of_test(name) else {
        return;
    };
    let seed = asked("QUAYSIDE_NEMESIS_SEED").unwrap_or(SEED);
    let count = asked("QUAYSIDE_NEMESIS_FAULTS").unwrap_or(FAULTS);
    let kinds = env::var("QUAYSIDE_NEMESIS_KINDS").ok();
    let kinds = kinds.map(|list| serde_json::from_str(&list).expect("a JSON array of kinds"));
    let kinds: Vec<Fault> = kinds.unwrap_or_else(|| Fault::ALL.to_vec());
    note(&format!("QUAYSIDE_NEMESIS_SEED={seed}, {count} faults"));
    let mut arena = Arena::start(network, &|node| node).await;
    for step in &Schedule::new(seed, count, &kinds).steps {
        arena.suffer(step).await;
    }
    let history = arena.finish().await;
    let ruling = history.rule();
    note(&ruling.to_string());
    let line = history.line(seed, &ruling).to_string();
    note(&line);
    if let Ok(file) = env::var("QUAYSIDE_NEMESIS_REPORT") {
        fs::write(file, format!("{line}\n")).expect("writing the report");
    }
    assert!(ruling.holds(), "QUAYSIDE_NEMESIS_SEED={seed}: {ruling}");
}

//! Switches for tests, on purpose out of reach of operators.
//!
//! Some break one promise, so that a test can show that it would notice. Others hold work at a place between
//! two effects, so that a test can kill the process right there: `NAME@N` holds whatever comes by from the
//! Nth time on, counted from 1 over the whole process.
//!
//! They exist in builds with debug assertions only; in a release build all of them are off at compile time.
//! The names are read once from `QUAYSIDE_FAIL_POINTS`, separated by commas.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// The names a process knows.
pub const NAMES: [&str; 8] = [
    // Trust does not end by the clock, as for a machine that does not know that it was paused.
    "no-gate",
    "no-idempotency-key",
    "no-dedupe",
    "no-claim-release",
    "no-sync",
    // The database lets a client that is paused within a transaction hold its locks for ever.
    "no-idle-limit",
    // An orchestration instance is given back after each step, for any process to go on with.
    "steps-apart",
    "steps-elsewhere",
];

/// The places at which work can be held.
pub const PLACES: [&str; 5] = [
    // A transaction is open at the database and holds its locks.
    "hold-in-transaction",
    // A message is published, and the broker has not confirmed it yet.
    "hold-before-confirm",
    // The partner has the message, and the store does not know it yet.
    "hold-before-completion",
    // The store has the messages, and the broker does not know it yet.
    "hold-before-ack",
    // Some of the records of a batch are stored, and the next ones are about to be.
    "hold-in-batch",
];

/// How often each place was come by.
static PASSED: [AtomicU64; PLACES.len()] = [const { AtomicU64::new(0) }; PLACES.len()];

/// Whether the fail point `name` is on.
#[must_use]
pub fn enabled(name: &str) -> bool {
    debug_assert!(NAMES.contains(&name), "unknown fail point {name}");
    cfg!(debug_assertions) && active().iter().any(|on| on == name)
}

/// Never returns if work is to be held at `place` from now on, after `tell` has said so.
pub async fn pass(place: &str, tell: impl FnOnce()) {
    if cfg!(debug_assertions) && is_held(place, active()) {
        tell();
        std::future::pending::<()>().await;
    }
}

fn is_held(place: &str, active: &[String]) -> bool {
    let index = PLACES.iter().position(|known| *known == place);
    debug_assert!(index.is_some(), "unknown place {place}");
    let from = active.iter().find_map(|on| {
        let (name, from) = on.split_once('@')?;
        let from = from.parse::<u64>().ok();
        from.filter(|_| name == place)
    });
    let (Some(index), Some(from)) = (index, from) else {
        return false;
    };
    PASSED[index].fetch_add(1, Ordering::SeqCst) + 1 >= from
}

fn active() -> &'static [String] {
    static ACTIVE: OnceLock<Vec<String>> = OnceLock::new();
    ACTIVE.get_or_init(|| {
        let names = std::env::var("QUAYSIDE_FAIL_POINTS").unwrap_or_default();
        names
            .split(',')
            .filter(|n| !n.is_empty())
            .map(str::to_owned)
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_lets_pass_until_its_turn() {
        let active = ["no-sync".to_owned(), "hold-before-ack@3".to_owned()];
        let held = |place| is_held(place, &active);
        assert_eq!(
            [(); 4].map(|()| held("hold-before-ack")),
            [false, false, true, true]
        );
        assert!(!held("hold-before-confirm"));
    }
}

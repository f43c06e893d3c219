//! Whole clusters of two to seven nodes under thousands of seeded schedules.
//!
//! Every node runs the real [`quayside_lease::Agent`]; processes, network, clocks and store are modelled. Nodes
//! crash and pause, agents and processes do so alone, messages are slow, lost in one direction or come through
//! after their sender gave up, clocks run at different rates and step, clients pause inside a transaction, the
//! store restarts and fails over, operators move, drain, pin and pause.
//!
//! Named invariants, looked at after every step:
//! - **never two owners**: whoever may act holds the epoch that the store gave last;
//! - **epochs never repeat or fall**;
//! - **no effect after a later epoch's first**;
//! - **no stale write**: what commits is of the epoch that the store gave last;
//! - **every repeat is listed in doubt**, and **nothing is marked that was not sent**;
//! - **no move without a cause** (schedules without faults that call for one);
//! - **back online once all is healed**, and **work goes on**.
//!
//! A failure prints its seed and what happened. The same schedules run with one part taken away, and must then
//! break the invariant that rests on it: otherwise they would prove nothing.

mod faults;
mod network;
mod process;
mod store;
mod work;
mod world;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use world::{Outcome, World};

/// What the store is, and what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All faults; a failover of the store forgets nothing.
    Faults,
    /// All faults; a failover of the store forgets the last second.
    Lossy,
    /// Only what must not move anything.
    Quiet,
}

impl Kind {
    pub(crate) fn heals_at(self) -> i64 {
        11_000_000
    }

    /// A clock of the store that was set back by ten seconds keeps a lease for so much longer.
    pub(crate) fn ends_at(self) -> i64 {
        self.heals_at() + 16_000_000
    }
}

/// A part that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Processes do not look at their deadline.
    NoGate,
    /// Sessions are ended when the store's clock says so, without silence observed.
    NoSilence,
    /// Work is not checked against the fence.
    FenceIgnored,
    /// The fence is looked at without a lock.
    FenceWithoutLock,
    /// Epochs do not carry the timeline.
    NoTimeline,
    /// Groups are granted at once after a failover that forgets.
    NoSettling,
    /// A drain is reported before it is finished.
    DrainedTooEarly,
    /// Processes are declared dead before they are.
    DeadBeforeKilled,
    /// A new agent closes the session of a former one whose processes live.
    ProcessesOutliveAgent,
}

fn run_all(seeds: u64, kind: Kind) -> Outcome {
    let next = AtomicU64::new(0);
    let worker = || {
        let mut sum = Outcome::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return sum;
            }
            let outcome = World::new(seed, kind, None, false).run();
            if let Some(violation) = outcome.violation {
                let again = World::new(seed, kind, None, true).run();
                let (last, log) = (again.log.len().saturating_sub(80), again.log);
                panic!(
                    "{kind:?}, seed {seed}: {violation:?}
{}",
                    log[last..].join(
                        "
"
                    )
                );
            }
            sum.takes += outcome.takes;
            sum.effects += outcome.effects;
            sum.in_doubt += outcome.in_doubt;
            sum.expired += outcome.expired;
            sum.faults += outcome.faults;
            sum.steps += outcome.steps;
        }
    };
    let mut sum = Outcome::default();
    thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        for worker in workers {
            let part = worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            sum.takes += part.takes;
            sum.effects += part.effects;
            sum.in_doubt += part.in_doubt;
            sum.expired += part.expired;
            sum.faults += part.faults;
            sum.steps += part.steps;
        }
    });
    sum
}

/// How many schedules are run; another number for a long run.
fn seeds() -> u64 {
    let asked = std::env::var("QUAYSIDE_SEEDS").ok();
    asked.and_then(|seeds| seeds.parse().ok()).unwrap_or(3000)
}

#[test]
fn invariants_hold_under_faults() {
    let seeds = seeds();
    let sum = run_all(seeds, Kind::Faults);
    println!("{seeds} schedules with faults: {sum:?}");
    // The schedules are worth something only if groups move and messages are repeated in them.
    assert!(sum.takes > seeds * 2, "{sum:?}");
    assert!(sum.expired > seeds / 4, "{sum:?}");
    assert!(sum.effects > seeds * 50, "{sum:?}");
    assert!(sum.in_doubt > seeds / 10, "{sum:?}");
}

#[test]
fn invariants_hold_when_the_store_forgets() {
    let seeds = seeds() / 2;
    let sum = run_all(seeds, Kind::Lossy);
    println!("{seeds} schedules with a store that forgets: {sum:?}");
    assert!(sum.takes > seeds * 2, "{sum:?}");
}

#[test]
fn what_is_no_fault_moves_nothing() {
    let seeds = seeds() / 4;
    let sum = run_all(seeds, Kind::Quiet);
    println!("{seeds} quiet schedules: {sum:?}");
    assert!(
        sum.faults > seeds * 2 && sum.effects > seeds * 50,
        "{sum:?}"
    );
}

#[test]
fn each_part_is_needed() {
    let cases = [
        (
            Mutation::NoGate,
            Kind::Faults,
            "no effect after a later epoch's first",
        ),
        (Mutation::NoSilence, Kind::Faults, "never two owners"),
        (Mutation::FenceIgnored, Kind::Faults, "no stale write"),
        (Mutation::FenceWithoutLock, Kind::Faults, "no stale write"),
        (
            Mutation::NoTimeline,
            Kind::Lossy,
            "epochs never repeat or fall",
        ),
        (Mutation::NoSettling, Kind::Lossy, "never two owners"),
        (Mutation::DrainedTooEarly, Kind::Faults, "never two owners"),
        (Mutation::DeadBeforeKilled, Kind::Faults, "never two owners"),
        (
            Mutation::ProcessesOutliveAgent,
            Kind::Faults,
            "never two owners",
        ),
    ];
    for (mutation, kind, name) in cases {
        let broken = (0..2000).find_map(|seed| {
            let violation = World::new(seed, kind, Some(mutation), false)
                .run()
                .violation?;
            (violation.name == name).then_some(seed)
        });
        println!("{mutation:?}: seed {broken:?}");
        assert!(
            broken.is_some(),
            "no schedule without {mutation:?} breaks: {name}"
        );
    }
}

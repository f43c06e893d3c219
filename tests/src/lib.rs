//! Scenario tests: one file per promise under `scenarios/`, and what they share.
//!
//! Scenarios see the gateway from outside only: its command line, its listeners, its folders, what the
//! partner got, and its store's tables where a promise speaks of the store.

pub mod broker;
pub mod cluster;
pub mod docker;
pub mod judge;
pub mod nemesis;
pub mod queues;
pub mod site;

pub use judge::{Verdict, all_accepted, judge};
pub use queues::{Moved, judge_move, judge_one};
pub use site::{DATABASE, Site, Store, post, post_with, two_ports};

/// Writes a measured fact below the test's name, for whoever reads the output of a run.
#[expect(clippy::print_stdout, reason = "the output of a test")]
pub fn note(fact: &str) {
    println!("{fact}");
}

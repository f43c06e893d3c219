//! Topologies in containers: what `fixtures/topologies` shows, under load and faults, judged from outside.
//!
//! [`engine`] finds or starts Docker, [`topology`] is a topology that is up, [`relay`] the load on it and what has come
//! out, [`faults`] what is done to its containers, [`library`] its farm, [`history`] the judge.

pub mod engine;
pub mod faults;
pub mod history;
pub mod library;
pub mod relay;
pub mod topology;

pub use engine::{Engine, repository};
pub use faults::{Fault, Places};
pub use history::{Arrived, Parcel, Ruling};
pub use relay::Relay;
pub use topology::Topology;

/// The topologies and their nodes.
pub const TOPOLOGIES: [(&str, &[&str]); 4] = [
    ("small", NODES.split_at(2).0),
    ("medium", NODES.split_at(4).0),
    ("medium-processing", NODES.split_at(4).0),
    ("large", &NODES),
];

const NODES: [&str; 6] = ["node-a", "node-b", "node-c", "node-d", "node-e", "node-f"];

//! The engine: what happens to a message between two adapters.
//!
//! It receives, routes, commits, claims, sends, retries, sweeps and supervises, over the contract of
//! `quayside-store` and the traits of `quayside-adapter-api`; it can name no store and no adapter.
//!
//! # The way of a message
//! [`receive`] takes a delivery from an adapter, reads its body once (promoting, hashing, chunking) and
//! routes it through the compiled table; [`publish`] commits message, key and deliveries in one
//! transaction through the [`committer`], and only then is the sender answered. Deliveries for ports of
//! the same process that have room are born claimed and go on in memory; the [`claimer`] fetches the
//! rest. [`send`] makes an attempt and settles its outcome durably. A message for an orchestration goes to
//! [`process`] instead, which takes it into an instance.
//!
//! # What holds
//! - Nothing is answered before its commit, and nothing is sent by a process whose lease on being alive
//!   may have run out ([`trust`]).
//! - Decisions are pure functions (`send::decide`, `routing`, `filter`); tasks only carry them out.
//! - Every task is owned by the [`Engine`] or by a task that it owns, and is awaited at the stop.
//! - Everything waits in something bounded: windows, permits, queues.
//!
//! Deliberately absent: SQL, protocols, configuration text, and files but those that [`outside`] gives its processes.

mod claimer;
pub mod codes;
mod committer;
mod counters;
mod effects;
mod engine;
mod exchange;
pub mod explain;
pub mod filter;
mod held;
mod mapping;
mod options;
mod outage;
pub mod outside;
mod ownership;
mod partners;
pub mod plan;
mod process;
mod publish;
mod receive;
pub mod rehearsal;
pub mod routing;
mod runtime;
mod send;
mod session;
mod shared;
mod sweep;
mod tally;
pub mod template;
mod trust;
mod view;
pub mod window;
mod writable;

pub use counters::Counters;
pub use engine::{Engine, RESUBMITTED_FROM, RunView, Sight};
pub use options::{Agency, EngineError, Gate, Options, Pulse, Roles};
pub use process::{
    Order,
    work::{ATTEMPT as WORK_ATTEMPT, LEASE as WORK_LEASE, TICKET as WORK_TICKET},
};
pub use tally::Tallied;
pub use view::{Health, PortView, StopReport};

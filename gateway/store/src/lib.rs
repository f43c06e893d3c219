//! The contract of the message store.
//!
//! A store holds messages, their deliveries, who works on them and what became of them. Two crates keep
//! this contract, `store-sqlite` and `store-postgres`; `tests/conformance` is the suite that both pass.
//!
//! # What a caller may rely on
//! - **Each method is one transaction** and says when it is durable: when it has returned `Ok`, the
//!   change survives the loss of the process and of the machine.
//! - **Batches in, one outcome per item out.** Expected competition (a duplicate, a lost claim, a dead
//!   owner) is an outcome; [`StoreError`] is for the unexpected, and then nothing of the batch is known
//!   to have happened. [`StoreErrorKind::Unknown`] says that it may have: run the same batch again, with
//!   the same ids, and the outcomes of that run hold.
//! - **Not found is `None`** or an outcome, never an error.
//! - **The store's clock decides** what is due, expired or remembered; callers pass durations. (On
//!   PostgreSQL that is the database's clock, so that nodes need not agree on theirs.)
//! - **Ownership is proved in the same transaction**: a change by an instance that is not live any more
//!   is refused as `Fenced`, whatever the instance believes.
//!
//! # What it does not do
//! It does not route, retry, schedule or call anyone: the engine does. Wake-ups are hints outside of it.
//!
//! Reading order: [`commit`], [`claims`], [`sessions`], [`runs`] and [`work`] for orchestrations, then the rest as needed; [`cluster`] for several nodes.

use std::sync::Arc;

pub mod bodies;
pub mod browse;
pub mod claims;
pub mod cluster;
pub mod codes;
pub mod commit;
pub mod controls;
pub mod error;
pub mod maintain;
pub mod measure;
pub mod operate;
pub mod runs;
pub mod sessions;
pub mod sources;
pub mod work;

pub use quayside_lease as lease;
pub use quayside_model as model;

pub use bodies::Bodies;
pub use browse::Browse;
pub use claims::{Claimed, Claims, Deaths, Want};
pub use cluster::{Cluster, fence_of};
pub use commit::{
    Change, Commit, GroupOutcome, Next, Op, Outcome, Publish, PublishOutcome, SettleOutcome,
};
pub use controls::Controls;
pub use error::{StoreError, StoreErrorKind};
pub use maintain::Maintain;
pub use operate::Operate;
pub use runs::Runs;
pub use sessions::Sessions;
pub use sources::Sources;
pub use work::Works;

/// All of a store. Parts of the engine take the narrow trait that they need.
pub trait Store:
    Commit
    + Claims
    + Runs
    + Works
    + Sessions
    + Bodies
    + Sources
    + Controls
    + Operate
    + Browse
    + Maintain
{
    /// The name of the dialect, `sqlite` or `postgres`: for status pages, never for decisions.
    fn dialect(&self) -> &'static str;

    /// How many batches may be committed side by side with profit. One, where there is one writer.
    fn parallel_commits(&self) -> usize {
        1
    }

    /// How long each named transaction took and how it ended.
    fn transactions(&self) -> &measure::Transactions;

    /// What several nodes share; `None`: this store is for one process.
    fn cluster(&self) -> Option<&dyn Cluster> {
        None
    }

    /// This process works as `instance`, which an agent has registered: an agent can end its open
    /// transactions from then on. The first one stays. Without an agent
    /// [`Sessions::register_instance`] does this.
    fn work_as(&self, _instance: model::InstanceId) {}
}

/// A store behind a pointer, as the engine and the server hold it.
pub type AnyStore = Arc<dyn Store>;

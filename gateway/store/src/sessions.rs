//! Who is alive: node sessions, process instances, fences of what only one may do.

use std::time::Duration;

use async_trait::async_trait;
use quayside_model::{GrantId, InstanceId, Name, SessionId, Text, Timestamp};
use serde::Serialize;

use crate::StoreError;

/// Sessions, instances and fences.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Opens `session` for `node`, live until `ttl` from now unless renewed.
    async fn open_session(
        &self,
        session: SessionId,
        node: &Name,
        ttl: Duration,
    ) -> Result<(), StoreError>;

    /// Renews `session` by its own ttl from now. `false`: it is not live any more and never will be.
    /// A few renewals may be under way at once, and be answered in any order.
    async fn renew_session(&self, session: SessionId) -> Result<bool, StoreError>;

    /// Opens what is missing of the connections that renewals go over: a renewal gives up before a connection is made
    /// over a network that loses much, and the next one would begin anew. A store without connections does nothing.
    ///
    /// # Errors
    /// The store cannot be reached.
    async fn ready_to_renew(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Every live session, for an observer that looks for silent ones.
    async fn live_sessions(&self) -> Result<Vec<SessionRow>, StoreError>;

    /// Ends `session` for good if it is live, its lease has run out by the store's clock and its
    /// sequence still is `seq`. `false`: it was renewed or ended meanwhile.
    async fn expire_session(&self, session: SessionId, seq: i64) -> Result<bool, StoreError>;

    /// Ends `session` at its own wish.
    async fn close_session(&self, session: SessionId) -> Result<(), StoreError>;

    /// Registers `instance` as live, under a live session. `false`: the session is not live.
    async fn register_instance(&self, instance: &NewInstance) -> Result<bool, StoreError>;

    /// Ends `instance`: its claims are free for [`release_dead`](crate::Claims::release_dead) and
    /// every later change by it is fenced. Idempotent.
    async fn end_instance(&self, instance: InstanceId) -> Result<(), StoreError>;

    /// The instances that are live, or ended but still named by a claim.
    async fn instances(&self) -> Result<Vec<InstanceRow>, StoreError>;

    /// Takes the fence `group` for `instance` if it is free or its owner is not live. Each take raises
    /// the epoch, which never falls or repeats.
    async fn take_fence(
        &self,
        group: &Name,
        instance: InstanceId,
        grant: GrantId,
    ) -> Result<FenceOutcome, StoreError>;

    /// Gives the fence `group` back if `grant` still is its grant.
    async fn release_fence(&self, group: &Name, grant: GrantId) -> Result<bool, StoreError>;

    /// Every fence that was ever taken, by name.
    async fn fences(&self) -> Result<Vec<FenceRow>, StoreError>;
}

/// A session as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub session: SessionId,
    /// Its node.
    pub node: Name,
    /// Counted up by each renewal.
    pub seq: i64,
    /// Its ttl.
    pub ttl: Duration,
    /// Whether its lease has run out by the store's clock.
    pub overdue: bool,
}

/// An instance to register.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// Its id.
    pub instance: InstanceId,
    /// The session it lives under.
    pub session: SessionId,
    /// Its node.
    pub node: Name,
    /// The hosts it runs, for the operator.
    pub hosts: Text,
}

/// An instance as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceRow {
    /// Its id.
    pub instance: InstanceId,
    /// Its node.
    pub node: Name,
    /// The hosts it runs.
    pub hosts: Text,
    /// Whether it is live: its row and its session both are.
    pub live: bool,
    /// When it was registered.
    pub since: Timestamp,
    /// How many deliveries it holds.
    pub claims: u64,
}

/// A fence as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceRow {
    /// What it is about.
    pub group: Name,
    /// The number of the last take.
    pub epoch: i64,
    /// Who has it, and on which node. `None`: nobody who lives, so that the next one who asks gets it.
    pub owner: Option<(InstanceId, Name)>,
}

/// The outcome of [`Sessions::take_fence`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceOutcome {
    /// Taken with this epoch.
    Taken(i64),
    /// Somebody live has it.
    HeldBy(InstanceId),
    /// The asking instance is not live.
    Fenced,
}

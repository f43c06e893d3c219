//! What receiving adapters keep in the store: marks to settle after a crash, and leases on sources.

use async_trait::async_trait;
use quayside_model::{InstanceId, MessageId, Name, Text};

use crate::StoreError;

/// Marks and leases of receive locations.
#[async_trait]
pub trait Sources: Send + Sync {
    /// Marks of `location` that were committed with a message and not settled yet, oldest first, at
    /// most `limit`.
    async fn pending_sources(
        &self,
        location: &Name,
        limit: u32,
    ) -> Result<Vec<PendingSource>, StoreError>;

    /// Forgets marks whose source is cleaned up. Idempotent.
    async fn settle_sources(&self, location: &Name, keys: &[Text]) -> Result<(), StoreError>;

    /// Takes the lease `key` for `instance`, or keeps it. `false`: a live instance other than this one
    /// has it, or this one is not live. A lease ends with its instance.
    async fn take_lease(&self, key: &Text, instance: InstanceId) -> Result<bool, StoreError>;

    /// Gives the lease `key` back. Idempotent.
    async fn release_lease(&self, key: &Text, instance: InstanceId) -> Result<(), StoreError>;
}

/// A mark whose message is stored, but whose source may not be cleaned up yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSource {
    /// What the adapter calls the thing.
    pub key: Text,
    /// What the adapter needs to settle it.
    pub state: Text,
    /// The message that came of it.
    pub message: MessageId,
}

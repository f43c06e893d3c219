//! The adapters' marks and leases, scoped to one location, and what they may know of messages.

use async_trait::async_trait;
use quayside_adapter_api::{AdapterError, ErrorKind, Messages, PendingSource, Sources, Standing};
use quayside_model::{InstanceId, MessageId, Name, Text};
use quayside_store::{AnyStore, StoreError};

use crate::committer::chain;

/// How many marks are handed back at once.
const PENDING_LIMIT: u32 = 1000;

/// Marks and leases of one location.
#[derive(Clone)]
pub(crate) struct LocationSources {
    pub(crate) store: AnyStore,
    pub(crate) location: Name,
    pub(crate) instance: InstanceId,
}

impl LocationSources {
    fn lease_key(&self, key: &str) -> Text {
        Text::lossy(&format!("{}/{key}", self.location))
    }
}

#[async_trait]
impl Sources for LocationSources {
    async fn lease(&self, key: &str) -> Result<bool, AdapterError> {
        self.store
            .take_lease(&self.lease_key(key), self.instance)
            .await
            .map_err(|e| failed(&e))
    }

    async fn release(&self, key: &str) -> Result<(), AdapterError> {
        self.store
            .release_lease(&self.lease_key(key), self.instance)
            .await
            .map_err(|e| failed(&e))
    }

    async fn pending(&self) -> Result<Vec<PendingSource>, AdapterError> {
        let pending = self
            .store
            .pending_sources(&self.location, PENDING_LIMIT)
            .await;
        let pending = pending.map_err(|e| failed(&e))?;
        let hand_back = |p: quayside_store::sources::PendingSource| PendingSource {
            key: p.key,
            state: p.state,
            message: p.message,
        };
        Ok(pending.into_iter().map(hand_back).collect())
    }

    async fn settled(&self, keys: &[Text]) -> Result<(), AdapterError> {
        self.store
            .settle_sources(&self.location, keys)
            .await
            .map_err(|e| failed(&e))
    }
}

/// What became of messages.
pub(crate) struct StoredMessages {
    pub(crate) store: AnyStore,
}

#[async_trait]
impl Messages for StoredMessages {
    async fn standing(&self, message: MessageId) -> Result<Option<Standing>, AdapterError> {
        let way = self.store.message(message).await.map_err(|e| failed(&e))?;
        Ok(way.map(|way| Standing {
            location: way.row.origin,
            ended: way.row.live == 0,
        }))
    }
}

fn failed(error: &StoreError) -> AdapterError {
    AdapterError::new(ErrorKind::Retry(None), error.kind.code(), chain(error))
}

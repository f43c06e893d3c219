//! Housekeeping: retention and what crashes leave behind. Run by the `track` role, one worker per box.

use std::time::Duration;

use async_trait::async_trait;

use crate::StoreError;

/// Housekeeping.
#[async_trait]
pub trait Maintain: Send + Sync {
    /// One bounded step of housekeeping; never a statement that stalls traffic. Call it again at once
    /// while it says `more`.
    async fn sweep(&self, retention: &Retention) -> Result<Swept, StoreError>;

    /// Asks the store whether it can write now. The answer of readiness.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Prepares what takes time, so that the first work after a move or an outage does not wait for it. Changes
    /// nothing and may be called at any time.
    ///
    /// # Errors
    /// The store cannot be reached: the next work will find that out too.
    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// How long ended things are kept, counted from the end of a message's last delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Metadata and events.
    pub metadata: Duration,
    /// Bodies.
    pub bodies: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            metadata: Duration::from_secs(7 * 86_400),
            bodies: Duration::from_secs(86_400),
        }
    }
}

/// What a step removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Messages with their history.
    pub messages: u64,
    /// Bodies of messages that are still listed.
    pub bodies: u64,
    /// Dedupe keys past their window.
    pub keys: u64,
    /// Chunks of bodies that were never published or are gone.
    pub chunks: u64,
    /// Whether there is more to do.
    pub more: bool,
}

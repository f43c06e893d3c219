//! What the engine lends an adapter.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use quayside_model::{Clock, Entropy, MessageId, Name, Text};
use serde::{Deserialize, Serialize};
pub use tokio_util::sync::CancellationToken;

use crate::{AdapterError, Condition};

/// What the engine lends to an open location or transport.
#[derive(Clone)]
pub struct Services {
    /// The name of this node.
    pub node: Name,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The secrets that a [`SecretRef`] of the configuration names.
    pub secrets: Arc<dyn Secrets>,
    /// Marks and leases in the store, scoped to the location.
    pub sources: Arc<dyn Sources>,
    /// What became of messages.
    pub messages: Arc<dyn Messages>,
    /// How its connections stand, for people.
    pub condition: Condition,
    /// Ends when the host stops. An adapter that waits for anything else than its partner watches it.
    pub stopping: CancellationToken,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

/// A reference to a secret: `{ secret = "NAME" }`. The text itself never stands in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// The name under which the provider keeps it.
    pub secret: String,
}

/// Finds secrets.
pub trait Secrets: Send + Sync {
    /// The bytes of the secret. Read again at each use, so that a rotated secret is taken up.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if there is none or it may not be read.
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, AdapterError>;
}

/// The bytes of a secret. Shows itself as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Takes the bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes: for the wire, never for a log.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text without the line end that editors add.
    #[must_use]
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0)
            .ok()
            .map(|text| text.trim_end_matches(['\r', '\n']))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Marks and leases of one receive location, kept in the store.
#[async_trait]
pub trait Sources: Send + Sync {
    /// Takes the lease `key`, or keeps it: `false` while another live process has it. It ends with this
    /// process, whatever ends it.
    async fn lease(&self, key: &str) -> Result<bool, AdapterError>;

    /// Gives the lease `key` back.
    async fn release(&self, key: &str) -> Result<(), AdapterError>;

    /// Marks whose message is stored and which nobody settled yet, oldest first: what a crash left.
    async fn pending(&self) -> Result<Vec<PendingSource>, AdapterError>;

    /// Forgets marks whose source is cleaned up.
    async fn settled(&self, keys: &[Text]) -> Result<(), AdapterError>;
}

/// A mark whose message is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSource {
    /// Unique in the location.
    pub key: Text,
    /// What the adapter gave with it.
    pub state: Text,
    /// The message that came of it.
    pub message: MessageId,
}

/// Tells what became of a message, for a sender that asks.
#[async_trait]
pub trait Messages: Send + Sync {
    /// Where the message stands. `None` after retention, or if there never was one. Whoever passes this
    /// on has to look first whether the asker may know of the [`Standing::location`].
    ///
    /// # Errors
    /// [`ErrorKind::Retry`](crate::ErrorKind::Retry) if the store does not answer.
    async fn standing(&self, message: MessageId) -> Result<Option<Standing>, AdapterError>;
}

/// Where a message stands: as much as its sender may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The receive location that it came in by.
    pub location: Text,
    /// Whether nothing of it is under way any more.
    pub ended: bool,
}

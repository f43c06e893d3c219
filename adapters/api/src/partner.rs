//! The system that a location or port works with, as a clustered host sees it from its node.

use async_trait::async_trait;

use crate::{AdapterError, model::Name};

/// What an adapter can tell of that system without a message. A clustered host keeps one for each different
/// [`key`](Self::key), on the node that has the host and on those that stand by, and moves to another node when its
/// own cannot reach what that one can. Opened without touching the network.
#[async_trait]
pub trait Partner: Send + Sync {
    /// The same for blocks that reach the same system in the same way. Not shown to anybody.
    fn key(&self) -> &str;

    /// Returns when the system has answered. Asked about once a second; a connection of its own may stand from
    /// one time to the next. What the system says of a single message or queue is no matter here. May wait as long
    /// as it tries by itself to reach the system; who asks takes it for down meanwhile.
    ///
    /// # Errors
    /// It cannot be reached from here, or lets nobody in who comes from here.
    async fn probe(&self) -> Result<(), AdapterError>;

    /// Ends, at the system, whatever the processes of the node `former` have open there: that node had the host, and
    /// may be paused or cut off, and this one has it now. Nothing if that is not set up, or nothing is open. Returns
    /// when it is done; may be asked again after a failure.
    ///
    /// # Errors
    /// It could not be done.
    async fn evict(&self, former: &Name) -> Result<(), AdapterError>;
}

//! What a delivery carries beside its content: the key of its protocol, the mark at its source.

use quayside_model::Text;

/// A dedupe key that comes with the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NaturalKey {
    /// Within which it is unique, beside the location.
    pub scope: Text,
    /// The key.
    pub key: Text,
    /// The digest of all that the sender gave this key to, if that is more than the content of the message:
    /// a repeat of the key with another digest is refused, whatever the content.
    pub covers: Option<[u8; 32]>,
}

/// A mark at the source, handed back by [`Sources::pending`](crate::Sources::pending) until it is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Unique in the location.
    pub key: Text,
    /// What the adapter needs to settle it.
    pub state: Text,
}

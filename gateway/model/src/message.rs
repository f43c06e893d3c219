//! The message: immutable once published.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{BodyId, Context, MessageId, Name, Text, Timestamp};

/// Bodies up to this many bytes travel in memory and in the row; larger ones are kept in chunks.
pub const INLINE_MAX: usize = 256 * 1024;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// The wall time at which the gateway had taken it in whole.
    pub received_at: Timestamp,
    /// The receive location, as `APPLICATION/PORT/LOCATION`, or what published it.
    pub origin: Text,
    /// `namespace#root`, if the receive pipeline found one.
    pub message_type: Option<Text>,
    /// Its properties.
    pub context: Context,
    /// Its parts; the first one is the body. Never empty.
    pub parts: Vec<Part>,
}

impl Message {
    /// The body: the first part.
    ///
    /// # Panics
    /// If the message was built without a part, which [`Message::parts`] forbids.
    #[must_use]
    pub fn body(&self) -> &Part {
        &self.parts[0]
    }
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name; the body of a one-part message is called `body`.
    pub name: Name,
    /// Its media type, as the sender gave it.
    pub content_type: Option<Text>,
    /// Its bytes, or where they are.
    pub content: Content,
}

/// The bytes of a part, or where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// At most [`INLINE_MAX`] bytes.
    Inline(Bytes),
    /// Kept in the store in chunks.
    Stored(StoredBody),
}

impl Content {
    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Stored(body) => body.len,
        }
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A body kept in the store, written whole before the message is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBody {
    /// Its id.
    pub id: BodyId,
    /// Its length in bytes.
    pub len: u64,
    /// How many chunks it has.
    pub chunks: u32,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// The key under which a message is accepted once, with the fingerprint of what it stood for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupeKey {
    /// 16 bytes of SHA-256 over scope and key: hashed, so that any key a sender invents is storable.
    pub hash: [u8; 16],
    /// 16 bytes of SHA-256 over the request; a repeat with another one is refused.
    pub fingerprint: [u8; 16],
    /// How long the key is remembered, at least.
    pub window: Duration,
}

/// The first 16 bytes of SHA-256 over `parts`, each preceded by its length so that no two lists of
/// parts run into the same bytes.
#[must_use]
pub fn hash16(parts: &[&[u8]]) -> [u8; 16] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    let digest = sha.finalize();
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest[..16]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hash16(&[b"ab", b"c"]), hash16(&[b"a", b"bc"]));
        assert_eq!(hash16(&[b"ab", b"c"]), hash16(&[b"ab", b"c"]));
    }
}

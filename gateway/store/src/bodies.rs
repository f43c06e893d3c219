//! Bodies too large for a row: written and read chunk by chunk, each in its own short transaction.

use async_trait::async_trait;
use bytes::Bytes;
use quayside_model::{BodyId, InstanceId};

use crate::StoreError;

/// The length of every chunk but the last, in bytes.
pub const CHUNK: usize = 1024 * 1024;

/// Bodies in chunks.
#[async_trait]
pub trait Bodies: Send + Sync {
    /// Opens a body for `instance`, which alone may append to it and seal it by publishing a message
    /// that names it. `false`: the instance is not live.
    async fn open_body(&self, body: BodyId, instance: InstanceId) -> Result<bool, StoreError>;

    /// Writes chunk `no`, counted from 0. Durable when it returns. Writing a chunk again replaces it.
    /// `false`: the body is not open under this instance.
    async fn append_chunk(
        &self,
        body: BodyId,
        instance: InstanceId,
        no: u32,
        chunk: Bytes,
    ) -> Result<bool, StoreError>;

    /// Reads chunk `no`. `None` beyond the last one, or if retention has removed the body.
    async fn read_chunk(&self, body: BodyId, no: u32) -> Result<Option<Bytes>, StoreError>;

    /// Gives an open body up; the sweep removes its chunks. Idempotent.
    async fn abandon_body(&self, body: BodyId, instance: InstanceId) -> Result<(), StoreError>;
}

//! Being woken when something has changed.

use async_trait::async_trait;
use quayside_store::{StoreError, StoreErrorKind, cluster::Hints};
use tokio::sync::watch;

use super::CLUSTER;
use crate::{PostgresStore, pool::Conn};

/// A connection that listens.
struct Listener {
    /// Its end is the end of the connection.
    _conn: Conn,
    told: watch::Receiver<()>,
}

pub(super) async fn listen(store: &PostgresStore) -> Result<Box<dyn Hints>, StoreError> {
    let work = store.pool().listen(CLUSTER);
    let (conn, told) = store.run(CLUSTER, 1, store.work_timeout(), work).await?;
    Ok(Box::new(Listener { _conn: conn, told }))
}

#[async_trait]
impl Hints for Listener {
    async fn next(&mut self) -> Result<(), StoreError> {
        let over = "the connection that listened for changes is over";
        self.told
            .changed()
            .await
            .map_err(|_| StoreError::new(StoreErrorKind::Unavailable, CLUSTER, over))
    }
}

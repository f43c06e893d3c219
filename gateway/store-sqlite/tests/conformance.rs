//! The store suite on the embedded store, with a clock that the suite moves.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use quayside_conformance::Backend;
use quayside_store::{
    AnyStore, Sessions as _,
    model::{Clock, ManualClock, Timestamp},
};
use quayside_store_sqlite::{Options, SqliteStore};

struct Embedded {
    // Before the folder: the store is closed before its files go.
    store: Arc<SqliteStore>,
    clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
}

async fn fresh() -> Embedded {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clock = Arc::new(ManualClock::new(
        "2026-11-21T09:00:00Z".parse().expect("a valid time"),
    ));
    let store = SqliteStore::open(folder.path(), clock.clone(), Options::default())
        .expect("the folder is free");
    Embedded {
        store: Arc::new(store),
        clock,
        _folder: folder,
    }
}

#[async_trait]
impl Backend for Embedded {
    fn store(&self) -> AnyStore {
        Arc::clone(&self.store) as AnyStore
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn virtual_time(&self) -> bool {
        true
    }

    fn moment(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn restored(&self) -> u64 {
        // Whoever restores opens the store, which ends all who lived in it; and each restore has a second of its own.
        for row in self.store.instances().await.expect("instances") {
            let ended = self.store.end_instance(row.instance).await;
            ended.expect("end");
        }
        self.clock.advance(Duration::from_secs(1));
        let released = self.store.restored().await.expect("release");
        released.expect("the clock is right").0
    }
}

quayside_conformance::store_conformance!(fresh);

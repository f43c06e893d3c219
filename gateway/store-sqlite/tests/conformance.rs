//! The store suite on the embedded store, with a clock that the suite moves.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use quayside_conformance::Backend;
use quayside_store::{
    AnyStore,
    model::{Clock, ManualClock, Timestamp},
};
use quayside_store_sqlite::{Options, SqliteStore};

struct Embedded {
    // Before the folder: the store is closed before its files go.
    store: AnyStore,
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
        Arc::clone(&self.store)
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
}

quayside_conformance::store_conformance!(fresh);

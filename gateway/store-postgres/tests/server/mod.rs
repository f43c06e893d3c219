//! An empty store in a PostgreSQL server of its own.

use std::{sync::Arc, time::Duration};

use quayside_conformance::Backend;
use quayside_harness::Postgres;
use quayside_store::AnyStore;
use quayside_store_postgres::{Options, PostgresStore, Restored, WhatWasSent};

/// The database of every test: each has a server of its own.
pub(crate) const DATABASE: &str = "quayside";

/// A server with an empty, migrated store.
pub(crate) struct Fresh {
    pub(crate) store: Arc<PostgresStore>,
    pub(crate) url: String,
    pub(crate) server: Postgres,
}

impl Fresh {
    pub(crate) async fn start() -> Self {
        let server = Postgres::start().await;
        let url = server.create_database(DATABASE).await;
        let store = open(&url).await;
        store
            .migrate()
            .await
            .expect("an empty store takes the schema");
        Self {
            store: Arc::new(store),
            url,
            server,
        }
    }
}

/// A store with its own connections, as another process has it. Slow machines get more time than the
/// defaults; a test that is about time sets its own.
pub(crate) async fn open(url: &str) -> PostgresStore {
    let mut options = Options::new(url);
    options.connect_timeout = Duration::from_secs(10);
    options.commit_timeout = Duration::from_secs(20);
    options.work_timeout = Duration::from_secs(20);
    PostgresStore::connect(options)
        .await
        .expect("the server accepts connections")
}

#[async_trait::async_trait]
impl Backend for Fresh {
    fn store(&self) -> AnyStore {
        Arc::clone(&self.store) as AnyStore
    }

    async fn restored(&self) -> u64 {
        let client = self.server.connect(DATABASE).await;
        let over = client.batch_execute("UPDATE session SET lease_until = 0");
        over.await.expect("leases run out");
        match self.store.restored(WhatWasSent::Unknown).await {
            Ok(Restored::Released { in_doubt, .. }) => in_doubt,
            other => panic!("{other:?}"),
        }
    }
}

//! The suite that every store passes, against a real PostgreSQL.

mod server;

use server::Fresh;

async fn fresh() -> Fresh {
    Fresh::start().await
}

quayside_conformance::store_conformance!(fresh);

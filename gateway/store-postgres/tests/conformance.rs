//! The suite that every store passes, and what only PostgreSQL has, against real servers.

mod postgres;
mod server;

use server::Fresh;

async fn fresh() -> Fresh {
    Fresh::start().await
}

quayside_conformance::store_conformance!(fresh);
quayside_conformance::cluster_conformance!(fresh);

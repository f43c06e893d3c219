//! Health and what this process has done: for probes, load balancers and people.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use super::{Admin, Route};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "/status",
            "Shows what this process is and has done",
            get(status),
        )
        .answers("Status"),
    ]
}

/// The process runs: nothing else is meant by it, so that a store that is down gets nobody killed.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether messages can be accepted now, and why not.
pub(super) async fn readyz(State(admin): State<Admin>) -> Response {
    let health = admin.gateway.health();
    let status = if health.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(health)).into_response()
}

async fn status(State(admin): State<Admin>) -> Json<Value> {
    let health = admin.gateway.health();
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref();
    Json(json!({
        "node": admin.gateway.node,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "store": admin.gateway.store.dialect(),
        "ready": health.ready,
        "reasons": health.reasons,
        "instance": engine.map(quayside_engine::Engine::instance),
        "config_version": engine.map(quayside_engine::Engine::config_version),
        "counters": engine.map(quayside_engine::Engine::counters),
        "transactions": admin.gateway.store.transactions().stats(),
    }))
}

//! Health and what this process has done: for probes, load balancers and people.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use quayside_engine::Health;
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

/// Whether messages can be accepted now, and why not; of a node under an agent, whether each of its processes does
/// what it is there for.
pub(super) async fn readyz(State(admin): State<Admin>) -> Response {
    let health = health(&admin).await;
    let status = if health.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(health)).into_response()
}

/// The health of this process, and of the others if it answers for them.
pub(super) async fn health(admin: &Admin) -> Health {
    let mut health = admin.gateway.health();
    if let Some(processes) = &admin.joined {
        let told = processes.told().await;
        let faults = told.iter().filter_map(|(host, told)| told.fault_here(host));
        health.reasons.extend(faults);
        health.ready = health.reasons.is_empty();
    }
    health
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
        "standby": health.standby,
        "reasons": health.reasons,
        "instance": engine.map(quayside_engine::Engine::instance),
        "config_version": engine.map(quayside_engine::Engine::config_version),
        "counters": engine.map(quayside_engine::Engine::counters),
        "transactions": admin.gateway.store.transactions().stats(),
    }))
}

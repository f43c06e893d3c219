//! `/cluster`: which process runs each clustered host.

use axum::{Json, extract::State, routing::get};
use serde_json::{Value, json};

use super::{Admin, Route, problem::Answer};

/// What the fences of clustered hosts begin with.
const HOST: &str = "host.";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "/cluster",
            "Lists the clustered hosts and who runs each",
            get(list),
        )
        .answers("Cluster"),
    ]
}

async fn list(State(admin): State<Admin>) -> Answer<Json<Value>> {
    let here = admin.gateway.engine().await.as_ref().map(|e| e.instance());
    let fences = admin.gateway.store.fences().await?;
    let hosts = fences.iter().filter_map(|fence| {
        let host = fence.group.strip_prefix(HOST)?;
        let owner = fence.owner.as_ref();
        Some(json!({
            "host": host,
            "epoch": fence.epoch,
            "node": owner.map(|(_, node)| node),
            "instance": owner.map(|(instance, _)| instance),
            "here": owner.is_some_and(|(instance, _)| Some(*instance) == here),
        }))
    });
    Ok(Json(json!({ "hosts": hosts.collect::<Vec<_>>() })))
}

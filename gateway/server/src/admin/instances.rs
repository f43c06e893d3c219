//! `/instances`: which processes work on the store.

use axum::{Json, extract::State, routing::get};
use serde_json::{Value, json};

use super::{Admin, Route, problem::Answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "/instances",
            "Lists the processes that work on the store",
            get(list),
        )
        .answers("InstanceList"),
    ]
}

async fn list(State(admin): State<Admin>) -> Answer<Json<Value>> {
    Ok(Json(
        json!({ "instances": admin.gateway.store.instances().await? }),
    ))
}

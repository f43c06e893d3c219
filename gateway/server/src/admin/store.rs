//! `/store`: copying the embedded store while it runs.

use std::path::PathBuf;

use axum::{Json, extract::State, routing::post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Admin, Route,
    extract::Body,
    problem::{Answer, Problem},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/store/backup",
            "Copies the embedded store while it runs",
            post(backup),
        )
        .answers("BackedUp")
        .body("`to`: the absolute path of the file to write on the node; it must not exist"),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    to: PathBuf,
}

async fn backup(State(admin): State<Admin>, Body(backup): Body<Backup>) -> Answer<Json<Value>> {
    let Some(store) = &admin.gateway.embedded else {
        let detail = "this node's store is PostgreSQL: back it up with pg_dump or pg_basebackup";
        return Err(Problem::bad_request(detail));
    };
    if !backup.to.is_absolute() {
        return Err(Problem::bad_request(
            "`to` must be an absolute path on the node",
        ));
    }
    store.backup(&backup.to).await?;
    tracing::info!(file = %backup.to.display(), "store backed up by an operator");
    Ok(Json(json!({ "file": backup.to })))
}

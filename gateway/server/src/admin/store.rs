//! `/store`: copying the embedded store while it runs.

use std::path::PathBuf;

use axum::{Json, extract::State, http::StatusCode, routing::post};
use quayside_store_sqlite::{SqliteStore, identity};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Admin, Route,
    extract::Body,
    problem::{Answer, Problem},
};
use crate::cli::{
    codes,
    store::{pg_dump, taken},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/store/backup",
            "Copies the embedded store while it runs",
            post(backup),
        )
        .answers("BackedUp")
        .body(
            "`to`: the absolute path of the file to write on the node; it must not exist. `store`: which \
             store is meant, so that a node with another one refuses; absent: whichever it is",
        ),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    to: PathBuf,
    /// The [identity] of the store that is meant.
    store: Option<String>,
}

async fn backup(State(admin): State<Admin>, Body(backup): Body<Backup>) -> Answer<Json<Value>> {
    let Some(store) = &admin.gateway.embedded else {
        let url = admin.store_url.as_deref().unwrap_or_default();
        return Err(Problem::new(
            StatusCode::CONFLICT,
            codes::POSTGRES_TOOLS,
            pg_dump(url, &backup.to),
        ));
    };
    if !backup.to.is_absolute() {
        return Err(Problem::bad_request(
            "`to` must be an absolute path on the node",
        ));
    }
    if let Some(meant) = &backup.store {
        refuse_another(store, meant)?;
    }
    if let Some(detail) = taken(&backup.to) {
        return Err(Problem::new(StatusCode::CONFLICT, codes::EXISTS, detail));
    }
    store.backup(&backup.to).await?;
    tracing::info!(file = %backup.to.display(), "store backed up by an operator");
    Ok(Json(json!({ "file": backup.to })))
}

/// A caller that means a certain store must not be told that another one was copied.
fn refuse_another(store: &SqliteStore, meant: &str) -> Result<(), Problem> {
    let folder = store.folder();
    match identity(folder) {
        Ok(ours) if ours == meant => Ok(()),
        Ok(_) => {
            let folder = folder.display();
            Err(Problem::bad_request(format!(
                "the store of this node is in {folder}, and another one is meant"
            )))
        }
        Err(error) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            codes::FILE,
            format!("the store in {}: {error}", folder.display()),
        )),
    }
}

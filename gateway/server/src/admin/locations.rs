//! `/locations/{name}/messages`: handing a message in as if it had arrived there.

use axum::{
    Json,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use quayside_model::{Name, Text};
use serde_json::{Value, json};

use crate::{cli::codes, exit::root};

use super::{
    Admin, Route,
    extract::Segment,
    names,
    problem::{Answer, Problem},
};

/// The longest message that can be handed in: it is in memory as a whole.
const MAX_BODY: usize = 64 * 1024 * 1024;

pub(super) fn routes() -> Vec<Route> {
    let handler = post(inject).layer(DefaultBodyLimit::max(MAX_BODY));
    vec![
        Route::post(
            "/locations/{name}/messages",
            "Takes the body in as if it had arrived at the location; headers x-quayside-property: \
             NAME=VALUE set properties",
            handler,
        )
        .answers("Accepted")
        .status(202)
        .body("The message, up to 64 MiB"),
    ]
}

async fn inject(
    State(admin): State<Admin>,
    Segment(name): Segment<Name>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer<(StatusCode, Json<Value>)> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let body =
        body.map_err(|refused| Problem::new(refused.status(), codes::BAD_REQUEST, root(&refused)))?;
    let properties = properties(&headers)?;
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let injected = engine
        .inject(&name, body, content_type.map(Text::lossy), properties)
        .await;
    let accepted = match injected {
        Err(error) if error.code() == quayside_engine::codes::NO_PORT => {
            return Err(names::no_port(
                &name,
                &engine.ports_here(),
                names::LOCATIONS,
            ));
        }
        injected => injected??,
    };
    let answer = accepted.answer.map(|answer| {
        json!({
            "status": answer.status,
            "content_type": answer.content_type,
            "body": String::from_utf8_lossy(&answer.body),
        })
    });
    let document =
        json!({ "id": accepted.message, "replayed": accepted.replayed, "answer": answer });
    Ok((StatusCode::ACCEPTED, Json(document)))
}

fn properties(headers: &HeaderMap) -> Answer<Vec<(Name, Text)>> {
    let property = |value: &axum::http::HeaderValue| {
        let text = std::str::from_utf8(value.as_bytes()).ok()?;
        let (name, value) = text.split_once('=')?;
        Some((Name::new(name.trim()).ok()?, Text::new(value).ok()?))
    };
    let wrong = || Problem::bad_request("x-quayside-property must be NAME=VALUE");
    let values = headers.get_all("x-quayside-property").into_iter();
    values
        .map(|value| property(value).ok_or_else(wrong))
        .collect()
}

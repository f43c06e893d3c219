//! `/locations/{name}/messages`: handing a message in as if it had arrived there.

use axum::{
    Json,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    routing::post,
};
use quayside_model::{Name, Text};
use serde_json::{Value, json};

use crate::{cli::codes, config, exit::root};

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
             NAME=VALUE set properties, but for msg.*, delivery.* and error.*",
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

/// The properties that the caller sets, which are those that the location itself could set.
fn properties(headers: &HeaderMap) -> Answer<Vec<(Name, Text)>> {
    let values = headers.get_all("x-quayside-property").into_iter();
    values.map(property).collect()
}

fn property(value: &HeaderValue) -> Answer<(Name, Text)> {
    let text = String::from_utf8_lossy(value.as_bytes());
    let wrong = |why: String| Problem::bad_request(format!("the property `{text}`: {why}"));
    let (name, value) = text.split_once('=').ok_or_else(|| {
        wrong("write NAME=VALUE, such as http.header.idempotency-key=1".to_owned())
    })?;
    let name = Name::new(name.trim()).map_err(|error| wrong(error.to_string()))?;
    let value = Text::new(value).map_err(|error| wrong(error.to_string()))?;
    match config::reserved_group(&name) {
        None => Ok((name, value)),
        Some(group) => Err(wrong(format!(
            "only the gateway sets `{group}.*`; a sender sets what its location would, as \
             http.header.NAME or file.name"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_sets_what_its_location_would() {
        for (text, refused) in [
            ("http.header.x-id=a=b", None),
            ("file.name=a.xml", None),
            ("ce.type=x", None),
            ("OrderId=7", None),
            ("error.code=x", Some("only the gateway sets `error.*`")),
            ("error.of-my-own=x", Some("only the gateway sets `error.*`")),
            ("msg.type=x", Some("only the gateway sets `msg.*`")),
            (
                "msg.resubmitted-from=x",
                Some("only the gateway sets `msg.*`"),
            ),
            ("delivery.id=x", Some("only the gateway sets `delivery.*`")),
            ("error=x", Some("only the gateway sets `error.*`")),
            ("OrderId", Some("write NAME=VALUE")),
            ("a b=x", Some("is not a name")),
        ] {
            let value = HeaderValue::from_static(text);
            let said = property(&value).err().map(|problem| format!("{problem:?}"));
            match (said, refused) {
                (None, None) => {}
                (Some(said), Some(wanted)) => assert!(said.contains(wanted), "{text}: {said}"),
                (said, _) => panic!("{text}: {said:?}"),
            }
        }
    }
}

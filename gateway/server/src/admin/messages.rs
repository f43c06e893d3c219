//! `/messages`: what was received and what became of it.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream;
use quayside_engine::explain::Explanation;
use quayside_model::{Content, DeliveryState, MessageId, Name, StoredBody, Text, Timestamp};
use quayside_store::{
    AnyStore,
    browse::{MAX_PAGE, MessageFilter, MessageRow, MessageState},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Admin, Route,
    extract::{Body as JsonBody, Given, Operator, Params, Segment},
    names,
    problem::{Answer, Problem},
    way::{Around, Told, tell},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/messages", "Lists messages, newest first", get(list))
            .answers("MessageList")
            .query(&[
                (
                    "state",
                    "that have come to this: unrouted, suspended, open, failed, delivered, \
                     partly-terminated, terminated",
                ),
                (
                    "delivery_state",
                    "with a live delivery in this state: ready, claimed, held, suspended",
                ),
                ("port", "with a live delivery for this port"),
                ("message_type", "of this type"),
                ("origin", "received by this location, port or application"),
                ("since", "received at or after this moment (RFC 3339)"),
                ("until", "received before this moment (RFC 3339)"),
                (
                    "before",
                    "older than this message: `next` of the page before",
                ),
                ("limit", "at most this many, 1 to 1000; 50 if absent"),
            ]),
        Route::get(
            "/messages/{id}",
            "Tells the whole way of a message",
            get(show),
        )
        .answers("MessageWay"),
        Route::get(
            "/messages/{id}/body",
            "Gives the body of a message",
            get(body),
        )
        .bytes(),
        Route::get(
            "/messages/{id}/routing",
            "Holds a message against every subscription of the configuration in force, term by term",
            get(routing),
        )
        .answers("Routing"),
        Route::post(
            "/messages/{id}/resubmit",
            "Publishes a message again as a new one, routed by the configuration in force",
            post(resubmit),
        )
        .answers("MessageId")
        .body("`reason`: why, in the operator's words"),
    ]
}

/// The words for what a message has come to: those of [`MessageState`].
pub(crate) const STATES: [&str; 7] = [
    "unrouted",
    "suspended",
    "open",
    "failed",
    "delivered",
    "partly-terminated",
    "terminated",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    state: Option<MessageState>,
    delivery_state: Option<DeliveryState>,
    port: Option<Name>,
    message_type: Option<Text>,
    origin: Option<Text>,
    since: Option<Given<Timestamp>>,
    until: Option<Given<Timestamp>>,
    before: Option<Given<MessageId>>,
    limit: Option<u32>,
}

/// A message in a list, with what it has come to.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    #[serde(flatten)]
    row: MessageRow,
    state: MessageState,
}

impl From<MessageRow> for Listed {
    fn from(row: MessageRow) -> Self {
        let state = row.state();
        Self { row, state }
    }
}

async fn list(
    State(admin): State<Admin>,
    Params(params): Params<ListParams>,
) -> Answer<Json<Value>> {
    let limit = super::deliveries::limit(params.limit)?;
    let filter = MessageFilter {
        origin: params.origin,
        message_type: params.message_type,
        state: params.delivery_state,
        port: params.port,
        since: params.since.map(|since| since.0),
        until: params.until.map(|until| until.0),
    };
    let before = params.before.map(|before| before.0);
    let store = &admin.gateway.store;
    let (messages, next) = match params.state {
        None => page(store, &filter, &[filter.state], before, limit).await?,
        Some(state) => search(store, &filter, state, before, limit).await?,
    };
    if messages.is_empty() && next.is_none() {
        names::check_empty(&admin, filter.port.as_ref(), filter.origin.as_deref()).await?;
    }
    let messages: Vec<Listed> = messages.into_iter().map(Listed::from).collect();
    Ok(Json(json!({ "messages": messages, "next": next })))
}

/// Messages, newest first, and what the next page lies before. `None`: there is none.
type Page = (Vec<MessageRow>, Option<MessageId>);

/// The newest messages that have a live delivery in one of `states`; `None` stands for any message.
async fn page(
    store: &AnyStore,
    filter: &MessageFilter,
    states: &[Option<DeliveryState>],
    before: Option<MessageId>,
    limit: u32,
) -> Answer<Page> {
    let mut found = BTreeMap::new();
    let mut next = None;
    for state in states {
        let filter = MessageFilter {
            state: *state,
            ..filter.clone()
        };
        let rows = store.messages(&filter, before, limit).await?;
        // A list that is not full has come to its end. Of a full one nobody knows what lies beyond.
        if rows.len() == limit as usize {
            next = next.max(rows.last().map(|row| row.id));
        }
        found.extend(rows.into_iter().map(|row| (row.id, row)));
    }
    let newest_first = found.into_values().rev();
    let known = newest_first.filter(|row| next.is_none_or(|next| row.id >= next));
    Ok((known.collect(), next))
}

/// The most messages that one call looks at, a thousand at a time: what a message has come to is not in an
/// index.
const LOOKS: u32 = 20;

/// Messages that have come to `state`: at most `limit`, and perhaps fewer although there is a next page.
async fn search(
    store: &AnyStore,
    filter: &MessageFilter,
    state: MessageState,
    mut before: Option<MessageId>,
    limit: u32,
) -> Answer<Page> {
    use DeliveryState::{Claimed, Held, Ready, Suspended, Taken};
    // What is on its way is found by its live deliveries, which are far fewer than messages.
    let states: &[Option<DeliveryState>] = match (filter.state, state) {
        (Some(_), _) => &[filter.state],
        (None, MessageState::Suspended) => &[Some(Suspended)],
        (None, MessageState::Open) => &[Some(Ready), Some(Claimed), Some(Held), Some(Taken)],
        (None, _) => &[None],
    };
    let mut found: Vec<MessageRow> = Vec::new();
    for _ in 0..LOOKS {
        let (rows, next) = page(store, filter, states, before, MAX_PAGE).await?;
        for row in rows.into_iter().filter(|row| row.state() == state) {
            found.push(row);
            if found.len() == limit as usize {
                let last = found.last().map(|row| row.id);
                return Ok((found, last));
            }
        }
        before = next;
        if next.is_none() {
            break;
        }
    }
    Ok((found, before))
}

fn no_message(id: MessageId) -> Problem {
    Problem::not_found(format!(
        "there is no message {id}; retention may have removed it"
    ))
}

async fn show(State(admin): State<Admin>, Segment(id): Segment<MessageId>) -> Answer<Json<Told>> {
    let gateway = &admin.gateway;
    let way = gateway.store.message(id).await?;
    let way = way.ok_or_else(|| no_message(id))?;
    let (mut ports, mut instances) = (Vec::new(), Vec::new());
    // Only what is still on its way waits for anybody.
    if !way.live_deliveries.is_empty() {
        if let Some(engine) = gateway.engine().await.as_ref() {
            ports = engine.ports().await?;
        }
        instances = gateway.store.instances().await?;
    }
    let around = Around {
        ports: &ports,
        instances: &instances,
        now: gateway.clock.now(),
    };
    Ok(Json(tell(way, &around)))
}

async fn routing(
    State(admin): State<Admin>,
    Segment(id): Segment<MessageId>,
) -> Answer<Json<Explanation>> {
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let told = engine.explain(id).await?;
    Ok(Json(told.ok_or_else(|| no_message(id))?))
}

async fn body(State(admin): State<Admin>, Segment(id): Segment<MessageId>) -> Answer<Response> {
    let message = admin
        .gateway
        .store
        .load(id)
        .await?
        .ok_or_else(|| no_message(id))?;
    let part = message.body();
    let content_type = part
        .content_type
        .as_ref()
        .map_or("application/octet-stream", |t| t.as_str());
    // The bytes are a partner's: a browser must save them, never run them in the origin of the console.
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_LENGTH, part.content.len().to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{id}\""),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    let body = match &part.content {
        Content::Inline(bytes) => Body::from(bytes.clone()),
        Content::Stored(stored) => chunks(admin.gateway.store.clone(), *stored),
    };
    Ok((headers, body).into_response())
}

/// The chunks of a body, each read when the caller has room for it.
fn chunks(store: AnyStore, body: StoredBody) -> Body {
    Body::from_stream(stream::try_unfold(0, move |no: u32| {
        let store = store.clone();
        async move {
            if no >= body.chunks {
                return Ok(None);
            }
            let chunk = store
                .read_chunk(body.id, no)
                .await
                .map_err(std::io::Error::other)?;
            let gone = || std::io::Error::other("retention has removed the body");
            chunk.ok_or_else(gone).map(|chunk| Some((chunk, no + 1)))
        }
    }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Why {
    reason: Option<Text>,
}

async fn resubmit(
    State(admin): State<Admin>,
    Segment(id): Segment<MessageId>,
    operator: Operator,
    JsonBody(why): JsonBody<Why>,
) -> Answer<Json<Value>> {
    let note = operator.note(why.reason.as_deref());
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let new = engine.resubmit(id).await?;
    tracing::info!(message.id = %id, message.new = %new, note = %note, "message resubmitted by an operator");
    // The copy names its source from its first moment; the source names its copy as soon as this is noted.
    let store = &admin.gateway.store;
    if let Err(error) = store.note_resubmitted(id, new, &note).await {
        tracing::warn!(code = %error.kind.code(), message.id = %id, message.new = %new,
            "the message is resubmitted, but that could not be noted at its source");
    }
    Ok(Json(json!({ "id": new })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_message_has_its_word() {
        for word in STATES {
            let state: MessageState = serde_json::from_value(json!(word)).expect(word);
            assert_eq!(json!(state), word);
        }
        let error = serde_json::from_value::<MessageState>(json!("none")).expect_err("no state");
        // It names the wrong word and then each right one, in backticks.
        let named = error.to_string().matches('`').count() / 2;
        assert_eq!(named, STATES.len() + 1, "{error}");
    }
}

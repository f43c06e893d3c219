//! `/deliveries`: what has not ended, and what operators decide about it.

use axum::{
    Json,
    extract::State,
    routing::{get, post},
};
use quayside_model::{DeliveryId, DeliveryState, MessageId, Name, Text};
use quayside_store::{browse::DeliveryFilter, operate::OperateOutcome};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Admin, Route,
    extract::{Body, Given, Operator, Params},
    names,
    problem::{Answer, Problem},
};

/// How many rows a page has, unless the caller says otherwise, and at most.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "/deliveries",
            "Lists live deliveries in the order of their ids",
            get(list),
        )
        .answers("DeliveryList")
        .query(&[
            (
                "state",
                "in this state: ready, claimed, held, suspended, taken",
            ),
            ("port", "for this port"),
            ("message", "of this message"),
            (
                "in_doubt",
                "true: only those that may have been sent by an owner that died",
            ),
            (
                "after",
                "after this delivery: the last id of the page before",
            ),
            ("limit", "at most this many, 1 to 1000; 50 if absent"),
        ]),
        Route::post(
            "/deliveries/resume",
            "Puts suspended deliveries back into the flow",
            post(resume),
        )
        .answers("Outcomes")
        .body("`ids`: up to 1000 ids of deliveries; `reason`: why, in the operator's words"),
        Route::post(
            "/deliveries/terminate",
            "Ends deliveries that nobody holds",
            post(terminate),
        )
        .answers("Outcomes")
        .body("`ids`: up to 1000 ids of deliveries; `reason`: why, in the operator's words"),
    ]
}

/// The length of a page.
pub(super) fn limit(limit: Option<u32>) -> Answer<u32> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(Problem::bad_request("`limit` must be from 1 to 1000")),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    state: Option<DeliveryState>,
    port: Option<Name>,
    message: Option<Given<MessageId>>,
    in_doubt: Option<bool>,
    after: Option<Given<DeliveryId>>,
    limit: Option<u32>,
}

async fn list(
    State(admin): State<Admin>,
    Params(params): Params<ListParams>,
) -> Answer<Json<Value>> {
    let limit = limit(params.limit)?;
    let filter = DeliveryFilter {
        state: params.state,
        port: params.port,
        message: params.message.map(|id| id.0),
        in_doubt: params.in_doubt,
    };
    let deliveries = admin
        .gateway
        .store
        .deliveries(&filter, params.after.map(|id| id.0), limit)
        .await?;
    if deliveries.is_empty() {
        names::check_empty(&admin, filter.port.as_ref(), None).await?;
    }
    let full = deliveries.len() == limit as usize;
    let next = deliveries.last().filter(|_| full).map(|last| last.id);
    Ok(Json(json!({ "deliveries": deliveries, "next": next })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ids {
    ids: Vec<Given<DeliveryId>>,
    reason: Option<Text>,
}

impl Ids {
    /// Why, in the operator's words.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The ids, as many as one call may have.
    pub(super) fn check(self) -> Answer<Vec<DeliveryId>> {
        match self.ids.len() {
            0 => Err(Problem::bad_request("`ids` is empty")),
            len if len > MAX_LIMIT as usize => {
                Err(Problem::bad_request("`ids` has more than 1000 ids"))
            }
            _ => Ok(self.ids.into_iter().map(|id| id.0).collect()),
        }
    }
}

/// What became of each.
pub(super) fn outcomes(ids: &[DeliveryId], outcomes: &[OperateOutcome]) -> Json<Value> {
    let row = |(id, outcome)| json!({ "id": id, "outcome": outcome });
    Json(json!({ "outcomes": ids.iter().zip(outcomes).map(row).collect::<Vec<_>>() }))
}

/// Notes in the log what came of an order.
fn note_done(done: &[OperateOutcome], note: &Text, order: &'static str) {
    let count = done
        .iter()
        .filter(|one| **one == OperateOutcome::Done)
        .count();
    let refused = done.len() - count;
    tracing::info!(order, count, refused, note = %note, "deliveries ordered by an operator");
}

async fn resume(
    State(admin): State<Admin>,
    operator: Operator,
    Body(ids): Body<Ids>,
) -> Answer<Json<Value>> {
    let note = operator.note(ids.reason());
    let ids = ids.check()?;
    let done = admin.gateway.store.resume(&ids, &note).await?;
    note_done(&done, &note, "resume");
    Ok(outcomes(&ids, &done))
}

async fn terminate(
    State(admin): State<Admin>,
    operator: Operator,
    Body(ids): Body<Ids>,
) -> Answer<Json<Value>> {
    let note = operator.note(ids.reason());
    let ids = ids.check()?;
    let done = admin.gateway.store.terminate(&ids, &note).await?;
    note_done(&done, &note, "terminate");
    Ok(outcomes(&ids, &done))
}
